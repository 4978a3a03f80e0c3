"""The live page of `serve` in a real browser: `tox -e browser`, or `pytest` with this file's name.

Not named `test_*`, so that a run of the tests needs no browser. CHROMIUM names another than
Debian's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from websockets.sync.client import connect

from streamproof.targets.tokens import Identity, TokenMint

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
LOOK_MS = 15_000  # the page asks once a second, on a machine that may be busy


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """`serve` in a process of its own; its description."""
    state = tmp_path_factory.mktemp("serve") / "state"
    command = [sys.executable, "-m", "streamproof.cli", "serve", "--state", str(state)]
    with subprocess.Popen(
        [*command, "--workers", "1", "--rate-limit", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "no chromium: apt-get install chromium, or name one in CHROMIUM"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield launched
        launched.close()


class Visit:
    """A page that is open, and everything that it said and asked for."""

    def __init__(self, browser: Browser, target: dict[str, Any], **options: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page: Page = browser.new_page(**options)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(urljoin(target["management_url"], "/"))
        expect(self.page.locator("#state")).to_contain_text("live", timeout=LOOK_MS)

    def close(self, target: dict[str, Any]) -> None:
        """Nothing was wrong, and nothing came from elsewhere."""
        self.page.close()
        assert self.said == []
        here = urlsplit(target["management_url"]).netloc
        places = {urlsplit(url).netloc for url in self.asked if not url.startswith("data:")}
        assert places == {here}


def _url(target: dict[str, Any]) -> str:
    mint = TokenMint.read(Path(target["jwt_private_key"]), target["issuer"], target["audience"])
    return f"{target['url']}?Authorization={mint.mint(Identity('u', 't', ('probe',)))}"


def test_the_figures_change_as_requests_run(browser: Browser, target: dict[str, Any]) -> None:
    """Connections, messages, latency, states and errors, without the page being reloaded."""
    visit = Visit(browser, target, color_scheme="light")
    page = visit.page
    expect(page.locator("#connections")).to_have_text("0")
    with connect(_url(target)) as socket:
        expect(page.locator("#connections")).to_have_text("1", timeout=LOOK_MS)
        for number in range(20):
            socket.send(json.dumps({"id": f"e{number}", "action": "echo", "payload": {}}))
            socket.recv(timeout=10)
        expect(page.locator("#in-sub")).to_have_text("20 since the start", timeout=LOOK_MS)
        expect(page.locator("#short-p99")).to_contain_text("ms", timeout=LOOK_MS)
        line = page.locator("#in-spark .line").get_attribute("d") or ""
        assert line.count("L") == 59
        socket.send(json.dumps({"id": "long", "action": "delay", "payload": {"duration_ms": 50}}))
        while json.loads(socket.recv(timeout=20))["type"] != "complete":
            pass
        expect(page.locator("#state-COMPLETED")).to_have_text("1", timeout=LOOK_MS)
        expect(page.locator("#no-errors")).to_be_visible()
        metadata = {"correlation_id": "order-7"}
        failing = {"id": "bad", "action": "probe.sync", "payload": {"end": "raise"}}
        socket.send(json.dumps({**failing, "metadata": metadata}))
        row = page.locator("#rows tr").first
        expect(row).to_contain_text("a handler failed", timeout=LOOK_MS)
        expect(row).to_contain_text("order-7")
        expect(page.locator("#news")).to_contain_text("a handler failed")
    expect(page.locator("#connections")).to_have_text("0", timeout=LOOK_MS)
    visit.close(target)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1180])
def test_it_can_be_read_in_both_schemes_on_a_phone_too(
    browser: Browser, target: dict[str, Any], scheme: Any, width: int
) -> None:
    """Nothing is cut off at the side, and text stands out from what is behind it."""
    size = {"width": width, "height": 800}
    visit = Visit(browser, target, color_scheme=scheme, viewport=size, reduced_motion="reduce")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    light = visit.page.evaluate(
        """() => ["color", "backgroundColor"].map((name) => {
            const style = getComputedStyle(document.documentElement)[name];
            const [r, g, b] = style.match(/\\d+/g).map((value) => {
                const share = value / 255;
                return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        })"""
    )
    dark, bright = sorted(light)
    assert (bright + 0.05) / (dark + 0.05) > 7  # WCAG 2.2, enhanced contrast
    assert (light[1] > light[0]) == (scheme == "light")
    moving = "getComputedStyle(document.getElementById('state'), '::before').animationName"
    assert visit.page.evaluate(moving) == "none"
    visit.close(target)


def test_it_can_be_read_without_seeing_it(browser: Browser, target: dict[str, Any]) -> None:
    """The table has headers and a caption, sections have names, and what is new is announced."""
    visit = Visit(browser, target)
    page = visit.page
    assert page.locator("th[scope=col]").count() == 6
    assert page.locator("table caption").count() == 1
    assert page.locator("[aria-live=polite]").count() == 1
    assert page.locator("[role=status]").count() == 1
    unnamed = """() => [...document.querySelectorAll("section")].filter((section) =>
        !document.getElementById(section.getAttribute("aria-labelledby"))).length"""
    assert page.evaluate(unnamed) == 0
    visit.close(target)


def test_it_says_when_the_gateway_does_not_answer(browser: Browser, target: dict[str, Any]) -> None:
    """And goes on when it does again."""
    visit = Visit(browser, target)
    visit.page.route("**/live.json", lambda route: route.abort())
    state = visit.page.locator("#state")
    expect(state).to_have_text("the gateway does not answer", timeout=LOOK_MS)
    visit.page.unroute("**/live.json")
    expect(state).to_contain_text("live", timeout=LOOK_MS)
    visit.said = [line for line in visit.said if "ERR_FAILED" not in line]  # what was aborted
    visit.close(target)
