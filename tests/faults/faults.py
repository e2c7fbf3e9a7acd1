"""Faults of a running study's machine, each really injected: processes, files, the disk, MLflow."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from tests.helpers.mlflow_places import Server
from tests.helpers.mounts import fill

FLIPPED = 100
"""Bytes that are changed in a damaged file."""


@dataclass
class Scene:
    """Where faults are injected.

    - dice: decides what, when and for how long
    - folder: the study's
    - disk: a file system of its own, on which the study and the teachers' cache lie; None: there is none
    - server: MLflow's
    - driver: the process of the study's last launch
    - mending: what is broken, and when it is mended
    """

    dice: random.Random
    folder: Path
    cache: Path
    disk: Path | None
    server: Server
    driver: subprocess.Popen[str]
    mending: dict[str, threading.Timer] = field(default_factory=dict)

    def is_broken(self, name: str) -> bool:
        """Whether this is still to be mended."""
        return name in self.mending and self.mending[name].is_alive()

    def mend_later(self, name: str, longest: float, mend: Callable[[], None]) -> None:
        """Mend what was broken after one to `longest` seconds; meanwhile the study goes on, and other faults come."""
        timer = self.mending[name] = threading.Timer(self.dice.uniform(1.0, longest), mend)
        timer.start()

    def wait_until_mended(self) -> None:
        """Until nothing is broken any more."""
        for timer in self.mending.values():
            timer.join()

    def processes(self, title: str) -> list[psutil.Process]:
        """Those of the cluster that this process has started, whose title has these words."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, IndexError):
                if title in process.cmdline()[0]:
                    found.append(process)
        return found

    def any_of(self, pattern: str, root: Path) -> Path | None:
        """One of the files; None if there is none."""
        found = sorted(root.glob(pattern))
        return self.dice.choice(found) if found else None


Fault = Callable[["Scene"], bool]
"""Injects a fault, and has it taken back where it is one that passes. False: there was nothing to do it to."""


def kill_worker(scene: Scene) -> bool:
    """A classroom's worker dies."""
    return _kill(scene, "RayTrainWorker")


def kill_trial(scene: Scene) -> bool:
    """The process of one of Tune's trials dies."""
    return _kill(scene, "Trainable")


def kill_broker(scene: Scene) -> bool:
    """The broker dies, with all that it knows."""
    return _kill(scene, "Broker")


def freeze_worker(scene: Scene) -> bool:
    """A worker stands still, for less or more than its lease."""
    workers = scene.processes("RayTrainWorker")
    if not workers:
        return False
    worker = scene.dice.choice(workers)

    def resume() -> None:
        with suppress(psutil.Error):
            worker.resume()

    with suppress(psutil.Error):
        worker.suspend()
    scene.mend_later(f"worker {worker.pid}", 12.0, resume)
    return True


def kill_driver(scene: Scene) -> bool:
    """The study's own process dies."""
    return _signal_driver(scene, signal.SIGKILL)


def interrupt_driver(scene: Scene) -> bool:
    """Somebody presses Ctrl-C."""
    return _signal_driver(scene, signal.SIGINT)


def flip_checkpoint(scene: Scene) -> bool:
    """Bytes of a checkpoint change, and the worker that would have replaced it dies."""
    return _damage(scene, "trials/*/checkpoint.pt", scene.folder, _flip) and kill_worker(scene)


def cut_checkpoint(scene: Scene) -> bool:
    """A checkpoint is cut short, and the worker that would have replaced it dies."""
    return _damage(scene, "trials/*/checkpoint.pt", scene.folder, _cut) and kill_worker(scene)


def flip_teacher(scene: Scene) -> bool:
    """Bytes of the teacher change, and a worker dies: its students need the teacher again."""
    return _damage(scene, "teachers/*/model.safetensors", scene.cache, _flip) and kill_worker(scene)


def flip_best(scene: Scene) -> bool:
    """Bytes of the best student's copy change."""
    return _damage(scene, "best/model.safetensors", scene.folder, _flip)


def fill_disk(scene: Scene) -> bool:
    """The disk is full for some seconds."""
    if scene.disk is None or scene.is_broken("disk"):
        return False
    scene.mend_later("disk", 6.0, fill(scene.disk).unlink)
    return True


def kill_mlflow(scene: Scene) -> bool:
    """MLflow's server dies, and is started again."""
    if scene.is_broken("mlflow"):
        return False
    scene.server.kill()
    scene.mend_later("mlflow", 10.0, scene.server.start)
    return True


def freeze_mlflow(scene: Scene) -> bool:
    """MLflow's server does not answer for some seconds."""
    if scene.is_broken("mlflow"):
        return False
    group = scene.server.process.pid
    os.killpg(group, signal.SIGSTOP)
    scene.mend_later("mlflow", 10.0, partial(os.killpg, group, signal.SIGCONT))
    return True


FAULTS: tuple[Fault, ...] = (
    kill_worker,
    freeze_worker,
    flip_checkpoint,
    kill_driver,
    fill_disk,
    kill_mlflow,
    kill_trial,
    flip_teacher,
    interrupt_driver,
    kill_broker,
    cut_checkpoint,
    freeze_mlflow,
    flip_best,
)


def _kill(scene: Scene, title: str) -> bool:
    found = scene.processes(title)
    if not found:
        return False
    with suppress(psutil.NoSuchProcess):
        scene.dice.choice(found).kill()
    return True


def _signal_driver(scene: Scene, blow: signal.Signals) -> bool:
    if scene.driver.poll() is not None:
        return False
    scene.driver.send_signal(blow)
    return True


def _damage(scene: Scene, pattern: str, root: Path, how: Callable[[Scene, Path], None]) -> bool:
    path = scene.any_of(pattern, root)
    if path is None:
        return False
    try:
        how(scene, path)
    except FileNotFoundError:
        return False
    return True


def _flip(scene: Scene, path: Path) -> None:
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for _ in range(FLIPPED):
            place = scene.dice.randrange(size)
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ scene.dice.randrange(1, 256)]))


def _cut(scene: Scene, path: Path) -> None:
    os.truncate(path, scene.dice.randrange(path.stat().st_size))
