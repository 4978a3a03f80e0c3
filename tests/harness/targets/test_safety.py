"""What may be done to a target that is not this machine."""

from __future__ import annotations

import pytest

from streamproof.errors import UsageError
from streamproof.targets.safety import (
    NO_CAPS,
    CapReachedError,
    Caps,
    Pacer,
    announcement,
    clear,
    host_of,
    is_loopback,
)
from support.virtual_time import run_virtual

REMOTE = "wss://abc.execute-api.eu-west-1.amazonaws.com/dev"
LOCAL = "ws://127.0.0.1:9000/dev"


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.example.com", False),
        ("127.0.0.1.nip.io", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_loopback_is_told_by_spelling(host, is_one) -> None:
    """A name is never looked up: who knows where it leads tomorrow."""
    assert is_loopback(host) is is_one


def test_this_machine_needs_no_word() -> None:
    """Loopback is cleared without caps, under any harmless environment."""
    assert clear((LOCAL,), None).caps == NO_CAPS
    assert clear((LOCAL, "http://[::1]:1/dev"), "dev").loopback


@pytest.mark.parametrize("environment", ["dev", "test", "staging"])
def test_remote_targets_need_an_environment(environment) -> None:
    """Without the word nothing is sent; with it there are caps."""
    with pytest.raises(UsageError, match="not this machine"):
        clear((REMOTE,), None)
    cleared = clear((REMOTE,), environment)
    assert cleared.caps == Caps(200, 50.0, 600.0, 100_000)
    assert not cleared.loopback
    assert cleared.groups is None


def test_a_remote_management_endpoint_counts_too() -> None:
    """A local socket in front of somebody else's endpoint is not this machine."""
    with pytest.raises(UsageError, match="not this machine"):
        clear((LOCAL, "https://example.com/dev"), None)


def test_production_needs_the_hosts_own_name() -> None:
    """Refused without --i-accept-load-on HOST; with it only the group connection, slowly."""
    host = host_of(REMOTE)
    for accepted in (None, "other.example.com"):
        with pytest.raises(UsageError, match="production"):
            clear((REMOTE,), "production", accepted)
    cleared = clear((REMOTE,), "production", host)
    assert cleared.production
    assert cleared.groups == {"connection"}
    assert cleared.caps.messages_per_s == 5.0


def test_other_words_are_refused() -> None:
    """A typo in the environment is no environment; an address without a host is none."""
    with pytest.raises(UsageError, match="prod"):
        clear((REMOTE,), "prod")
    for url in ("ws:///dev", "ws://[::1/dev"):
        with pytest.raises(UsageError, match=r"host|URL"):
            host_of(url)


def test_the_line_before_a_run_says_where_and_how_much() -> None:
    """Host, connections, messages; for a remote target its pace and a price."""
    line = announcement(clear((LOCAL,), None), connections=10, messages=100)
    assert "127.0.0.1" in line
    assert "this machine" in line
    line = announcement(clear((REMOTE,), "dev"), connections=10, messages=50_000)
    assert "50000 messages" in line
    assert "at most 50 a second, dev" in line
    assert "USD 0.17" in line


def test_caps_stop_a_run() -> None:
    """One connection and one message beyond the cap are refused before they happen."""

    async def body() -> None:
        pacer = Pacer(Caps(1, None, None, 1))
        await pacer.open()
        with pytest.raises(CapReachedError, match="1 connections"):
            await pacer.open()
        pacer.close()
        await pacer.open()
        await pacer.send()
        with pytest.raises(CapReachedError, match="1 messages"):
            await pacer.send()

    run_virtual(body())


def test_messages_are_spaced() -> None:
    """Fifty a second means 20 ms between any two; without a cap none waits."""
    import asyncio

    async def body(per_s: float | None) -> float:
        pacer = Pacer(Caps(None, per_s, None, None))
        began_s = asyncio.get_running_loop().time()
        for _ in range(11):
            await pacer.send()
        return asyncio.get_running_loop().time() - began_s

    assert run_virtual(body(50.0)) == pytest.approx(0.2)
    assert run_virtual(body(None)) == 0
