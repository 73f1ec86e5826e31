"""How a chart becomes an SVG: Altair's grammar, drawn by vl-convert without a browser or a network."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

COLOURS = {
    "ink": "#1b2430",
    "soft": "#4a5666",
    "line": "#d5dbe3",
    "none": "#eef1f5",
    "good": "#1a7f4b",
    "bad": "#c02b2b",
    "unknown": "#8a5a00",
    "accent": "#1f5fbf",
    "accent2": "#7a4fb5",
    "paper": "#fefefe",
}
"""The colours of the light page; `report.css` has those of the dark one under the same names."""
CHECKED = False
"""Whether Altair checks each specification against the grammar's schema."""
_IDS = re.compile(r"""( id="|url\(['"]?#| href="#)([A-Za-z][\w-]*)""")
"""Names within a drawing: each drawing of a page has its own."""
_ROLES = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
"""What Vega tells screen readers of its marks, which have no names: the words and the table beside it are for them."""


class _Data(threading.local):
    """The rows of the drawing at hand, by name: Altair would copy and check each of them, many times."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}


_DATA = _Data()


def chart(rows: list[dict[str, Any]]) -> Any:
    """A chart of `rows`, within a `drawing`."""
    import altair as alt  # noqa: PLC0415

    name = f"rows{len(_DATA.rows)}"
    _DATA.rows[name] = rows
    return alt.Chart(alt.NamedData(name))


@contextmanager
def drawing() -> Iterator[None]:
    """One drawing. Altair's checks of what we wrote, which take most of its time, are made by the tests."""
    from altair.utils.schemapi import debug_mode  # noqa: PLC0415

    _DATA.rows = {}
    try:
        with debug_mode(CHECKED):
            yield
    finally:
        _DATA.rows = {}


def svg(layers: Any) -> str:
    """The chart as an SVG element. What it says in words stands beside it: it carries none of its own for screen readers."""
    import vl_convert  # noqa: PLC0415

    ink, soft, line = COLOURS["ink"], COLOURS["soft"], COLOURS["line"]
    styled = layers.configure(
        background="transparent",
        font="sans-serif",
        aria=False,
        padding={"left": 12, "right": 6, "top": 4, "bottom": 4},
    ).configure_view(stroke=None).configure_axis(
        labelColor=ink, titleColor=soft, titleFontWeight="normal", domainColor=soft, tickColor=soft, gridColor=line,
        labelFontSize=11, titleFontSize=11,
    )  # fmt: skip
    specification = styled.to_dict(validate=CHECKED) | {"datasets": _DATA.rows}
    drawn: str = vl_convert.vegalite_to_svg(specification)
    drawn = _ROLES.sub("", drawn)
    return _IDS.sub(
        lambda match: f"{match[1]}{hashlib.sha256(drawn.encode()).hexdigest()[:8]}-{match[2]}", drawn
    )
