"""Words become targets, and wrong words one clear line."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from streamproof.errors import TargetUnreachableError, UsageError
from streamproof.targets import Capability, Limits, TargetOptions, resolve
from streamproof.targets.base import Description
from streamproof.targets.process import Child
from streamproof.targets.tokens import FixedToken, TokenCommand
from support.fake_streamer import FakeStreamer

URL = "ws://127.0.0.1:9/dev"
LIMITS = {"messages_per_minute": 60, "burst": None}


def described(**members: object) -> str:
    """A target.json's text."""
    return json.dumps({"url": URL, "limits": LIMITS, **members})


def program(code: str) -> str:
    """A `cmd:` target that runs this Python."""
    return f"cmd:{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


@pytest.mark.parametrize(
    "text",
    ["", "embeded", "http://x/", "ws://", "ws:///dev", "file:", "cmd:", "ws://[::1/x", "ws://h:0"],
)
def test_words_that_name_no_target(text) -> None:
    """They are refused at once, before anything starts."""
    with pytest.raises(UsageError):
        resolve(text)


@pytest.mark.parametrize("text", ["ws://u:p@h/dev", "ws://h/dev?Authorization=x", "wss://h/#a"])
def test_urls_carry_no_secrets(text) -> None:
    """Tokens in the URL would be written to reports."""
    with pytest.raises(UsageError, match="carries"):
        resolve(text)


def test_a_token_and_a_token_command_exclude_each_other() -> None:
    """Two good tokens are one too many."""
    with pytest.raises(UsageError, match="exclude"):
        resolve(URL, TargetOptions(token="a", token_command="b"))


def test_a_url_alone_is_the_wire_alone() -> None:
    """Capabilities follow from what was said."""
    with resolve(URL) as target:
        assert target.capabilities == {Capability.WIRE, Capability.CRASH}
        assert target.tokens is target.mint is target.management is None
        assert target.url == URL
        assert target.loopback
        assert target.last_words == ()
        assert not target.description.limits.declared
        assert target.summary()["environment"] == "local"
        with pytest.raises(UsageError, match="other settings"):
            target.variant()


def test_options_bring_tokens(tmp_path) -> None:
    """A token, a command, or a key to make tokens with."""
    with resolve(URL, TargetOptions(token="t")) as target:
        assert isinstance(target.tokens, FixedToken)
        assert Capability.MINT not in target.capabilities
    with resolve(URL, TargetOptions(token_command="echo t")) as target:
        assert isinstance(target.tokens, TokenCommand)
    with (
        pytest.raises(UsageError, match="cannot read"),
        resolve(URL, TargetOptions(jwt_key=tmp_path / "none.pem")),
    ):
        pass


async def test_a_file_brings_everything(tmp_path) -> None:
    """A target.json gives key, limits, management and environment; a folder is looked into."""
    async with FakeStreamer() as fake:
        word = fake.target(
            tmp_path,
            management_url="http://127.0.0.1:9/dev",
            access_key_id="A",
            secret_access_key="S",
            environment="dev",
        )
        for name in (word, f"file:{tmp_path}"):
            with resolve(name) as target:
                assert {Capability.MINT, Capability.MANAGEMENT} <= target.capabilities
                assert target.description.limits.burst == 100
                assert target.management is not None
                assert target.clearance.environment == "dev"
                assert target.membership_lag_s == 1.0
                assert "'S'" not in repr(target.description)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no url"),
        ("{}", "no url"),
        (described(region=7), "region"),
        (described(limits=[]), "limits"),
        (described(limits={"burst": 0}), "burst"),
        (described(limits={"burst": "9"}), "burst"),
        (json.dumps({"url": "http://h/"}), "WebSocket URL"),
        (described(jwt_private_key="/no/such.pem"), "cannot read"),
        (described(environment="moon"), "moon"),
    ],
)
def test_wrong_descriptions_are_named(tmp_path, text, words) -> None:
    """The line says which file, and what is wrong in it."""
    path = tmp_path / "target.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=words), resolve(f"file:{path}"):
        pass


def test_a_missing_file_is_named(tmp_path) -> None:
    """With the hint that a stack must be running."""
    with pytest.raises(UsageError, match="cannot read") as raised, resolve(f"file:{tmp_path}"):
        pass
    assert "serve --state" in raised.value.hint


def test_a_description_reads_back() -> None:
    """What is written can be read, undeclared limits included."""
    for limits in (Limits(), Limits(burst=5, declared=True)):
        one = Description(url=URL, issuer="i", limits=limits)
        assert Description.from_json(one.to_json(), "x") == one


def test_a_program_is_started_and_ended(tmp_path) -> None:
    """Its first line describes the target; at the end it is gone."""
    code = f"import signal; print({described()!r}, flush=True); signal.pause()"
    with resolve(program(code)) as target:
        assert target.url == URL
        assert target.description.limits.messages_per_minute == 60
        process = target._child.process
        assert process.poll() is None
    assert process.poll() is not None
    target.close()


def test_a_program_that_fails_says_why() -> None:
    """The last line of its standard error is the hint."""
    code = "import sys; print('first', file=sys.stderr); sys.exit('no more sockets')"
    with pytest.raises(TargetUnreachableError, match="ended with 1") as raised:
        resolve(program(code)).__enter__()
    assert "no more sockets" in raised.value.hint
    with pytest.raises(TargetUnreachableError) as raised:
        resolve(program("pass")).__enter__()
    assert "said nothing" in raised.value.hint


def test_a_program_that_says_nothing_is_ended() -> None:
    """The wait is bounded."""
    options = TargetOptions(start_timeout_s=0.3)
    with pytest.raises(TargetUnreachableError, match=r"nothing for 0\.3 s"):
        resolve(program("import signal; signal.pause()"), options).__enter__()


def test_a_programs_arguments_are_named_nowhere() -> None:
    """They may be keys: the name of the target, which every report carries, leaves them out."""
    url = json.dumps({"url": URL})
    with resolve(program(f"import sys; print({url!r}); sys.stdin.read()")) as target:
        assert target.url == URL
        assert target.name == f"cmd:{sys.executable} ..."
        assert target.summary()["name"] == target.name


def test_programs_that_do_not_start_are_named() -> None:
    """A missing program and an unbalanced quote are usage errors."""
    for text, words in (("cmd:/no/such/program", "does not start"), ("cmd:'", "no command")):
        with pytest.raises(UsageError, match=words):
            resolve(text).__enter__()
    with pytest.raises(UsageError, match="no program"):
        resolve("cmd: ").__enter__()


def test_a_program_that_ignores_the_request_is_killed() -> None:
    """Stopping ends it whatever it does, and may be asked twice."""
    code = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    child = Child([sys.executable, "-c", code], "it", timeout_s=10, patience_s=0.2)
    child.stop()
    assert child.process.returncode == -9
    child.stop()


def test_it_chatters_and_nothing_blocks() -> None:
    """More output than a pipe holds is read and dropped, up to the last lines."""
    code = (
        "import sys, signal\nprint(1, flush=True)\n"
        "for n in range(5000): print('x' * 100, file=sys.stderr); print('y' * 100)\n"
        "sys.stdout.close(); sys.exit('the end')"
    )
    child = Child([sys.executable, "-c", code], "it", timeout_s=10)
    child.process.wait(timeout=20)
    child.stop()
    assert child.errors[-1] == "the end"
    assert len(child.errors) <= 50
