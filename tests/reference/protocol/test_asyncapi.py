"""The AsyncAPI document against AsyncAPI's schema, and against what the codec takes and makes."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from streamer_reference.protocol import messages
from streamer_reference.protocol.errors import ERROR_CODES, StreamerError, ValidationError

DOCUMENT = yaml.safe_load(files(messages.__package__).joinpath("asyncapi.yaml").read_text())
DATA = Path(__file__).resolve().parents[2] / "data"
KINDS = tuple(DOCUMENT["components"]["messages"])
NOW_MS = 1_790_000_000_000


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    """JSON Schema's `$` is the end of the text, Python's also the place before a last line feed."""
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern}")


Validator = jsonschema.validators.extend(jsonschema.Draft7Validator, {"pattern": _pattern})


def validator(name: str) -> Any:
    """A validator of one message of the document."""
    return Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})


def references(node: Any) -> Iterator[str]:
    """Each `$ref` of the document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_is_asyncapi_3() -> None:
    """It fits the schema that AsyncAPI publishes."""
    schema = json.loads(gzip.decompress((DATA / "asyncapi-3.0.0.json.gz").read_bytes()))
    jsonschema.Draft7Validator(schema).validate(DOCUMENT)


def test_every_reference_has_a_target() -> None:
    """AsyncAPI's schema does not look where a reference points."""
    found = list(references(DOCUMENT))
    assert len(found) > 30
    for reference in found:
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


@pytest.mark.parametrize("name", KINDS)
def test_examples_fit_their_schemas(name: str) -> None:
    """What a reader copies is valid."""
    examples = DOCUMENT["components"]["messages"][name]["examples"]
    for shown in examples:
        validator(name).validate(shown["payload"])
    assert examples


def test_the_codes_are_those_of_the_registry() -> None:
    """A code that is in one of the two only would be a promise that nobody keeps."""
    code = DOCUMENT["components"]["schemas"]["error"]["properties"]["error"]["properties"]["code"]
    assert set(code["anyOf"][0]["enum"]) == set(ERROR_CODES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
members = {
    "type": st.just("request") | json_values,
    "id": st.text(st.characters(min_codepoint=0x1E, max_codepoint=0x81), max_size=130),
    "action": st.text("aZ9._-$ \n", max_size=66) | json_values,
    "payload": st.dictionaries(st.text(max_size=3), json_values, max_size=2) | json_values,
    "metadata": st.dictionaries(
        st.text(max_size=66), st.text(max_size=5) | st.just("v" * 1024) | json_values, max_size=34
    )
    | json_values,
    "other": json_values,
}


@given(st.fixed_dictionaries({}, optional=members))
@example({"action": "a", "id": "x" * 128})
@example({"action": "a", "id": "x" * 129})
@example({"action": "a" * 64, "metadata": {"k" * 64: "v" * 1024}})
@example({"action": "a" * 65})
@example({"action": "a\n"})
@example({"action": "a", "metadata": {"k" * 65: ""}})
@example({"action": "a", "metadata": {"k": "v" * 1025}})
@example({"action": "a", "metadata": {str(n): "" for n in range(32)}})
@example({"action": "a", "metadata": {str(n): "" for n in range(33)}})
def test_the_document_and_the_codec_take_the_same_requests(candidate: dict[str, Any]) -> None:
    """Whoever generates a client from the document is refused nothing, and allowed nothing more."""
    try:
        messages.parse_request(json.dumps(candidate, ensure_ascii=False))
        taken = True
    except ValidationError:
        taken = False
    assert validator("request").is_valid(candidate) is taken


def sent() -> Iterator[dict[str, Any]]:
    """One message of each kind and shape that the reference can send."""
    yield messages.acknowledgment("r-1", NOW_MS)
    yield messages.response("r-1", NOW_MS, None)
    yield messages.progress("r-1", 1, NOW_MS, 0, None, {})
    yield messages.progress("r-1", 1, NOW_MS, 100.0, "ready", {"rows": 3})
    yield messages.complete("r-1", 2, NOW_MS, {"result": None})
    yield messages.complete("r-1", 2, NOW_MS, {"result_url": "https://objects.example/r-1"})
    for code in ERROR_CODES:
        yield messages.error(StreamerError(code), NOW_MS, "r-1", 1)
        yield messages.error(StreamerError(code), NOW_MS, None, None)
    yield messages.broadcast("b-1", NOW_MS, "u-1", {"text": "hello"})


@pytest.mark.parametrize("message", tuple(sent()), ids=lambda message: message["type"])
def test_what_is_sent_fits_the_document(message: dict[str, Any]) -> None:
    """Each message that the builders make is valid, and none of another kind is."""
    valid = {name for name in KINDS if validator(name).is_valid(message)}
    assert valid - {"request"} == {message["type"]}
