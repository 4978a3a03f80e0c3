"""Clauses are found by id, rule and family, and described in full."""

from __future__ import annotations

import pytest

from streamproof.contract.registry import Group, all_clauses, clause, select
from streamproof.contract.rules import RULES, WITHOUT_CLAUSE, compact
from streamproof.errors import UsageError
from streamproof.targets import Capability


async def _nothing(_: object) -> None:
    """Check nothing."""


def test_every_clause_says_what_it_is() -> None:
    """Sentence, reason, origin, and how it is tried are there for all."""
    clauses = all_clauses()
    assert len(clauses) >= 30
    assert {item.section for item in clauses} == {1, 2, 3, 4, 5, 6}
    for item in clauses:
        assert item.sentence.endswith("."), item.id
        assert item.why, item.id
        assert item.origin, item.id
        assert item.check.__doc__, item.id
        assert Capability.WIRE in item.needs
        assert item.group in set(Group)


def test_clauses_come_in_the_contracts_order() -> None:
    """Sections rise, and so do the numbers within a family."""
    clauses = all_clauses()
    assert [item.section for item in clauses] == sorted(item.section for item in clauses)
    numbers = [int(item.rule.partition("-")[2]) for item in clauses if item.family == "AUTH"]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("AUTH-2", {"AUTH-2"}),
        ("auth-3", {"AUTH-3", "AUTH-3/audience"}),
        ("ASYNC-2/Roles", {"ASYNC-2/roles"}),
        ("own", {"OWN-1", "OWN-1/roles"}),
    ],
)
def test_clauses_are_found_by_name(name, ids) -> None:
    """An id, a rule with all its clauses, a family; in any case."""
    assert {item.id for item in select([name])} == ids


def test_groups_narrow_the_choice() -> None:
    """A group alone gives its clauses; with names, those in both."""
    assert {item.group for item in select(groups=["requests"])} == {Group.REQUESTS}
    assert [item.id for item in select(["ASYNC-2"], ["requests"])] == ["ASYNC-2/roles"]


@pytest.mark.parametrize(
    ("names", "groups", "text"),
    [
        (["AUHT-2"], [], "did you mean AUTH-2"),
        (["ZZZ"], [], "--list"),
        ([], ["conection"], "groups:"),
        (["AUTH-2"], ["requests"], ""),
    ],
)
def test_unknown_names_are_usage_errors(names, groups, text) -> None:
    """The hint names what was probably meant."""
    with pytest.raises(UsageError) as raised:
        select(names, groups)
    assert text in raised.value.hint


def test_a_rule_without_a_clause_is_no_typo() -> None:
    """It is told apart from a name that does not exist, with what it says."""
    with pytest.raises(UsageError, match=r"OBS-4 has no clause yet: One trace"):
        select(["obs-4"])


def test_a_second_clause_of_one_id_is_refused() -> None:
    """Two clauses cannot share an id, and an id needs a family of the contract."""
    all_clauses()
    texts = {"sentence": "s.", "why": "w", "origin": "o", "group": Group.OPS}
    with pytest.raises(ValueError, match="AUTH-2"):
        clause("AUTH-2", **texts)(_nothing)
    for unknown in ("NO-1", "AUTH-10"):
        with pytest.raises(KeyError):
            clause(unknown, **texts)(_nothing)


def test_every_rule_has_a_clause_or_a_sentence() -> None:
    """A rule is worded by its clauses, or in the list of those without one; never by both."""
    with_clause = {item.rule for item in all_clauses()}
    assert with_clause | set(WITHOUT_CLAUSE) == set(RULES)
    assert not with_clause & set(WITHOUT_CLAUSE)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([], ""),
        (["OBS-1"], "OBS-1"),
        (["GW-2", "AUTH-9", "GW-1", "AUTH-6"], "AUTH-6, 9, GW-1, 2"),
        (["GW-10", "GW-1", "GW-9", "GW-11"], "GW-1, 9 to 11"),
    ],
)
def test_rules_are_named_briefly(rules, text) -> None:
    """In the contract's order, with runs of three and more joined."""
    assert compact(rules) == text
