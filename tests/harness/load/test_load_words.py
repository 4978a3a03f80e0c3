"""What people read while a run goes on and when it is over."""

from __future__ import annotations

from streamproof.load.words import VIOLATIONS_SHOWN, Progress, closing_lines, progress_line
from streamproof.results import Curve, LoadResult, LoadTarget, LoadVerdict, ScenarioResult

COUNTS = {
    "sent": 12,
    "answered": 10,
    "refused": 1,
    "indeterminate": 1,
    "lost": 1,
    "repeated": 0,
    "wrong": 0,
}


def target(verdict, reason="", effective=500.0):
    """A judged target."""
    line = "p(99) < 10"
    return LoadTarget(
        "request.latency_ms", line, "ms", 10.0, 3.5, 3.0, 4.0, effective, verdict, reason
    )


def scenario(*targets, violations=(), ok=True):
    """A scenario with one point per curve."""
    return ScenarioResult(
        name="request",
        title="Short request",
        targets=targets,
        curves=(Curve("corrected", 12, ((0.5, 1.0), (0.99, 3.5), (1.0, 4.0))),),
        settings={},
        counts=COUNTS,
        self_check={
            "send_lag_p99": {"value": 0.3, "limit": 1.0, "ok": ok, "unit": "ms", "bound": "at most"}
        },
        violations=violations,
        beside=(Curve("lag", 0, ()),),
    )


def lines(*scenarios):
    """All closing lines as one text."""
    return "\n".join(closing_lines(LoadResult("smoke", 1, 30.0, scenarios, ("a loopback",))))


def test_progress_says_where_a_run_is():
    """Phase, second, counts and the latest percentiles stand in one line."""
    line = progress_line(Progress("request", "measure", 3, 20, 600, 598, 0.41, 2.5))
    assert line == "request measure 3/20 s  sent 600  answered 598  p50 0.41 ms  p99 2.50 ms"
    assert progress_line(Progress("request", "connected", 0, 0, 0, 0, 0, 0)) == "request connected"


def test_a_pass_shows_figure_interval_and_worth():
    """The closing line of a target has all that a reader needs to believe it."""
    text = lines(scenario(target(LoadVerdict.PASS, "below")))
    assert (
        'PASS  request.latency_ms = "p(99) < 10"  measured 3.50 ms (3.00 to 4.00, '
        "worth 500 independent samples)\n" in text
    )
    assert "sent 12 = answered 10 + refused 1 + indeterminate 1; lost 1" in text
    assert "p50 1.00  p99 3.50  p99.9 4.00  max 4.00 ms" in text
    assert "self-check ok: send lag p99 0.3 ms" in text
    assert "generator's lag            no samples" in text
    assert "not shown: a loopback" in text


def test_everything_else_says_why():
    """A verdict that is no pass carries its reason, a failed self-check is loud."""
    text = lines(scenario(target(LoadVerdict.INVALID, "lag", effective=0.0), ok=False))
    assert 'INVALID  request.latency_ms = "p(99) < 10": lag' in text
    assert "self-check FAILED" in text


def test_a_few_violations_are_shown_and_the_rest_counted():
    """Fifty lines of the same fault help nobody."""
    text = lines(scenario(violations=tuple(f"fault {n}" for n in range(VIOLATIONS_SHOWN + 3))))
    assert text.count("violation: ") == VIOLATIONS_SHOWN
    assert "and 3 violations more" in text


def test_nothing_measured_is_said():
    """An empty run does not end in silence."""
    assert "nothing was measured" in lines()
