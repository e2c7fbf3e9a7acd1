"""The search of a study: Ray Tune runs the trials that Optuna suggests, and a scheduler may stop them early."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from ray import tune
from ray.tune.execution import class_cache

from raykd.cluster.resources import TRIAL_CPUS
from raykd.errors import StorageError
from raykd.places import RAY, shared_folder
from raykd.search.plateau import Plateau
from raykd.search.schedulers import feed_history, make_scheduler
from raykd.search.searcher import OptunaSearcher
from raykd.search.space import SearchSpace
from raykd.search.start_points import IsStartPoint, StartPoint
from raykd.search.trial import StudentTrial, TrialContext
from raykd.storage import below, is_url

logger = logging.getLogger(__name__)


def search(
    context: TrialContext,
    study: optuna.Study,
    space: SearchSpace,
    callbacks: Sequence[tune.Callback],
    trials: int,
    seats: Callable[[], int] | None = None,
    ended: Callable[[], bool] | None = None,
    sizes: Callable[[Mapping[str, Any]], Mapping[str, float]] | None = None,
    start: Sequence[StartPoint] | None = None,
    plateau: Plateau | None = None,
    on_fault: Callable[[str], object] | None = None,
) -> None:
    """Run those trials of a study that have not ended.

    Args:
        context: What all trials share; the classrooms behind its broker are open.
        study: From `raykd.search.optuna_study.open_study`.
        space: What is searched.
        callbacks: Called with every result.
        trials: How many have not ended.
        seats: How many may run at once, at this moment. None: as many as the context says.
        ended: Whether the run ends here, see `raykd.search.searcher.OptunaSearcher`. None: it does not.
        sizes, start, plateau: See `raykd.search.searcher.OptunaSearcher`. Start points are trained to the last epoch.
        on_fault: See there.

    Raises:
        StorageError: Tune cannot write its files.
    """
    experiment = context.experiment
    settings = experiment.study
    scheduler = make_scheduler(settings, experiment.training.epochs, space.longest_warmup, IsStartPoint(study))
    feed_history(scheduler, study)
    trainable = tune.with_resources(tune.with_parameters(StudentTrial, context=context), {"CPU": TRIAL_CPUS})
    ray_folder = below(shared_folder(experiment), RAY)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearcher(
                study,
                space,
                settings.trials,
                seats=seats,
                ended=ended,
                sizes=sizes,
                start=start,
                plateau=plateau,
                on_fault=on_fault,
            ),
            scheduler=scheduler,
            num_samples=trials,
            # Fixed from the start, so where seats come and go the searcher itself keeps to them.
            max_concurrent_trials=context.at_once if seats is None else trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{context.broker}",
            storage_path=ray_folder,
            callbacks=list(callbacks),
            failure_config=tune.FailureConfig(max_failures=settings.retries),
            # A student's own checkpoint is in its folder, so of a trial that ends there is nothing to save.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    # A trial whose process is lost with its node is tried again, which needs no traceback. Trials that fail are
    # reported.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    logging.getLogger("ray.train._internal.storage").addFilter(_in_a_line)
    try:
        with _signals_as_before(), _secrets_stay_here():
            tuner.fit()
    except OSError as error:
        # At its end Tune lists its files. The outcome of the trials is in the study's own record.
        if not is_url(ray_folder):
            raise StorageError(f"{ray_folder} cannot be written: {error.strerror or error}") from error
        logger.debug("Tune could not list its files", exc_info=True)


@contextmanager
def _signals_as_before() -> Iterator[None]:
    """Take Tune's handlers away again, which it leaves behind: they would swallow the next Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _secrets_stay_here() -> Iterator[None]:
    """Let Tune copy no AWS_* into its trials' runtime environment, which Ray logs in clear and shows to all its users.

    Trials have them from their node's environment, as classrooms do.
    """
    copied = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in copied if not name.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = copied


def _in_a_line(record: logging.LogRecord) -> bool:
    """Make one line of the traceback about an object store that does not answer for a while."""
    if record.exc_info:
        record.msg, record.args, record.exc_info = f"cluster.storage does not answer: {record.exc_info[1]}", (), None
    return True
