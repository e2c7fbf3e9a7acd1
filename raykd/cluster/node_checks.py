"""Whether nodes see the folders that a run's workers share: found out before anybody is taught there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raykd.cluster.resources import Plan, living_nodes, room_for
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.places import shared_folder, teachers_folder
from raykd.storage import StorageError, check_writable, delete, is_url, read, write

PATIENCE_SECONDS = 5.0
"""How long a node looks for a new file: file systems of networks show it late."""

ANSWER_SECONDS = 90.0
"""How long a node may take to answer: it starts a process first, and a share that hangs never answers."""

SHOWN = 3
"""How many nodes an error names."""

ADVICE = {
    "data.root": "copy it to every node, share it, or name a URL, which each node fetches once",
    "cluster.storage": "mount it there too and let the workers write, or name an object store's URL (s3://, gs://)",
}
OWN_FOLDERS = (
    "set study.output and teacher.cache to folders that all nodes share, or cluster.storage to one or to a store's URL"
)


@dataclass(frozen=True)
class Complaint:
    """What a node cannot do with a folder that it needs.

    - setting: which names the folder
    - folder: path or URL
    - problem: the rest of a sentence that begins with the folder
    """

    setting: str
    folder: str
    problem: str

    def __str__(self) -> str:
        return f"{self.setting} {self.folder} {self.problem}"


class NodeChecks:
    """What the nodes have answered. Each that can carry a worker is asked once, by a task that is pinned to it.

    The driver's own node is not asked: the driver sees its folders.

    Args:
        folders: Paths or URLs that workers read and write, with the setting that names each.
        data: A folder that workers read. None: none, or each node sees to its own.
        plan: What a worker needs.
    """

    def __init__(self, folders: Mapping[str, str], data: str | None, plan: Plan) -> None:
        self._folders = folders
        self._data = data
        self._plan = plan
        self._here = ray.get_runtime_context().get_node_id()
        self._asked: dict[str, tuple[ray.ObjectRef[Any], float]] = {}
        self._answers: dict[str, Complaint | None] = {}
        self._told: set[str] = set()
        self._tokens = ExitStack()

    def close(self) -> None:
        """Take what was written for nodes away that have not answered yet."""
        self._tokens.close()

    def check(self) -> None:
        """Ask all nodes, and wait for their answers.

        Raises:
            RaykdError: one of them cannot see or use a folder.
        """
        try:
            self._ask(living_nodes())
            while self._asked:
                self._hear(1.0)
        finally:
            self.close()
        refused = {node: complaint for node, complaint in self._answers.items() if complaint is not None}
        if refused:
            first = next(iter(refused.values()))
            nodes = [node for node, complaint in refused.items() if complaint == first]
            advice = ADVICE.get(first.setting, OWN_FOLDERS)
            raise RaykdError(f"{first} {_on(nodes)}, where a classroom would run:\n{advice}")

    def admitted(self, nodes: Mapping[str, dict[str, float]]) -> tuple[dict[str, dict[str, float]], list[str]]:
        """Those nodes on which classrooms may open by now, and a line for each that is left out, once. Never waits."""
        self._ask(nodes)
        self._hear(0.0)
        lines = []
        for node, complaint in self._answers.items():
            if complaint is not None and node in nodes and node not in self._told:
                self._told.add(node)
                lines.append(f"no classroom opens {_on([node])}: {complaint} there")
        return {node: nodes[node] for node in nodes if not self._is_asked(nodes[node], node) or self._sees(node)}, lines

    def _sees(self, node: str) -> bool:
        return node in self._answers and self._answers[node] is None

    def _is_asked(self, resources: dict[str, float], node: str) -> bool:
        plan = self._plan
        return node != self._here and room_for(resources, plan.cpus_per_worker, plan.gpus_per_worker) > 0

    def _ask(self, nodes: Mapping[str, dict[str, float]]) -> None:
        new = [node for node in nodes if self._is_asked(nodes[node], node)]
        new = [node for node in new if node not in self._answers and node not in self._asked]
        if not new:
            return
        name, content = f"raykd-token-{uuid4().hex}", uuid4().hex.encode()
        for folder in self._folders:
            self._tokens.enter_context(_token(folder, name, content))
        task = ray.remote(num_cpus=0, max_retries=0)(look)
        ends = time.monotonic() + ANSWER_SECONDS
        for node in new:
            pinned = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            self._asked[node] = (pinned.remote(dict(self._folders), self._data, name, content), ends)

    def _hear(self, patience: float) -> None:
        if not self._asked:
            return
        tasks = [task for task, _ in self._asked.values()]
        ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=patience)
        for node, (task, ends) in tuple(self._asked.items()):
            if task not in ready and time.monotonic() < ends:
                continue
            del self._asked[node]
            answer = self._answer(task) if task in ready else self._silent()
            # A node that has left is no longer anybody's business, and a new one has another id.
            if answer is None or node in living_nodes():
                self._answers[node] = answer
        if not self._asked:
            self._tokens.close()

    def _answer(self, task: ray.ObjectRef[Any]) -> Complaint | None:
        try:
            answer: Complaint | None = ray.get(task)
        except Exception as error:
            folder, setting = next(iter(self._folders.items()))
            return Complaint(setting, folder, f"cannot be looked for ({str(error).strip().splitlines()[-1]})")
        return answer

    def _silent(self) -> Complaint:
        folder, setting = next(iter(self._folders.items()))
        return Complaint(setting, folder, f"is still being looked for after {ANSWER_SECONDS:g} s")


def check_nodes(experiment: Experiment, plan: Plan, *, folder: str | None = None, teacher: bool = True) -> NodeChecks:
    """Make sure that all nodes of the connected cluster see what a run's workers share.

    Args:
        experiment: The experiment, with absolute paths.
        plan: What a worker needs.
        folder: The run's shared folder. None: as the settings say.
        teacher: Whether anybody needs the teachers' folder.

    Raises:
        RaykdError: a node does not; two lines say which folder, which nodes, and what to do.
    """
    stored = experiment.cluster.storage is not None
    folders = {folder or shared_folder(experiment): "cluster.storage" if stored and folder is None else "study.output"}
    if teacher:
        folders[teachers_folder(experiment)] = "cluster.storage" if stored else "teacher.cache"
    data = experiment.data
    # What is fetched, each node fetches for itself.
    root = str(data.root) if isinstance(data.root, Path) and not data.download else None
    node_checks = NodeChecks(folders, root, plan)
    node_checks.check()
    return node_checks


def look(folders: Mapping[str, str], data: str | None, name: str, content: bytes) -> Complaint | None:
    """What this node cannot do with the folders; None: nothing.

    Args:
        folders: Paths or URLs with the setting that names each; in each lies a token.
        data: A folder that must be readable, or None.
        name: Of the token.
        content: Of the token.
    """
    ends = time.monotonic() + PATIENCE_SECONDS
    for folder, setting in folders.items():
        try:
            while (found := read(folder, name)) != content and time.monotonic() < ends:
                time.sleep(0.2)
            if found != content:
                return Complaint(setting, folder, "is not seen")
            check_writable(folder, setting)
        except StorageError as error:
            return Complaint(setting, folder, f"cannot be used ({str(error).splitlines()[0]})")
        except (RaykdError, OSError):
            return Complaint(setting, folder, "cannot be written")
    if data is not None and not os.access(data, os.R_OK):
        return Complaint("data.root", data, "cannot be read" if Path(data).exists() else "is not seen")
    return None


@contextmanager
def _token(folder: str, name: str, content: bytes) -> Iterator[None]:
    """A file in a folder, while this is open. Folders that had to be made for it go with it, where they are empty."""
    path = Path(folder)
    new = [] if is_url(folder) else [each for each in (path, *path.parents) if not each.exists()]
    write(folder, name, content)
    try:
        yield
    finally:
        with suppress(OSError):
            delete(folder, name)
            for each in new:
                each.rmdir()


def _on(nodes: Iterable[str]) -> str:
    """Such as "on 10.0.0.3 and 10.0.0.4"."""
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}  # type: ignore[no-untyped-call]
    names = sorted(addresses[node] for node in nodes)
    shown = names[:SHOWN] + ([f"{len(names) - SHOWN} more nodes"] if len(names) > SHOWN else [])
    return "on " + " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
