"""Waiting for nodes at the start of a run, with a word to whoever looks on, and to the autoscaler if there is one."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray.autoscaler.sdk import request_resources
from rich.console import Console

from raykd.cluster.resources import Plan, Resources, plan, worker_resources
from raykd.config import ClusterSettings
from raykd.errors import RaykdError

LOOK_SECONDS = 2.0
"""How often the cluster is looked at."""

WORD_SECONDS = 15.0
"""How often a line says what is there and what is missing, besides when it changes."""

Bundles = list[dict[str, float]]
"""Ray's resources of each worker that is asked for."""


def wait_for_resources(settings: ClusterSettings, students: int, console: Console) -> tuple[Resources, Plan]:
    """What the connected cluster has and the sizes that suit it, once the workers fit; see `cluster.wait_seconds`.

    Raises:
        RaykdError: they do not fit, or not in time.
    """

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    return fitting(settings, students, Resources.now, say, request_resources)


def fitting(
    settings: ClusterSettings,
    students: int,
    look: Callable[[], Resources],
    say: Callable[[str], None],
    request: Callable[[None, Bundles], None],
) -> tuple[Resources, Plan]:
    """`sized` with its senses handed in.

    Args:
        settings: The cluster's settings.
        students: How many there are to teach, at the most.
        look: Tells what the cluster has.
        say: Hears what is there and what is missing.
        request: Asks the autoscaler, if there is one, for these bundles in sum; an empty list takes it back.
    """
    started = said = time.monotonic()
    patience = settings.wait_seconds or 0.0
    before: Resources | None = None
    try:
        while True:
            have, now = look(), time.monotonic()
            try:
                return have, plan(settings, have, students)
            except RaykdError as error:
                if now - started >= patience:
                    raise _too_late(error, patience) from None
            bundles = wanted(settings)
            if before is None:
                request(None, bundles)
            if have != before or now - said >= WORD_SECONDS:
                left = patience - (now - started)
                say(f"waiting for nodes, {left:.0f} s more at the most: {have}; asked for {_words(bundles)}")
                said = now
            before = have
            time.sleep(min(LOOK_SECONDS, max(patience - (now - started), 0.01)))
    finally:
        if before is not None:
            request(None, [])  # from now on Ray Train asks for its workers itself


def wanted(settings: ClusterSettings) -> Bundles:
    """What the autoscaler is asked for: all workers that the settings name, or those of one classroom."""
    gpus = settings.gpus_per_worker or 0.0
    workers = (settings.classrooms or 1) * settings.workers
    return [worker_resources(settings.cpus_per_worker, gpus)] * workers


def _words(bundles: Bundles) -> str:
    each = " and ".join(f"{amount:g} {resource}" for resource, amount in bundles[0].items())
    return f"{len(bundles)} x {each}"


def _too_late(error: RaykdError, patience: float) -> RaykdError:
    if not patience:
        return error
    first, _, rest = str(error).partition("\n")
    return RaykdError(f"after {patience:g} s of waiting, {first}\n{rest}")
