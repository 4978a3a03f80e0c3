"""Ids in API Gateway's form, and the check of those that are asked for."""

from __future__ import annotations

import base64

import pytest

from streamproof.gateway.identifiers import is_well_formed, new_id, new_trace_id


def test_ids_have_the_recorded_form_and_differ():
    """Sixteen characters that decode to eleven bytes, the ninth of them 0x02."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    for text in ids:
        assert len(text) == 16
        assert text.endswith("=")
        assert base64.urlsafe_b64decode(text)[8] == 2
        assert is_well_formed(text)


@pytest.mark.parametrize(
    "text", ["L0SM9cOFvHcCIhw=", "JC1dgf9yoAMCK-g=", "TWegAcC4EowCHnA=", "YkOibd6goAMCLjg="]
)
def test_recorded_ids_are_well_formed(text):
    """Ids that AWS made pass."""
    assert is_well_formed(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cjy8i76bx002884le6n17d49b",
        "L0SM9cOFvHcCIhw",
        "L0SM9cOFvHcCIhx=",  # decodes, but does not encode back
        "L0SM9cOFvHcCIhwA",
        "L0SM9cOFvHcC!!w=",
        "é0SM9cOFvHcCIhw=",
        "================",
    ],
)
def test_other_ids_are_malformed(text):
    """Anything that could not be one of AWS's is told apart from one that is gone."""
    assert not is_well_formed(text)


def test_a_trace_id_begins_with_its_second():
    """X-Ray's form: version, eight hex digits of time, 24 of chance."""
    root, second, rest = new_trace_id(1_700_000_000).split("-")
    assert (root, second, len(rest)) == ("Root=1", "6553f100", 24)
