"""Checks that nodes can use the folders and files that a run's workers share, before a classroom opens there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raykd.cluster.resources import Plan, living_nodes, room_for
from raykd.config import Experiment
from raykd.errors import RaykdError, StorageError
from raykd.fingerprints import file_digest
from raykd.places import shared_folder, teachers_folder
from raykd.storage import check_writable, delete, is_url, read, write

FILE_SECONDS = 5.0
"""How long a node waits for a new file: network file systems show it late."""

ANSWER_SECONDS = 90.0
"""How long a node may take to answer: it starts a process first, and a share that hangs never answers."""

NODES_NAMED = 3
"""How many nodes an error names."""

ADVICE = {
    "data.root": "copy it to every node, share it, or name a URL, which each node fetches once",
    "student.weights": "copy that file to every node, or put it where all nodes see it",
    "teacher.model.weights": "copy that file to every node, or put it where all nodes see it",
    "cluster.storage": "mount it there too and let the workers write, or name an object store's URL (s3://, gs://)",
}
OWN_FOLDERS = (
    "set study.output and teacher.cache to folders that all nodes share, or cluster.storage to one or to a store's URL"
)


@dataclass(frozen=True)
class Needed:
    """A folder or file that workers read.

    - setting: that names it
    - path: of it
    - digest: sha256 (hex) that the file must have. None: any
    """

    setting: str
    path: str
    digest: str | None = None


@dataclass(frozen=True)
class FolderProblem:
    """What a node cannot do with a folder or file that it needs.

    - setting: that names it
    - folder: path or URL
    - problem: the rest of a sentence that begins with it
    """

    setting: str
    folder: str
    problem: str

    def __str__(self) -> str:
        return f"{self.setting} {self.folder} {self.problem}"


class NodeChecks:
    """Each node that can carry a worker is checked once, by a task that is pinned to it.

    The driver's own node is not checked: the driver sees its folders.

    Args:
        folders: Paths or URLs that workers read and write, with the setting that names each.
        needed: What workers read besides.
        plan: What a worker needs.
    """

    def __init__(self, folders: Mapping[str, str], needed: Sequence[Needed], plan: Plan) -> None:
        self._folders = folders
        self._needed = needed
        self._plan = plan
        self._driver_node = ray.get_runtime_context().get_node_id()
        self._tasks: dict[str, tuple[ray.ObjectRef[Any], float]] = {}
        self._results: dict[str, FolderProblem | None] = {}
        self._reported: set[str] = set()
        self._tokens = ExitStack()

    def close(self) -> None:
        """Delete what was written for nodes that have not answered yet."""
        self._tokens.close()

    def check(self) -> None:
        """Check all nodes, and wait for their results.

        Raises:
            RaykdError: one of them cannot see or use a folder.
        """
        try:
            self._start(living_nodes())
            while self._tasks:
                self._collect(1.0)
        finally:
            self.close()
        refused = {node: problem for node, problem in self._results.items() if problem is not None}
        if refused:
            first = next(iter(refused.values()))
            nodes = [node for node, problem in refused.items() if problem == first]
            advice = ADVICE.get(first.setting, OWN_FOLDERS)
            raise RaykdError(f"{first} {_on(nodes)}, where a classroom would run:\n{advice}")

    def usable(self, nodes: Mapping[str, dict[str, float]]) -> tuple[dict[str, dict[str, float]], list[str]]:
        """The nodes on which classrooms may open by now, and a line, once, for each that failed. Never waits."""
        self._start(nodes)
        self._collect(0.0)
        lines = []
        for node, problem in self._results.items():
            if problem is not None and node in nodes and node not in self._reported:
                self._reported.add(node)
                lines.append(f"no classroom opens {_on([node])}: {problem} there")
        usable = [node for node in nodes if not self._needs_check(nodes[node], node) or self._passed(node)]
        return {node: nodes[node] for node in usable}, lines

    def _passed(self, node: str) -> bool:
        return node in self._results and self._results[node] is None

    def _needs_check(self, resources: dict[str, float], node: str) -> bool:
        plan = self._plan
        return node != self._driver_node and room_for(resources, plan.cpus_per_worker, plan.gpus_per_worker) > 0

    def _start(self, nodes: Mapping[str, dict[str, float]]) -> None:
        new = [node for node in nodes if self._needs_check(nodes[node], node)]
        new = [node for node in new if node not in self._results and node not in self._tasks]
        if not new:
            return
        name, content = f"raykd-token-{uuid4().hex}", uuid4().hex.encode()
        for folder in self._folders:
            self._tokens.enter_context(_token(folder, name, content))
        task = ray.remote(num_cpus=0, max_retries=0)(check_folders)
        ends = time.monotonic() + ANSWER_SECONDS
        for node in new:
            pinned = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            self._tasks[node] = (pinned.remote(dict(self._folders), tuple(self._needed), name, content), ends)

    def _collect(self, timeout: float) -> None:
        if not self._tasks:
            return
        tasks = [task for task, _ in self._tasks.values()]
        ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=timeout)
        for node, (task, ends) in tuple(self._tasks.items()):
            if task not in ready and time.monotonic() < ends:
                continue
            del self._tasks[node]
            problem = self._result(task) if task in ready else self._no_answer()
            # The problem of a node that has left does not matter any more; a new node has another id.
            if problem is None or node in living_nodes():
                self._results[node] = problem
        if not self._tasks:
            self._tokens.close()

    def _result(self, task: ray.ObjectRef[Any]) -> FolderProblem | None:
        try:
            problem: FolderProblem | None = ray.get(task)
        except Exception as error:
            return self._unknown(f"cannot be looked for ({str(error).strip().splitlines()[-1]})")
        return problem

    def _no_answer(self) -> FolderProblem:
        return self._unknown(f"is still being looked for after {ANSWER_SECONDS:g} s")

    def _unknown(self, problem: str) -> FolderProblem:
        """The check itself failed: the first folder stands for all."""
        folder, setting = next(iter(self._folders.items()))
        return FolderProblem(setting, folder, problem)


def check_nodes(experiment: Experiment, plan: Plan, *, folder: str | None = None, teacher: bool = True) -> NodeChecks:
    """Make sure that all nodes of the connected cluster can use what a run's workers share.

    Args:
        experiment: The experiment, with absolute paths.
        plan: What a worker needs.
        folder: The run's shared folder. None: as the settings say.
        teacher: Whether the run needs the teachers' folder.

    Raises:
        RaykdError: a node cannot; two lines say which folder, which nodes, and what to do.
    """
    stored = experiment.cluster.storage is not None
    folders = {folder or shared_folder(experiment): "cluster.storage" if stored and folder is None else "study.output"}
    if teacher:
        folders[teachers_folder(experiment)] = "cluster.storage" if stored else "teacher.cache"
    data = experiment.data
    # What is fetched, each node fetches for itself.
    fetched = data.download or not isinstance(data.root, Path)
    needed = [] if fetched else [Needed("data.root", str(data.root))]
    models = {"student.weights": experiment.student, "teacher.model.weights": experiment.teacher.model}
    for setting, model in models.items():
        needed += [Needed(setting, path, digest) for path, digest in model.digests.items()]
    node_checks = NodeChecks(folders, needed, plan)
    node_checks.check()
    return node_checks


def check_folders(
    folders: Mapping[str, str],
    needed: Sequence[Needed],
    name: str,
    content: bytes,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> FolderProblem | None:
    """What this node cannot do with the folders. None: it can do all.

    Args:
        folders: Paths or URLs with the setting that names each; in each lies a token.
        needed: What must be readable.
        name: Of the token.
        content: Of the token.
        clock: A monotonic time in seconds.
        sleep: Waits for so many seconds.
    """
    end = clock() + FILE_SECONDS
    for folder, setting in folders.items():
        try:
            while (token := read(folder, name)) != content and clock() < end:
                sleep(0.2)
            if token != content:
                return FolderProblem(setting, folder, "is not seen")
            check_writable(folder, setting)
        except StorageError as error:
            return FolderProblem(setting, folder, f"cannot be used ({str(error).splitlines()[0]})")
        except (RaykdError, OSError):
            return FolderProblem(setting, folder, "cannot be written")
    for each in needed:
        if not os.access(each.path, os.R_OK):
            there = Path(each.path).exists()
            return FolderProblem(each.setting, each.path, "cannot be read" if there else "is not seen")
        if each.digest is not None and file_digest(each.path) != each.digest:
            return FolderProblem(each.setting, each.path, "is another file")
    return None


@contextmanager
def _token(folder: str, name: str, content: bytes) -> Iterator[None]:
    """A file in a folder, while this is open. Folders that had to be made for it go with it, where they are empty."""
    path = Path(folder)
    new = [] if is_url(folder) else [parent for parent in (path, *path.parents) if not parent.exists()]
    write(folder, name, content)
    try:
        yield
    finally:
        with suppress(OSError):
            delete(folder, name)
            for parent in new:
                parent.rmdir()


def _on(nodes: Iterable[str]) -> str:
    """Such as "on 10.0.0.3 and 10.0.0.4"."""
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}  # type: ignore[no-untyped-call]
    names = sorted(addresses[node] for node in nodes)
    named = names[:NODES_NAMED] + ([f"{len(names) - NODES_NAMED} more nodes"] if len(names) > NODES_NAMED else [])
    return "on " + " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
