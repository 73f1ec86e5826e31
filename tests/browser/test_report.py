"""The report as auditors see it: Debian's Chromium, in the light, in the dark, on a telephone, on paper, and by axe-core."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report import gather, pdf, render
from ccobs_ops.inventory_load import load
from tests import report_support as support
from tests.browser_support import CHROMIUM, FLAGS, NO_CHROMIUM

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
    # Playwright closes its event loop before the pipe to its driver
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The page of ninety eventful days."""
    folder = tmp_path_factory.mktemp("report")
    inventory = load(support.write_inventory(folder))
    with Ledger.open(f"sqlite:///{folder}/ledger.db") as ledger:
        support.fill(ledger)
        ctx = Context(inventory, ledger, clock=lambda: support.NOW)
        return render.html(gather.gather(ctx, since=timedelta(days=90)))


@pytest.fixture(scope="module")
def opened(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """`opened(width=…, scheme=…)`: the page; what it asked for and complained of is in `page.asked`, `page.told`."""
    from playwright.sync_api import sync_playwright

    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_bytes(content)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))

        def open_page(*, width: int = 1200, scheme: str = "light", bypass_csp: bool = False) -> Any:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=bypass_csp
            )
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.asked, page.told = [], []
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("console", lambda message: page.told.append(message.text))
            page.on("pageerror", lambda error: page.told.append(str(error)))
            page.on("dialog", lambda dialog: (page.told.append(dialog.message), dialog.dismiss()))
            page.goto(file.as_uri())
            return page

        yield open_page
        browser.close()
    gc.collect()


def test_charts_and_tables_are_there_and_nothing_is_asked_for_or_complained_of(opened: Open) -> None:
    page = opened()
    assert page.get_by_role("heading", level=1).inner_text() == "Recovery report"
    assert page.get_by_role("heading", level=2).count() == 11
    assert page.get_by_role("img").count() > 12
    for drawing in page.locator("figure svg").all():
        box = drawing.bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["height"] > 20
    table = page.get_by_role("table").first
    assert table.get_by_role("row").count() == 7
    summary = page.get_by_text("Data: postgres/observatory", exact=True).first
    summary.focus()
    page.keyboard.press("Enter")
    page.get_by_role("rowheader", name="2026-11-23").first.wait_for()
    assert page.told == []
    assert [each for each in page.asked if not each.startswith(("file://", "data:"))] == []
    assert len([each for each in page.asked if each.startswith("file://")]) == 1


@pytest.mark.parametrize("width", [390, 320, 768, 1200])
def test_no_width_needs_a_horizontal_scroll(opened: Open, width: int) -> None:
    page = opened(width=width)
    found = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert found[0] <= found[1], found


def test_charts_follow_the_dark_and_the_light(opened: Open) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page = opened(scheme=scheme)
        ask = "e => [getComputedStyle(document.body).backgroundColor, getComputedStyle(e).fill]"
        colours[scheme] = page.locator("figure svg text").first.evaluate(ask)
        odd = page.evaluate(
            """() => [...document.querySelectorAll('figure svg [fill]')].map(e => e.getAttribute('fill'))
            .filter(c => c.startsWith('#'))"""
        )
        from ccobs_ops.core.report.drawing import COLOURS

        assert set(odd) <= set(COLOURS.values()), "a colour that has no dark counterpart"
    assert colours["light"][0] != colours["dark"][0]
    assert colours["light"][1] != colours["dark"][1]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390)])
def test_axe_finds_nothing_to_say(opened: Open, scheme: str, width: int) -> None:
    """axe-core's rules of WCAG 2.2 A and AA, contrast among them."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(
        scheme=scheme, width=width, bypass_csp=True
    )  # axe is a script, which the page itself forbids
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert found.violations_count == 0, found.generate_report()


def test_a_keyboard_reaches_the_content_first(opened: Open) -> None:
    page = opened()
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == "Skip to the content"


def test_it_prints_on_paper_with_every_chart(content: bytes) -> None:
    printed = pdf.pdf(content)
    assert printed.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 3 <= pages <= 20


def test_nothing_of_the_printing_is_left(content: bytes) -> None:
    from ccobs_ops.core import scratch

    pdf.pdf(content)
    left = [each.name for each in Path(scratch._root()).iterdir() if "-report-" in each.name]
    assert left == []
