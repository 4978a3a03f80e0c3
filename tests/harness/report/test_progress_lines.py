"""What is going on, for people and for logs."""

from __future__ import annotations

import io
import sys

from streamproof.report import progress


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_plain_lines(capsys):
    """Without a terminal each line is printed once, whole."""
    with progress.shown("contract") as show:
        show("AUTH-1 pass")
    assert capsys.readouterr().err == "contract ...\nAUTH-1 pass\n"


def test_a_title_is_said_once(capsys):
    """Lines of a program that says its own title are passed on as they are."""
    with progress.shown("contract", announced=True) as show:
        show("contract ...")
    assert capsys.readouterr().err == "contract ...\n"


def test_a_terminal_gets_one_live_line(monkeypatch):
    """On a terminal the line replaces itself, and markup in it is text."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.shown("load") as show:
        show("[bold]12[/] of 60 s " + "x" * 500)
    assert "load" in terminal.getvalue()
