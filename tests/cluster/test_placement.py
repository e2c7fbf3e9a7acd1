"""Classrooms as nodes come and go: where they open, who is lost with a node, and what comes back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raykd.cluster.classrooms import told
from raykd.cluster.placement import BUSY_SECONDS, Changes, Nodes, PlacedClassroom, Placement, placed
from raykd.cluster.resources import Resources, plan_for, room_for
from raykd.config import ClusterSettings

GPUS = {"CPU": 16.0, "GPU": 2.0}
CPUS = {"CPU": 4.0}
HEAD = {"memory": 1e9}


def placement(nodes: Nodes, students: int = 64, **cluster: Any) -> tuple[Placement, Changes]:
    """A roster planned for these nodes, after its first look at them."""
    chosen = ClusterSettings(**cluster)
    found = Placement(plan_for(chosen, Resources.of(nodes.values()), students), chosen)
    return found, found.look(nodes, 0.0)


def homes(changes: Changes) -> list[tuple[str, ...]]:
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
    book, first = placement(nodes, **cluster)
    assert homes(first) == expected
    assert book.seats == len(expected) * book.plan.seats
    assert not any(vars(book.look(nodes, 1.0)).values())


def test_a_node_that_joins_brings_classrooms_where_their_number_was_left_open() -> None:
    book, _ = placement({"a": GPUS})
    changes = book.look({"a": GPUS, "b": GPUS}, 1.0)
    assert (changes.joined, homes(changes)) == (1, [("b",), ("b",)])
    assert len(book.open) == 4
    fixed, _ = placement({"a": GPUS}, classrooms=2)
    assert fixed.look({"a": GPUS, "b": GPUS}, 1.0) == Changes(joined=1)


def test_there_are_never_more_classrooms_than_students() -> None:
    book, _ = placement({"a": GPUS}, students=3)
    assert homes(book.look({"a": GPUS, "b": GPUS}, 1.0)) == [("b",)]


def test_a_node_that_leaves_takes_its_classrooms_only_and_they_come_back_with_it() -> None:
    book, first = placement({"a": GPUS, "b": GPUS})
    changes = book.look({"b": GPUS}, 1.0)
    assert (changes.left, changes.opened) == (1, ())
    assert changes.lost == tuple(room for room in first.opened if room.nodes == ("a",))
    assert book.seats == 2 * book.plan.seats
    back = book.look({"b": GPUS, "a again": GPUS}, 2.0)
    assert homes(back) == [("a again",)] * 2
    assert {room.name for room in back.opened}.isdisjoint(room.name for room in first.opened)


def test_a_lost_classroom_opens_elsewhere_at_once_where_there_is_room() -> None:
    book, _ = placement({"a": GPUS, "b": GPUS}, classrooms=2)
    changes = book.look({"b": GPUS}, 1.0)
    assert [room.nodes for room in changes.lost] == [("a",)]
    assert homes(changes) == [("b",)]
    assert not book.ended(changes.lost[0].name, given_up=True), "its end is no news, and nobody's fault"
    assert book.given_up == 0


def test_a_classroom_on_two_nodes_is_lost_with_either() -> None:
    book, first = placement({"a": GPUS, "b": GPUS}, workers=4)
    changes = book.look({"b": GPUS}, 1.0)
    assert (changes.lost, changes.opened, book.seats) == (first.opened, (), 0)
    assert not book.exhausted


def test_a_classroom_may_go_on_with_fewer_workers_and_gets_all_when_there_is_room() -> None:
    book, first = placement({"a": GPUS, "b": GPUS}, workers=4, least_workers=2)
    assert homes(first) == [("a", "a", "b", "b")]
    shrunk = book.look({"b": GPUS}, 1.0)
    assert (shrunk.lost, homes(shrunk)) == (first.opened, [("b", "b")])
    nodes = {"b": GPUS, "c": GPUS}
    growing = book.look(nodes, 2.0)
    assert (growing.recalled, growing.opened) == (shrunk.opened, ())
    # It teaches its epoch to the end first.
    assert book.look(nodes, 3.0) == Changes()
    assert book.ended(shrunk.opened[0].name)
    (grown,) = book.look(nodes, 4.0).opened
    assert sorted(grown.nodes) == ["b", "b", "c", "c"]


def test_as_many_classrooms_as_can_be_have_all_their_workers() -> None:
    book, first = placement({"a": GPUS, "b": {"CPU": 16.0, "GPU": 1.0}}, classrooms=2, workers=2, least_workers=1)
    assert homes(first) == [("a", "a"), ("b",)]
    assert book.seats == 2 * book.plan.seats


def test_nodes_whose_resources_are_taken_are_passed_over_for_a_while() -> None:
    nodes = {"a": GPUS, "b": GPUS}
    book, (first) = placement(nodes, classrooms=1)
    (room,) = first.opened
    assert book.ended(room.name, busy=True, now=1.0)
    (other,) = book.look(nodes, 2.0).opened
    assert other.nodes != room.nodes
    assert book.ended(other.name, busy=True, now=3.0)
    assert book.look(nodes, 4.0) == Changes()
    assert homes(book.look(nodes, 1.0 + BUSY_SECONDS)) == [room.nodes]


def test_whoever_is_given_up_is_not_opened_again() -> None:
    nodes = {"a": GPUS}
    book, first = placement(nodes)
    one, two = first.opened
    assert book.ended(one.name, given_up=True)
    assert book.look(nodes, 1.0) == Changes()
    assert not book.exhausted
    assert book.ended(two.name, given_up=True)
    assert book.exhausted
    assert book.look(nodes, 2.0) == Changes()


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5)), st.integers(1, 8))
def test_workers_are_placed_where_there_is_room_or_not_at_all(free: dict[str, int], workers: int) -> None:
    chosen = placed(workers, free)
    if sum(free.values()) < workers:
        assert chosen == ()
        return
    assert len(chosen) == workers
    taken = Counter(chosen)
    assert all(taken[node] <= free[node] for node in taken)
    # No smaller number of nodes would carry them.
    assert sum(sorted(free.values(), reverse=True)[: len(taken) - 1]) < workers


@settings(max_examples=200)
@given(
    st.lists(st.sets(st.sampled_from("abcde"), min_size=1), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([None, 1, 3]),
)
def test_through_any_life_of_a_cluster(lives: list[set[str]], workers: int, least: int, classrooms: int | None) -> None:
    chosen = ClusterSettings(classrooms=classrooms, workers=workers, least_workers=min(least, workers))
    generous = Resources.of([GPUS] * 20)
    book = Placement(plan_for(chosen, generous, 64), chosen)
    names: set[str] = set()
    for now, alive in enumerate(lives):
        nodes = dict.fromkeys(alive, GPUS)
        changes = book.look(nodes, float(now))
        assert names.isdisjoint(room.name for room in changes.opened), "a name was used twice"
        names |= {room.name for room in changes.opened}
        for room in changes.recalled:
            book.ended(room.name)
        book.look(nodes, now + 0.5)
        taken = Counter(node for room in book.open for node in room.nodes)
        assert all(taken[node] <= room_for(nodes[node], 0.9, 1.0) for node in taken)
        assert all(min(least, workers) <= len(room.nodes) <= workers for room in book.open)
        # As many as are wanted, or no room is left for one more.
        left = 2 * len(alive) - taken.total()
        wanted = max(2 * len(alive) // workers, 1) if classrooms is None else classrooms
        assert len(book.open) == wanted or left < min(least, workers)


def test_changes_are_told_in_plain_lines() -> None:
    chosen = ClusterSettings(workers=2, least_workers=1, seats=4)
    plan = plan_for(chosen, Resources.of([GPUS]), 64)
    rooms = [PlacedClassroom("classroom-0", ("a", "b")), PlacedClassroom("classroom-1", ("a", "b"))]
    short = PlacedClassroom("classroom-2", ("a",))
    assert told(Changes(left=1, lost=tuple(rooms), opened=(short,)), plan, 5, 4) == [
        "1 node left: 2 classrooms lost, 5 students to go on elsewhere",
        "1 classroom opens, 4 seats in all",
        "classroom-2 has 1 of 2 workers until there are more nodes",
    ]
    assert told(Changes(left=2, lost=(short,)), plan, 0, 0) == ["2 nodes left: 1 classroom lost"]
    assert told(Changes(joined=2, opened=tuple(rooms)), plan, 0, 8) == [
        "2 nodes joined: 2 classrooms open, 8 seats in all"
    ]
    assert told(Changes(joined=1, recalled=(short,)), plan, 0, 4) == [
        "classroom-2 closes after its epoch, to open with more workers"
    ]
    assert told(Changes(joined=1, left=1), plan, 0, 4) == []
