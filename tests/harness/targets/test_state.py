"""The folder of a local stack: private, kept, and refused with a clear line when it cannot be."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path

import jwt
import pytest

from streamproof.errors import UsageError
from streamproof.targets.base import Description
from streamproof.targets.state import prepare


def test_what_is_made_is_private_and_fits_together(tmp_path: Path) -> None:
    """Only the owner reads keys and credentials, and the public key verifies the private one."""
    state = prepare(tmp_path / "deep" / "state")
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700
    for path in (state.private_key, state.public_key, state.directory / "credentials.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = jwt.encode({"sub": "u"}, state.private_key.read_text(), "RS256")
    assert jwt.decode(token, state.public_key.read_text(), ["RS256"]) == {"sub": "u"}
    assert state.access_key_id.startswith("AKIA")
    assert len(state.access_key_id) == 20


def test_a_second_start_keeps_keys_and_removes_a_stale_description(tmp_path: Path) -> None:
    """Tokens and signed URLs survive a restart; a description of what is gone does not."""
    first = prepare(tmp_path)
    first.announce(Description("ws://127.0.0.1:1/dev"))
    assert json.loads(first.target.read_text())["url"] == "ws://127.0.0.1:1/dev"
    assert stat.S_IMODE(first.target.stat().st_mode) == 0o600
    first.release()
    second = prepare(tmp_path)
    assert dataclasses.replace(second, lock=first.lock) == first
    assert not second.target.exists()


def test_a_folder_in_use_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """The one that holds it is named, and its description stays."""
    first = prepare(tmp_path)
    first.announce(Description("ws://127.0.0.1:1/dev"))
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}") as caught:
        prepare(tmp_path)
    assert "--state" in caught.value.hint
    assert first.target.exists()


def test_a_description_can_be_withdrawn_twice(tmp_path: Path) -> None:
    """An end that is told twice is one end."""
    state = prepare(tmp_path)
    state.announce(Description("ws://127.0.0.1:1/dev"))
    state.withdraw()
    state.withdraw()
    assert not state.target.exists()


def test_a_folder_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    """The path is named, and the option that mends it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file, not a folder") as caught:
        prepare(tmp_path / "file")
    assert "--state" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"access_key_id": "a"}'])
def test_damaged_credentials_are_a_usage_error(tmp_path: Path, text: str) -> None:
    """Nothing is made anew over a file that the user may want to look at."""
    prepare(tmp_path).release()
    (tmp_path / "credentials.json").write_text(text)
    with pytest.raises(UsageError, match=r"credentials\.json cannot be read"):
        prepare(tmp_path)
