"""Classrooms as nodes come and go: where they open, who is lost with a node, and what comes back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raykd.cluster.placement import BUSY_SECONDS, Changes, Nodes, PlacedClassroom, Placement, nodes_for
from raykd.cluster.resources import Resources, plan_for, room_for
from raykd.config import ClusterSettings

GPUS = {"CPU": 16.0, "GPU": 2.0}
CPUS = {"CPU": 4.0}
HEAD = {"memory": 1e9}


def placed_on(nodes: Nodes, students: int = 64, **cluster: Any) -> tuple[Placement, Changes]:
    """A placement planned for these nodes, after its first update."""
    chosen = ClusterSettings(**cluster)
    found = Placement(plan_for(chosen, Resources.of(nodes.values()), students), chosen)
    return found, found.update(nodes, 0.0)


def nodes_opened(changes: Changes) -> list[tuple[str, ...]]:
    return [room.nodes for room in changes.opened]


@pytest.mark.parametrize(
    ("nodes", "cluster", "expected"),
    [
        ({"a": GPUS}, {}, [("a",), ("a",)]),
        ({"head": HEAD, "a": GPUS, "b": GPUS}, {}, [("a",), ("b",), ("a",), ("b",)]),
        # Two classrooms that would fit on one node keep away from each other.
        ({"a": GPUS, "b": GPUS}, {"classrooms": 2}, [("a",), ("b",)]),
        ({"a": CPUS, "b": {"CPU": 8.0}}, {"classrooms": 2}, [("b",), ("b",)]),
        # The workers of one classroom sit together, and on two nodes where one is too small.
        ({"a": GPUS, "b": GPUS}, {"workers": 2}, [("a", "a"), ("b", "b")]),
        ({"a": GPUS, "b": GPUS}, {"workers": 3}, [("a", "a", "b")]),
        ({"a": GPUS, "b": GPUS}, {"workers": 4}, [("a", "a", "b", "b")]),
        ({"a": GPUS}, {"gpus_per_worker": 0.5, "classrooms": 3}, [("a",)] * 3),
        ({"a": GPUS}, {"workers": 4, "least_workers": 1}, [("a", "a")]),
    ],
)
def test_classrooms_spread_over_the_nodes_and_workers_stay_together(
    nodes: Nodes, cluster: dict[str, Any], expected: list[tuple[str, ...]]
) -> None:
    placement, first = placed_on(nodes, **cluster)
    assert nodes_opened(first) == expected
    assert placement.seats == len(expected) * placement.plan.seats
    assert not any(vars(placement.update(nodes, 1.0)).values())


def test_a_node_that_joins_brings_classrooms_where_their_number_was_left_open() -> None:
    placement, _ = placed_on({"a": GPUS})
    changes = placement.update({"a": GPUS, "b": GPUS}, 1.0)
    assert (changes.joined, nodes_opened(changes)) == (1, [("b",), ("b",)])
    assert len(placement.open) == 4
    fixed, _ = placed_on({"a": GPUS}, classrooms=2)
    assert fixed.update({"a": GPUS, "b": GPUS}, 1.0) == Changes(joined=1)


def test_there_are_never_more_classrooms_than_students() -> None:
    placement, _ = placed_on({"a": GPUS}, students=3)
    assert nodes_opened(placement.update({"a": GPUS, "b": GPUS}, 1.0)) == [("b",)]


def test_a_node_that_leaves_takes_its_classrooms_only_and_they_come_back_with_it() -> None:
    placement, first = placed_on({"a": GPUS, "b": GPUS})
    changes = placement.update({"b": GPUS}, 1.0)
    assert (changes.left, changes.opened) == (1, ())
    assert changes.lost == tuple(room for room in first.opened if room.nodes == ("a",))
    assert placement.seats == 2 * placement.plan.seats
    back = placement.update({"b": GPUS, "a again": GPUS}, 2.0)
    assert nodes_opened(back) == [("a again",)] * 2
    assert {room.name for room in back.opened}.isdisjoint(room.name for room in first.opened)


def test_a_lost_classroom_opens_elsewhere_at_once_where_there_is_room() -> None:
    placement, _ = placed_on({"a": GPUS, "b": GPUS}, classrooms=2)
    changes = placement.update({"b": GPUS}, 1.0)
    assert [room.nodes for room in changes.lost] == [("a",)]
    assert nodes_opened(changes) == [("b",)]
    assert not placement.ended(changes.lost[0].name, given_up=True), "its end is no news, and nobody's fault"
    assert placement.given_up == 0


def test_a_classroom_on_two_nodes_is_lost_with_either() -> None:
    placement, first = placed_on({"a": GPUS, "b": GPUS}, workers=4)
    changes = placement.update({"b": GPUS}, 1.0)
    assert (changes.lost, changes.opened, placement.seats) == (first.opened, (), 0)
    assert not placement.exhausted


def test_a_classroom_may_go_on_with_fewer_workers_and_gets_all_when_there_is_room() -> None:
    placement, first = placed_on({"a": GPUS, "b": GPUS}, workers=4, least_workers=2)
    assert nodes_opened(first) == [("a", "a", "b", "b")]
    shrunk = placement.update({"b": GPUS}, 1.0)
    assert (shrunk.lost, nodes_opened(shrunk)) == (first.opened, [("b", "b")])
    nodes = {"b": GPUS, "c": GPUS}
    growing = placement.update(nodes, 2.0)
    assert (growing.growing, growing.opened) == (shrunk.opened, ())
    # It teaches its epoch to the end first.
    assert placement.update(nodes, 3.0) == Changes()
    assert placement.ended(shrunk.opened[0].name)
    (grown,) = placement.update(nodes, 4.0).opened
    assert sorted(grown.nodes) == ["b", "b", "c", "c"]


def test_as_many_classrooms_as_can_be_have_all_their_workers() -> None:
    placement, first = placed_on({"a": GPUS, "b": {"CPU": 16.0, "GPU": 1.0}}, classrooms=2, workers=2, least_workers=1)
    assert nodes_opened(first) == [("a", "a"), ("b",)]
    assert placement.seats == 2 * placement.plan.seats


def test_nodes_whose_resources_are_taken_are_passed_over_for_a_while() -> None:
    nodes = {"a": GPUS, "b": GPUS}
    placement, (first) = placed_on(nodes, classrooms=1)
    (room,) = first.opened
    assert placement.ended(room.name, busy=True, now=1.0)
    (other,) = placement.update(nodes, 2.0).opened
    assert other.nodes != room.nodes
    assert placement.ended(other.name, busy=True, now=3.0)
    assert placement.update(nodes, 4.0) == Changes()
    assert nodes_opened(placement.update(nodes, 1.0 + BUSY_SECONDS)) == [room.nodes]


def test_whoever_is_given_up_is_not_opened_again() -> None:
    nodes = {"a": GPUS}
    placement, first = placed_on(nodes)
    one, two = first.opened
    assert placement.ended(one.name, given_up=True)
    assert placement.update(nodes, 1.0) == Changes()
    assert not placement.exhausted
    assert placement.ended(two.name, given_up=True)
    assert placement.exhausted
    assert placement.update(nodes, 2.0) == Changes()


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5)), st.integers(1, 8))
def test_workers_are_placed_where_there_is_room_or_not_at_all(free: dict[str, int], workers: int) -> None:
    chosen = nodes_for(workers, free)
    if sum(free.values()) < workers:
        assert chosen == ()
        return
    assert len(chosen) == workers
    taken = Counter(chosen)
    assert all(taken[node] <= free[node] for node in taken)
    # No smaller number of nodes would carry them.
    assert sum(sorted(free.values(), reverse=True)[: len(taken) - 1]) < workers


@settings(max_examples=300)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), min_size=1, unique=True), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([None, 1, 3]),
)
# The room of a classroom that closed to grow stayed empty while the next one closed to grow as well.
@example(lives=[["a", "d"], ["d"], ["a", "d"]], workers=3, least=1, classrooms=3)
def test_through_any_life_of_a_cluster(
    lives: list[list[str]], workers: int, least: int, classrooms: int | None
) -> None:
    chosen = ClusterSettings(classrooms=classrooms, workers=workers, least_workers=min(least, workers))
    generous = Resources.of([GPUS] * 20)
    placement = Placement(plan_for(chosen, generous, 64), chosen)
    names: set[str] = set()
    for now, alive in enumerate(lives):
        nodes = dict.fromkeys(alive, GPUS)
        changes = placement.update(nodes, float(now))
        for _ in range(len(alive) + 1):
            assert names.isdisjoint(room.name for room in changes.opened), "a name was used twice"
            names |= {room.name for room in changes.opened}
            taken = Counter(node for room in placement.open for node in room.nodes)
            assert all(taken[node] <= room_for(nodes[node], 0.9, 1.0) for node in taken)
            assert all(min(least, workers) <= len(room.nodes) <= workers for room in placement.open)
            if not changes.growing:
                break
            (growing,) = changes.growing
            complete = sum(len(room.nodes) == workers for room in placement.open)
            assert placement.ended(growing.name)
            changes = placement.update(nodes, now + 0.5)
            assert sum(len(room.nodes) == workers for room in placement.open) > complete, "it closed in vain"
        assert not changes.growing, "it never comes to rest"
        # As many as are wanted, or no room is left for one more.
        left = 2 * len(alive) - taken.total()
        wanted = max(2 * len(alive) // workers, 1) if classrooms is None else classrooms
        assert len(placement.open) == wanted or left < min(least, workers)


def test_changes_are_told_in_plain_lines() -> None:
    chosen = ClusterSettings(workers=2, least_workers=1, seats=4)
    plan = plan_for(chosen, Resources.of([GPUS]), 64)
    rooms = [PlacedClassroom("classroom-0", ("a", "b")), PlacedClassroom("classroom-1", ("a", "b"))]
    short = PlacedClassroom("classroom-2", ("a",))
    assert Changes(left=1, lost=tuple(rooms), opened=(short,)).messages(plan, 5, 4) == [
        "1 node left: 2 classrooms lost, 5 students to go on elsewhere",
        "1 classroom opens, 4 seats in all",
        "classroom-2 has 1 of 2 workers until there are more nodes",
    ]
    assert Changes(left=2, lost=(short,)).messages(plan, 0, 0) == ["2 nodes left: 1 classroom lost"]
    assert Changes(joined=2, opened=tuple(rooms)).messages(plan, 0, 8) == [
        "2 nodes joined: 2 classrooms open, 8 seats in all"
    ]
    assert Changes(joined=1, growing=(short,)).messages(plan, 0, 4) == [
        "classroom-2 closes after its epoch, to open with more workers"
    ]
    assert Changes(joined=1, left=1).messages(plan, 0, 4) == []
