"""A report as a page of HTML, as Markdown, or as JSON. What comes from the ledger is redacted, and escaped."""

from __future__ import annotations

import json
from concurrent.futures import Future
from datetime import datetime
from importlib import resources
from typing import Any

from ccobs_ops import __version__
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.redaction import REDACT, redact_document
from ccobs_ops.core.report import drawing, figures, standards
from ccobs_ops.core.report.model import Known, Report
from ccobs_ops.core.units import format_bytes, format_seconds

MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.UNKNOWN: "?", None: "–"}
CONTENTS = (
    ("glance", "At a glance"),
    ("calendar", "Days proven"),
    ("exercises", "Day by day"),
    ("times", "Recovery time and loss"),
    ("drills", "Drills"),
    ("drift", "Drift"),
    ("lag", "Replication lag"),
    ("incidents", "Incidents"),
    ("selftest", "Self-test"),
    ("evidence", "Evidence"),
    ("standards", "Standards"),
)
_TEMPLATES = "templates"


def html(report: Report, drawer: drawing.Drawer | None = None) -> bytes:
    """One page that loads nothing: its style and its drawings are inside of it. Raises ProcessError if they fail to be drawn.

    Drawn by `drawer`, or by one of its own; while it draws, the page is written.
    """
    from markupsafe import Markup  # noqa: PLC0415

    if drawer is None:
        with drawing.Drawer() as own:
            return html(report, own)

    def drawn(found: figures.Figure) -> dict[str, Any]:
        return {
            "id": found.id,
            "title": found.title,
            "text": found.text,
            "svg": None if found.chart is None else _Drawing(drawer.draw(found.chart)),
            "head": found.head,
            "rows": found.rows,
        }

    values = _values(report) | {
        "css": Markup(_read("report.css") + _recolour()),
        "calendars": [drawn(each) for each in figures.calendars(report)],
        "strips": [drawn(each) for each in figures.strips(report)],
        "restores": [drawn(each) for each in figures.restores(report)],
        "lags": [drawn(each) for each in figures.lags(report)],
        "drills": [{"drill": each, "chart": drawn(figures.drill(each))} for each in report.drills],
        "incident_chart": drawn(figures.incidents(report)),
    }
    return _environment(autoescape=True).get_template("report.html.j2").render(values).encode()


def draw(known: Known, drawer: drawing.Drawer) -> None:
    """Have the charts of `known` drawn, nearly all that there are, while the rest of the report is gathered."""
    for of_one_kind in (figures.calendars, figures.strips, figures.restores, figures.lags):
        for each in of_one_kind(known):
            if each.chart is not None:
                drawer.draw(each.chart)


class _Drawing:
    """A drawing that the template waits for where it puts it."""

    def __init__(self, drawn: Future[str]) -> None:
        self._drawn = drawn

    def __html__(self) -> str:
        # the only markup that is not the template's: drawn from escaped text by vl-convert
        return self._drawn.result()


def markdown(report: Report) -> bytes:
    """The same in Markdown, without drawings."""
    return _environment(autoescape=False).get_template("report.md.j2").render(_values(report)).encode()


def as_json(report: Report) -> bytes:
    """The report's data; docs/json.md."""
    document = redact_document(report.to_json())
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def opening(report: Report) -> str:
    """The report in one sentence."""
    if not report.targets:
        return "Nothing is protected: the inventory names no target."
    if not report.counts.all:
        return "Nothing was measured in this time: no exercise is in the ledger, so nothing is known to be recoverable."
    by = {each: sum(1 for target in report.targets if target.verdict is each) for each in Verdict}
    told = f"{by[Verdict.PASSED]} of {len(report.targets)} targets are proven to be recoverable now"
    less = [
        f"{by[verdict]} {what}"
        for verdict, what in (
            (Verdict.FAILED, "broken or beyond what was promised"),
            (Verdict.UNKNOWN, "not known"),
        )
        if by[verdict]
    ]
    return f"{told}{': ' if less else ''}{', '.join(less)}."


def tiles(report: Report) -> list[tuple[str, str, str]]:
    """The figures at the top: what, of what, and how it is marked."""
    passed = sum(1 for each in report.targets if each.verdict is Verdict.PASSED)
    days = [each for each in report.calendars if each.kind == "recoverable"]
    proven, all_days = sum(each.of(Verdict.PASSED) for each in days), sum(len(each.days) for each in days)
    promised = [each for each in report.targets if each.rto_objective_seconds is not None]
    kept = sum(1 for each in promised if (each.rto_seconds or 1e18) <= (each.rto_objective_seconds or 0))
    still = figures.spans_of(report.incidents)
    drills = len(report.drills) + report.drills_left_out
    good = sum(1 for each in report.drills if each.verdict is Verdict.PASSED)
    return [
        (f"{passed} of {len(report.targets)}", "targets PASSED", _state(passed, len(report.targets))),
        (f"{proven} of {all_days}" if days else "none", "days proven restorable", "" if days else "UNKNOWN"),
        (f"{kept} of {len(promised)}", "restored within their RTO", _state(kept, len(promised))),
        (str(still), "open incidents", "FAILED" if still else ""),
        (
            f"{good} of {len(report.drills)}" if drills else "none",
            "newest drills PASSED" if drills else "drills run",
            _state(good, len(report.drills)),
        ),
        (
            {Verdict.PASSED: "intact", Verdict.FAILED: "tampered"}.get(
                report.evidence.verdict, "not verified"
            ),
            "ledger's hash chain",
            report.evidence.verdict.value,
        ),
    ]


def _state(good: int, all_of_them: int) -> str:
    if not all_of_them:
        return "UNKNOWN"
    return "PASSED" if good == all_of_them else "FAILED"


def _values(report: Report) -> dict[str, Any]:
    roots = [each.target for each in report.targets if each.target.startswith("terraform/")]
    scanned = any(
        one.counts.all for each in report.targets for one in each.capabilities if one.capability == "drift"
    )
    no_drift = "No Terraform root is in the inventory." if not roots else "No drift is open."
    if roots and not scanned:
        no_drift = "No root was scanned in this time: whether anything drifted is not known."
    return {
        "r": report,
        "version": __version__,
        "marks": MARKS,
        "opening": opening(report),
        "tiles": tiles(report),
        "contents": CONTENTS,
        "standards": standards.mapping(report),
        "no_drift": no_drift,
        "capability_rows": [
            (
                each.target,
                one.capability,
                one.verdict.value,
                one.reason,
                "never" if one.proof_age_seconds is None else f"{format_seconds(one.proof_age_seconds)} ago",
                f"{one.counts.passed:,}",
                f"{one.counts.failed:,}",
                f"{one.counts.unknown:,}",
            )
            for each in report.targets
            for one in each.capabilities
        ],
    }


def _recolour() -> str:
    """Each colour of the drawings becomes the page's variable of the same name, which differs in the dark."""
    return "".join(
        f'figure svg [{part}="{colour}"]{{{part}:var(--{name})}}'
        for name, colour in drawing.COLOURS.items()
        for part in ("fill", "stroke")
    )


def _environment(*, autoescape: bool) -> Any:
    from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound  # noqa: PLC0415

    class Packaged(BaseLoader):
        def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Any]:
            try:
                return _read(template), template, lambda: True
            except FileNotFoundError:
                raise TemplateNotFound(template) from None

    found = Environment(
        loader=Packaged(),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_redacted,
    )
    filters: dict[str, Any] = {
        "seconds": format_seconds,
        "day": lambda moment: f"{moment:%d %b %Y}",
        "moment": _moment,
        "measured": _measured,
        "cell": _cell,
    }
    found.filters.update(filters)
    return found


def _redacted(value: Any) -> Any:
    """What a template prints: text is redacted here, whatever it is of; markup is ours."""
    return REDACT(value) if type(value) is str else value


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _measured(value: float, name: str) -> str:
    if name.endswith("_seconds"):
        return format_seconds(value)
    if name.endswith("_bytes"):
        return format_bytes(value)
    if name.endswith("_ratio"):
        return f"{value * 100:.1f} %"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"


def _cell(value: Any) -> str:
    """Text in a cell of a Markdown table: one line, and nothing in it that Markdown or HTML would take for markup."""
    text = " ".join(str(value).split())
    for letter in "\\`*_[]<>|#":
        text = text.replace(letter, "\\" + letter)
    return text


def _read(name: str) -> str:
    return (resources.files(__package__ or "") / _TEMPLATES / name).read_text(encoding="utf-8")
