"""Breadth first over all that can happen to one request, and the shortest way to a mistake.

A node is (request, world, budget left). More budget allows all that less allows, so a node is left
out when the same request and world were reached before, in no more steps, with at least as much:
every continuation is one of the earlier node's too, and the shortest trace stays the shortest.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from streamproof.model.protocol import Protocol
from streamproof.model.state import Budget, Request, World


class Place(NamedTuple):
    """A request and the world it is in."""

    request: Request
    world: World


class Step(NamedTuple):
    """One edge between places."""

    label: str
    after: Place
    cost: str
    fair: bool
    broken: str


Node = tuple[Place, Budget]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and the shortest way to it, one line for each step."""

    broken: str
    trace: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Explored:
    """What was visited: distinct requests, requests in their worlds, and the first mistake."""

    requests: int
    places: int
    finding: Finding | None


def explore(protocol: Protocol) -> Explored:
    """Visit every place; stops at the first broken invariant, else looks for lost requests."""
    start = Place(protocol.start(), World())
    first: Node = (start, protocol.options.budget)
    came_from: dict[Node, tuple[Node, str]] = {}
    best: dict[Place, list[Budget]] = {start: [first[1]]}
    nodes_of: dict[Place, Node] = {start: first}
    leads_to: dict[Place, list[Place]] = collections.defaultdict(list)
    steps_of: dict[Place, list[Step]] = {}
    queue: collections.deque[Node] = collections.deque([first])
    while queue:
        node = queue.popleft()
        place, budget = node
        known = steps_of.get(place)
        if known is None:
            known = steps_of[place] = list(steps(protocol, place))
            for step in known:
                if step.fair and not step.broken:
                    leads_to[step.after].append(place)
        for step in known:
            left = spent(budget, step.cost)
            if left is None:
                continue
            if broken := step.broken or protocol.unearned(step.after.request, left):
                trace = (*_trace(came_from, node), step.label)
                return _explored(best, Finding(broken, trace))
            there = best.setdefault(step.after, [])
            if any(all(map(_at_least, other, left)) for other in there):
                continue
            there.append(left)
            after = (step.after, left)
            nodes_of.setdefault(step.after, after)
            came_from[after] = (node, step.label)
            queue.append(after)
    for place in _lost(protocol, best, leads_to):
        trace = tuple(_trace(came_from, nodes_of[place]))
        return _explored(best, Finding("every acknowledged request ends (ASYNC-1)", trace))
    return _explored(best, None)


def steps(protocol: Protocol, place: Place) -> Iterator[Step]:
    """All edges from a place, whatever the budget."""
    request, world = place
    for move in protocol.moves(request, world):
        yield Step(move.label, Place(move.after, world), move.cost, move.fair, move.broken)
    for event in protocol.events(world):
        for after in protocol.struck(request, event):
            yield Step(event.label, Place(after, event.world), event.cost, not event.cost, "")


def spent(budget: Budget, cost: str) -> Budget | None:
    """The budget after one fault of this kind; None when there is none left."""
    if not cost:
        return budget
    left: int = getattr(budget, cost)
    return budget._replace(**{cost: left - 1}) if left else None


def _lost(
    protocol: Protocol, places: dict[Place, list[Budget]], leads_to: dict[Place, list[Place]]
) -> Iterator[Place]:
    """Places from which steps that happen in the end do not lead to the end, nearest first."""
    ends = [place for place in places if protocol.settled(*place)]
    reached = set(ends)
    while ends:
        for before in leads_to[ends.pop()]:
            if before not in reached:
                reached.add(before)
                ends.append(before)
    return (place for place in places if place not in reached)


def _at_least(one: int, other: int) -> bool:
    return one >= other


def _trace(came_from: dict[Node, tuple[Node, str]], node: Node) -> list[str]:
    labels = []
    while node in came_from:
        node, label = came_from[node]
        labels.append(label)
    return labels[::-1]


def _explored(best: dict[Place, list[Budget]], finding: Finding | None) -> Explored:
    return Explored(len({place.request for place in best}), len(best), finding)
