"""Breadth first over all that can happen to one request, and the shortest way to a mistake.

A node is (request, world, faults spent). Whoever spent less can do all that others can, so a node
is left out when the same request and world were reached before, in no more steps, with no more
faults: every continuation is one of the earlier node's too, and a shortest trace stays one.
"""

from __future__ import annotations

import array
import collections
import dataclasses

from streamproof.model.graph import Graph

WORLDS_MAX = 32  # (up, paused, late) for two workers, connected or not: 18
SPENDINGS_MAX = 1024

LOST = "every stored request ends, and its client has the outcome (ASYNC-1)"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and the shortest way to it, one line for each step."""

    broken: str
    trace: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Explored:
    """What was visited, requests in their worlds, and the first mistake."""

    states: int
    finding: Finding | None


def explore(graph: Graph) -> Explored:
    """Visit everything; stops at the first broken invariant, else looks for lost requests."""
    return _Search(graph).run()


class _Search:
    """Nodes are integers: request, world and spending packed together; a place lacks the last."""

    def __init__(self, graph: Graph) -> None:
        assert len(graph.spendings) <= SPENDINGS_MAX, "so many faults do not fit a node"  # noqa: S101 - options are the model's own
        self._graph = graph
        self._came_from: dict[int, int] = {}
        self._reached: dict[int, int] = {}  # place -> a bit for each spending
        self._node_of: dict[int, int] = {}  # place -> the first node there
        self._before: dict[int, array.array[int]] = {}  # place -> places, by fair steps

    def run(self) -> Explored:
        """The search itself."""
        graph, came_from, reached = self._graph, self._came_from, self._reached
        more, cheaper = graph.more, graph.cheaper
        reached[0] = 1
        self._node_of[0] = 0
        queue = collections.deque([0])
        while queue:
            node = queue.popleft()
            place, spending = divmod(node, SPENDINGS_MAX)
            first = self._node_of[place] == node
            for after, cost, fair, broken in self._steps(place):
                if fair and first and not broken:
                    self._before.setdefault(after, array.array("Q")).append(place)
                left = spending if cost < 0 else more[spending][cost]
                if left < 0:
                    continue
                if broken or self._unearned(after, left):
                    return self._found(broken or self._unearned(after, left), node, after)
                there = reached.get(after, 0)
                if there & cheaper[left]:
                    continue
                reached[after] = there | 1 << left
                target = after * SPENDINGS_MAX + left
                if not there:
                    self._node_of[after] = target
                came_from[target] = node
                queue.append(target)
        return self._lost()

    def _steps(self, place: int) -> list[tuple[int, int, bool, str]]:
        graph = self._graph
        request, world = divmod(place, WORLDS_MAX)
        steps = [
            (after * WORLDS_MAX + world, cost, fair, broken)
            for after, cost, fair, broken in graph.edges(request, world)
        ]
        for event, new, cost in graph.events(world):
            steps += [
                (after * WORLDS_MAX + new, cost, cost < 0, "")
                for after in graph.struck(request, event)
            ]
        return steps

    def _unearned(self, place: int, spending: int) -> str:
        graph = self._graph
        request = graph.requests[place // WORLDS_MAX]
        if not request.deaths:
            return ""
        return graph.protocol.unearned(request, graph.spendings[spending])

    def _lost(self) -> Explored:
        """Whether from everywhere the end can be reached by steps that happen in the end."""
        graph = self._graph
        ends = [
            place
            for place in self._reached
            if graph.protocol.settled(
                graph.requests[place // WORLDS_MAX], graph.worlds[place % WORLDS_MAX]
            )
        ]
        good = set(ends)
        while ends:
            for before in self._before.get(ends.pop(), ()):
                if before not in good:
                    good.add(before)
                    ends.append(before)
        for place in self._reached:  # in the order of the search: the nearest is first
            if place not in good:
                return Explored(
                    len(self._reached), Finding(LOST, self._trace(self._node_of[place]))
                )
        return Explored(len(self._reached), None)

    def _found(self, broken: str, node: int, after: int) -> Explored:
        last = self._label(node // SPENDINGS_MAX, after, broken)
        return Explored(len(self._reached), Finding(broken, (*self._trace(node), last)))

    def _trace(self, node: int) -> tuple[str, ...]:
        labels = []
        while node:
            before = self._came_from[node]
            labels.append(self._label(before // SPENDINGS_MAX, node // SPENDINGS_MAX, ""))
            node = before
        return tuple(reversed(labels))

    def _label(self, place: int, after: int, broken: str) -> str:
        """The first step between the two places: labels are worked out for traces alone."""
        graph = self._graph
        request, world = divmod(place, WORLDS_MAX)
        target, new = divmod(after, WORLDS_MAX)
        for move in graph.protocol.moves(graph.requests[request], graph.worlds[world]):
            same = new == world and move.after == graph.requests[target]
            if move.broken == broken if move.broken else same:
                return move.label
        for event, there, _ in graph.events(world):
            if there == new and target in graph.struck(request, event):
                return event.label
        raise AssertionError("two places of a trace are not neighbours")
