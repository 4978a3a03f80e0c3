"""All states of two requests at once, without visiting each of them.

Two requests share the workers and the faults; nothing that one does alone is seen by the other. So
what one can have become depends only on the history of what happens to all (a worker dies, is
paused, goes on, renews), and after a history h the reachable pairs are exactly F(h) x F(h), cut
down to those that together spent no more faults than there are. `families` computes F for every
history, `count` the size of the union of the products. `visit` walks through the pairs one by one:
it shows that the argument holds on a model that is small enough.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator

from streamproof.model.graph import Graph
from streamproof.model.protocol import Event

SPENDINGS_MAX = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """Where one history leads: the world, what it cost all, and what one request can be by then.

    A member of the family is a request and what it spent by itself, packed into one integer.
    """

    world: int
    shared: int
    family: frozenset[int]


def families(graph: Graph) -> Iterator[History]:
    """Every history of what happens to all, the empty one first."""
    histories = [History(0, 0, _closed(graph, [0], 0, 0))]
    while histories:
        history = histories.pop()
        yield history
        for event, world, cost in graph.events(history.world):
            shared = history.shared if cost < 0 else graph.more[history.shared][cost]
            if shared >= 0:
                struck = _struck(graph, history.family, event, shared)
                histories.append(History(world, shared, _closed(graph, struck, world, shared)))


def _struck(graph: Graph, family: frozenset[int], event: Event, shared: int) -> Iterator[int]:
    room = graph.sums[shared]
    for member in family:
        request, own = divmod(member, SPENDINGS_MAX)
        if room[own] >= 0:
            for after in graph.struck(request, event):
                yield after * SPENDINGS_MAX + own


def _closed(graph: Graph, family: Iterable[int], world: int, shared: int) -> frozenset[int]:
    """The family with all that its members can become by themselves."""
    more, room = graph.more, graph.sums[shared]
    closed = set(family)
    waiting = list(closed)
    while waiting:
        request, own = divmod(waiting.pop(), SPENDINGS_MAX)
        for edge in graph.edges(request, world):
            spent = own
            if edge.cost >= 0:
                spent = more[own][edge.cost]
                if spent < 0 or room[spent] < 0:
                    continue
            after = edge.after * SPENDINGS_MAX + spent
            if after not in closed:
                closed.add(after)
                waiting.append(after)
    return frozenset(closed)


def count(graph: Graph) -> int:
    """How many states (first request, second request, world, faults spent) can be reached."""
    by_world: dict[int, list[History]] = collections.defaultdict(list)
    for history in families(graph):
        by_world[history.world].append(history)
    return sum(_union(graph, histories) for histories in by_world.values())


def _union(graph: Graph, histories: list[History]) -> int:
    """The size of the union of the products of histories that lead to one world.

    Requests that are in the same families with the same spending are counted together: a request's
    signature is the set of its (history, spending), as the bits of an integer.
    """
    bits: dict[tuple[int, int], int] = {}
    signatures: dict[int, int] = collections.defaultdict(int)
    for index, history in enumerate(histories):
        for member in history.family:
            request, own = divmod(member, SPENDINGS_MAX)
            signatures[request] |= 1 << bits.setdefault((index, own), len(bits))
    sizes = collections.Counter(signatures.values())
    partners: list[dict[int, int]] = [collections.defaultdict(int) for _ in bits]
    for (index, own), bit in bits.items():
        spent = graph.sums[histories[index].shared][own]
        for (other_index, other), other_bit in bits.items():
            if index == other_index and (total := graph.sums[spent][other]) >= 0:
                partners[bit][total] |= 1 << other_bit
    states = 0
    for signature, size in sizes.items():
        wanted: dict[int, int] = collections.defaultdict(int)
        for bit in range(signature.bit_length()):
            if signature >> bit & 1:
                for total, mask in partners[bit].items():
                    wanted[total] |= mask
        for mask in wanted.values():
            states += size * sum(n for other, n in sizes.items() if other & mask)
    return states


def visit(graph: Graph) -> int:
    """The same number, by visiting every state of two requests."""
    seen = {(0, 0, 0, 0)}
    waiting = [(0, 0, 0, 0)]
    while waiting:
        one, two, world, spent = waiting.pop()
        found = [(edge.after, two, world, edge.cost) for edge in graph.edges(one, world)]
        found += [(one, edge.after, world, edge.cost) for edge in graph.edges(two, world)]
        for event, new, cost in graph.events(world):
            found += [
                (first, second, new, cost)
                for first in graph.struck(one, event)
                for second in graph.struck(two, event)
            ]
        for first, second, new, cost in found:
            total = spent if cost < 0 else graph.more[spent][cost]
            after = (first, second, new, total)
            if total >= 0 and after not in seen:
                seen.add(after)
                waiting.append(after)
    return len(seen)
