"""Frames are cut where they end, however the network has put them together."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from streamproof.gateway.frame_cuts import FrameCutter

FRAMES = [
    Frame(Opcode.TEXT, b"x" * length).serialize(mask=mask)
    for length in (0, 1, 125, 126, 65_535, 65_536)
    for mask in (True, False)
]


def test_frames_in_one_piece_are_cut_apart():
    """Of every form of length, masked or not."""
    assert FrameCutter().cut(b"".join(FRAMES)) == FRAMES


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 65_540])
def test_no_piece_has_parts_of_two_frames(size):
    """Nothing is lost, and each frame's end is a piece's end."""
    cutter, data = FrameCutter(), b"".join(FRAMES)
    pieces = []
    for start in range(0, len(data), size):
        pieces += cutter.cut(data[start : start + size])
    assert b"".join(pieces) == data
    ends, at = set(), 0
    for piece in pieces:
        at += len(piece)
        ends.add(at)
    at = 0
    for frame in FRAMES:
        at += len(frame)
        assert at in ends


def test_a_cut_without_data_is_none():
    """Nothing in, nothing out."""
    assert FrameCutter().cut(b"") == []
