"""The model's states as numbers, worked out once: what exploring and counting walk through.

A request is an index, so is a world, and so are the faults that were spent. Hashing a request takes
a hundred times as long as hashing an integer, and each one is reached in many ways.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from streamproof.model.protocol import Event, Part, Protocol
from streamproof.model.state import Budget, Request, World

COSTS = Budget._fields


class Edge(NamedTuple):
    """One step of one request; `after` is a request's index, `cost` a fault's, -1 for none."""

    after: int
    cost: int
    fair: bool
    broken: str


class Graph:
    """Requests, worlds and spendings by index, and the edges between them."""

    def __init__(self, protocol: Protocol) -> None:
        """Nothing is worked out yet but the start, which is index 0."""
        self.protocol = protocol
        self.requests: list[Request] = []
        self.worlds: list[World] = []
        self._request_ids: dict[Request, int] = {}
        self._world_ids: dict[World, int] = {}
        self._parts: dict[tuple[int, Part], tuple[Edge, ...]] = {}
        self._edges: dict[tuple[int, int], list[Edge]] = {}
        self._events: dict[int, list[tuple[Event, int, int]]] = {}
        self._struck: dict[tuple[int, int], list[int]] = {}
        self.request(protocol.start())
        self.world(World())
        most = protocol.options.budget
        self.spendings = [Budget(*s) for s in itertools.product(*(range(n + 1) for n in most))]
        ids = {spending: i for i, spending in enumerate(self.spendings)}
        # [spending][fault]: the spending with one fault more, -1 when there is none left.
        self.more = [
            [ids.get(_sum(spending, unit), -1) for unit in _UNITS] for spending in self.spendings
        ]
        # [spending][spending]: their sum, -1 when it is more than there is.
        self.sums = [[ids.get(_sum(a, b), -1) for b in self.spendings] for a in self.spendings]
        # [spending]: a bit for each spending that is nowhere greater.
        self.cheaper = [
            sum(1 << ids[b] for b in self.spendings if all(map(int.__le__, b, a)))
            for a in self.spendings
        ]

    def request(self, request: Request) -> int:
        """The index of a request."""
        known = self._request_ids.setdefault(request, len(self.requests))
        if known == len(self.requests):
            self.requests.append(request)
        return known

    def world(self, world: World) -> int:
        """The index of a world."""
        known = self._world_ids.setdefault(world, len(self.worlds))
        if known == len(self.worlds):
            self.worlds.append(world)
        return known

    def edges(self, request: int, world: int) -> list[Edge]:
        """What this request can do in this world."""
        edges = self._edges.get((request, world))
        if edges is None:
            edges = self._edges[request, world] = []
            for part, moves in self.protocol.parts(self.requests[request], self.worlds[world]):
                known = self._parts.get((request, part))
                if known is None:
                    known = self._parts[request, part] = tuple(
                        Edge(
                            self.request(move.after),
                            COSTS.index(move.cost) if move.cost else -1,
                            move.fair,
                            move.broken,
                        )
                        for move in moves()
                    )
                edges += known
        return edges

    def events(self, world: int) -> list[tuple[Event, int, int]]:
        """What can happen to all: the event, the world's index after it, and its cost."""
        events = self._events.get(world)
        if events is None:
            events = self._events[world] = [
                (event, self.world(event.world), COSTS.index(event.cost) if event.cost else -1)
                for event in self.protocol.events(self.worlds[world])
            ]
        return events

    def struck(self, request: int, event: Event) -> list[int]:
        """What the event makes of a request."""
        if not event.worker:
            return [request]
        struck = self._struck.get((request, event.worker))
        if struck is None:
            made = self.protocol.struck(self.requests[request], event)
            struck = self._struck[request, event.worker] = [self.request(r) for r in made]
        return struck


def _sum(one: Budget, other: Budget) -> Budget:
    return Budget(*map(int.__add__, one, other))


_UNITS = [Budget(**{cost: 1}) for cost in COSTS]
