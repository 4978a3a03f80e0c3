"""The snippets of docs/handlers.md run, and the page names what there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from streamer_reference.handlers import Handler, HandlerError, Registry, RetryableError
from streamer_reference.handlers.registry import ENTRY_POINT_GROUP, RESERVED_ACTIONS
from support.fake_job import Bench

PAGE = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text(encoding="utf-8")


@pytest.fixture
def registry() -> Registry:
    """What the snippets register, one after the other in one file."""
    names: dict[str, object] = {}
    for snippet in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(snippet, names)
    registry = names["registry"]
    assert isinstance(registry, Registry)
    return registry


async def test_the_handlers_of_the_page_answer(registry, capsys):
    """The first one greets its sender, through the middleware of the last snippet."""
    handler = registry.admit("shop.greet", {}, ())
    assert await registry.call(handler, Bench().job(), 60) == {"hello": "ann"}
    assert "shop.greet" in capsys.readouterr().err


def test_the_validation_of_the_page_names_bad_fields(registry):
    """What the page says of null and true holds for its own example."""
    validate = registry.get("shop.order").validate
    assert validate({"article": "lamp", "count": 1}) == []
    bad = validate({"article": None, "count": True})
    assert [error.field for error in bad] == ["payload.article", "payload.count"]


async def test_the_registered_code_of_the_page_reaches_the_client(registry):
    """It ends the request with its message and details; the other failure asks for an attempt."""
    handler = registry.get("shop.buy")
    assert handler.is_queued()
    assert await registry.call(handler, Bench().job({"left": 3}), 60) == {"left": 2}
    with pytest.raises(HandlerError) as caught:
        await registry.call(handler, Bench().job({"left": 0}), 60)
    assert (caught.value.code, caught.value.details) == ("OUT_OF_STOCK", {"article": "lamp"})
    with pytest.raises(RetryableError):
        await registry.call(handler, Bench().job({"left": None}), 60)


def test_the_page_names_every_option_and_every_reserved_action():
    """A table that lacks an option hides it."""
    options = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert options == {field.name for field in dataclasses.fields(Handler)} - {"action", "run"}
    assert all(f"`{action}`" in PAGE for action in RESERVED_ACTIONS)
    assert ENTRY_POINT_GROUP in PAGE
