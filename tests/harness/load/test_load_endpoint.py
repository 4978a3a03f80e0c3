"""Where users connect to, and the echo server's dialect."""

from __future__ import annotations

from streamer_reference.protocol.errors import ERROR_CODES
from streamproof.dialect import Kind, Role, StreamerDialect
from streamproof.dialect.codes import DEFINITE
from streamproof.load.endpoint import EchoDialect, Endpoint


def test_the_echo_server_carries_the_same_bytes():
    """A request to the echo server equals the one to the target."""
    arguments = (Role.SHORT, "1-2", {"nonce": "a"})
    assert EchoDialect().request(*arguments) == StreamerDialect().request(*arguments)


def test_what_comes_back_is_its_own_answer():
    """An echoed request is read as the answer to itself; anything else as unknown."""
    request = EchoDialect().request(Role.SHORT, "1-2", {"nonce": "a"})
    reading = EchoDialect().read(request)
    assert (reading.kind, reading.request_id, reading.value) == (Kind.ANSWER, "1-2", {"nonce": "a"})
    assert reading.final
    assert EchoDialect().read({"id": 5}).kind is Kind.UNKNOWN
    assert EchoDialect().read([]).kind is Kind.UNKNOWN


def test_tokens_travel_in_the_handshake_not_in_the_address():
    """Each user has its own token, in a header that no access log of addresses shows."""
    endpoint = Endpoint("a", "ws://127.0.0.1:1/", EchoDialect(), lambda number: f"token-{number}")
    assert endpoint.headers(7) == {"Authorization": "token-7"}
    assert Endpoint("a", "ws://127.0.0.1:1/", EchoDialect()).headers(7) == {}


def test_definite_codes_are_those_of_the_contract():
    """What counts as refused here is what the reference's registry calls definite."""
    registry = {code for code, entry in ERROR_CODES.items() if entry.definite}
    assert registry >= DEFINITE
    assert not {"TIMEOUT", "STORAGE_ERROR", "INTERNAL_ERROR", "CANCELLED"} & DEFINITE
