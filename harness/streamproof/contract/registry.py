"""The clauses as data: id, level, sentence, why, origin, what they need; and how to find them.

A clause's id is its rule in docs/contract.md (`AUTH-2`), or the rule and a word where a rule has
more than one (`ASYNC-2/roles`). Naming the rule or its family (`ASYNC`) selects all of its clauses.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from streamproof.contract.rules import RULES, SECTIONS, WITHOUT_CLAUSE
from streamproof.errors import UsageError
from streamproof.results import Level
from streamproof.targets.base import Capability

if TYPE_CHECKING:
    from streamproof.contract.context import Context

__all__ = [
    "SECTIONS",
    "Clause",
    "Group",
    "all_clauses",
    "clause",
    "select",
]
CLAUSE_TIMEOUT_S = 40.0
HINT_ALL = "`contract --list` names them all"

_MODULES = (
    "handshake",
    "sessions",
    "messages",
    "routing",
    "requests",
    "progress",
    "recovery",
    "roles",
    "broadcast",
    "limits",
    "platform",
)


class Group(enum.StrEnum):
    """Clauses that are asked for together, by what a target must offer."""

    CONNECTION = "connection"
    REQUESTS = "requests"
    STREAMER = "streamer"
    RESILIENCE = "resilience"
    OPS = "ops"
    PLATFORM = "platform"


@dataclasses.dataclass(frozen=True, slots=True)
class Clause:
    """One promise and the coroutine that tries to break it."""

    id: str
    level: Level
    group: Group
    needs: frozenset[Capability]
    sentence: str
    why: str  # what goes wrong without it
    origin: str  # who says so, with the evidence class
    check: Callable[[Context], Awaitable[None]]
    timeout_s: float
    alone: bool  # harms its neighbours, so it runs after the others
    messages: int  # about how many it sends, for the line before the run
    since: int = 1  # the contract's version that brought it

    @property
    def rule(self) -> str:
        """The rule of the contract."""
        return self.id.partition("/")[0]

    @property
    def family(self) -> str:
        """The rule's letters: AUTH of AUTH-2."""
        return self.rule.partition("-")[0]

    @property
    def names(self) -> frozenset[str]:
        """What selects it: its id, its rule, its family."""
        return frozenset({self.id, self.rule, self.family})

    @property
    def section(self) -> int:
        """The section of the contract."""
        return RULES[self.rule]


Check = Callable[["Context"], Awaitable[None]]
_REGISTRY: dict[str, Clause] = {}


def clause(
    id: str,  # noqa: A002 - it is the clause's id wherever it is printed
    *,
    group: Group,
    sentence: str,
    why: str,
    origin: str,
    needs: Sequence[Capability] = (Capability.TOKEN,),
    level: Level = Level.MUST,
    timeout_s: float = CLAUSE_TIMEOUT_S,
    alone: bool = False,
    messages: int = 10,
) -> Callable[[Check], Check]:
    """Register the coroutine below as a clause; a second one of the same id is refused."""

    def register(check: Check) -> Check:
        if id in _REGISTRY:
            raise ValueError(f"two clauses are called {id}")
        entry = Clause(
            id=id,
            level=level,
            group=group,
            needs=frozenset({Capability.WIRE, *needs}),
            sentence=sentence,
            why=why,
            origin=origin,
            check=check,
            timeout_s=timeout_s,
            alone=alone,
            messages=messages,
        )
        entry.section  # noqa: B018 - an id of an unknown rule fails here, at import
        _REGISTRY[id] = entry
        return check

    return register


def all_clauses() -> tuple[Clause, ...]:
    """Every clause, in the contract's order."""
    for module in _MODULES:
        importlib.import_module(f"streamproof.contract.clauses.{module}")
    places = {rule: place for place, rule in enumerate(RULES)}
    return tuple(sorted(_REGISTRY.values(), key=lambda item: (places[item.rule], item.id)))


def select(
    names: Sequence[str] = (), groups: Sequence[str] = (), clauses: Sequence[Clause] | None = None
) -> tuple[Clause, ...]:
    """The clauses of these ids or rules, and of these groups; all when neither is given."""
    every = all_clauses() if clauses is None else tuple(clauses)
    for group in groups:
        if group not in set(Group):
            raise UsageError(f"no group is called {group!r}", f"groups: {', '.join(Group)}")
    chosen = [item for item in every if not groups or item.group in groups]
    if not names:
        return tuple(chosen)
    wanted = {name.upper() if "/" not in name else _canonical(name) for name in names}
    known = {name for item in every for name in item.names}
    for name in sorted(wanted - known):
        if name in WITHOUT_CLAUSE:
            raise UsageError(f"{name} has no clause yet: {WITHOUT_CLAUSE[name]}", HINT_ALL)
        close = difflib.get_close_matches(name, sorted(known), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else HINT_ALL
        raise UsageError(f"no clause is called {name!r}", hint)
    chosen = [item for item in chosen if wanted & item.names]
    if not chosen:
        raise UsageError("no clause is in both the names and the groups given")
    return tuple(chosen)


def _canonical(name: str) -> str:
    rule, _, word = name.partition("/")
    return f"{rule.upper()}/{word.lower()}"
