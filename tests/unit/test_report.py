"""The report says what the ledger holds and no more: unknown stays unknown, text stays text, nothing is good by default."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import altair
import psutil
import pytest
from jsonschema import ValidationError

from ccobs_ops.cli.main import run
from ccobs_ops.core.context import Context
from ccobs_ops.core.evidence import files, keys
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.process import ProcessError
from ccobs_ops.core.report import drawing, figures, gather, pdf, proofs, query, render
from ccobs_ops.core.report.drills import read
from ccobs_ops.core.report.make import make
from ccobs_ops.core.report.model import Point, Report
from ccobs_ops.inventory_load import load
from tests import report_support as support
from tests.report_support import NOW

DAYS = timedelta(days=90)


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The ledger of ninety eventful days; read only."""
    folder = tmp_path_factory.mktemp("eventful")
    inventory = load(support.write_inventory(folder))
    with Ledger.open(f"sqlite:///{folder}/ledger.db") as ledger:
        support.fill(ledger)
        yield Context(inventory, ledger, clock=lambda: NOW)


@pytest.fixture(scope="module")
def report(eventful: Context) -> Report:
    return gather.gather(eventful, since=DAYS)


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render.html(report).decode()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Context]:
    inventory = load(support.write_inventory(tmp_path))
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield Context(inventory, ledger, clock=lambda: NOW)


class Outline(HTMLParser):
    """What of a page its structure rests on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def test_the_days_that_were_proven_are_those_that_restores_went_back_to(report: Report) -> None:
    found = {each.target: each for each in report.calendars if each.kind == "recoverable"}
    observatory, billing = found["postgres/observatory"], found["postgres/billing"]
    assert len(observatory.days) == 91
    broken = {each.day for each in observatory.days if each.verdict is Verdict.FAILED}
    assert (NOW - timedelta(days=17)).date() in broken or (NOW - timedelta(days=18)).date() in broken
    untried = {each.day for each in billing.days if each.verdict is None}
    assert untried <= {(NOW - timedelta(days=back)).date() for back in range(41, 47)}
    assert untried, "days that nobody tried are left blank"


def test_a_newer_failure_takes_a_proven_day_back() -> None:
    tries = [(Verdict.PASSED, "E1", "2026-11-01T02:00:00Z"), (Verdict.FAILED, "E2", "")]
    day = proofs._best(date(2026, 11, 1), tries)
    assert (day.verdict, day.exercise, day.exercises) == (Verdict.FAILED, "E2", 2)
    day = proofs._best(date(2026, 11, 1), tries[::-1])
    assert (day.verdict, day.exercise) == (Verdict.PASSED, "E1")
    assert "1 other restore to this day failed" in day.note


def test_counts_agree_with_the_ledger(eventful: Context, report: Report) -> None:
    rows = eventful.ledger.exercises(since=NOW - DAYS, limit=100_000)
    rows = [each for each in rows if each.finished_at <= NOW]
    for verdict in Verdict:
        expected = sum(each.verdict is verdict for each in rows)
        assert getattr(report.counts, verdict.lower()) == expected
    one = next(each for each in report.targets if each.target == "postgres/observatory")
    mine = [each for each in rows if (each.target, each.capability) == ("postgres/observatory", "validation")]
    told = next(each for each in one.capabilities if each.capability == "validation")
    assert told.counts.all == len(mine) > 100


def test_measurements_are_those_of_the_documents(eventful: Context, report: Report) -> None:
    series = next(
        s for s in report.series if (s.target, s.measurement) == ("postgres/billing", "rto_seconds")
    )
    rows = eventful.ledger.exercises(
        target="postgres/billing", capability="validation", since=NOW - DAYS, limit=1000
    )
    wanted = {each.id: each.measurements.get("rto_seconds") for each in rows if each.finished_at <= NOW}
    assert {point.exercise: point.value for point in series.points} == wanted
    assert None in wanted.values(), "an exercise that measured nothing is kept as such"
    assert series.objective_seconds == 1800


def test_of_many_points_the_worst_of_each_day_is_kept() -> None:
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    points = [
        Point(noon + timedelta(minutes=number), float(number % 50), Verdict.PASSED, f"E{number}")
        for number in range(400)
    ]
    points[7] = Point(points[7].at, None, Verdict.UNKNOWN, "lost")
    assert query.worst_of_days(points, most=400) == tuple(points)
    assert [each.exercise for each in query.worst_of_days(points, most=100)] == ["lost"]


def test_an_empty_ledger_makes_a_report_that_says_so(empty: Context) -> None:
    found = gather.gather(empty, since=DAYS)
    assert found.verdict is Verdict.UNKNOWN
    assert found.evidence.verdict is Verdict.UNKNOWN
    text = render.html(found).decode()
    told = re.sub(r"<[^>]+>", " ", text)
    for words in (
        "Nothing was measured in this time",
        "not measured",
        "No drill was run in this time",
        "whether anything drifted is not known",
        "No incident was recorded",
        "how many faults would be noticed is not known",
        "the ledger is empty",
        "never measured by validation",
    ):
        assert words in told, words
    assert ' class="verdict PASSED"' not in text
    assert 'class="PASSED"' not in text
    assert b"Nothing was measured" in render.markdown(found)


def test_an_inventory_without_targets_is_not_good(tmp_path: Path) -> None:
    inventory = load(support.write_inventory(tmp_path, "version: 1\nenvironment: lab\n"))
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        found = gather.gather(Context(inventory, ledger, clock=lambda: NOW), since=DAYS)
    assert found.verdict is Verdict.UNKNOWN
    assert "protects nothing" in render.html(found).decode()


def test_text_of_the_ledger_is_text_and_secrets_are_not_told(report: Report, page: str) -> None:
    outline = Outline(page)
    assert not outline.all("script", "iframe", "object", "embed", "base", "img")
    assert not [name for _, found in outline.tags for name in found if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in page
    for content in (page, render.markdown(report).decode(), render.as_json(report).decode()):
        assert "hunter2secret" not in content
        assert "******" in content
    assert "<script>" not in render.markdown(report).decode().replace("\\<script\\>", "")
    json.loads(render.as_json(report))


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    outline = Outline(page)
    places = [
        value
        for _, found in outline.tags
        for name, value in found.items()
        if name in ("src", "href", "xlink:href", "data", "action", "srcset") and value
    ]
    assert places
    assert all(value.startswith(("#", "data:,")) for value in places)
    assert not re.search(r"@import|url\((?!['\"]?#)", page)
    assert "default-src 'none'" in page


def test_headings_landmarks_and_tables_are_in_order(page: str) -> None:
    outline = Outline(page)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert [len(outline.all(each)) for each in ("header", "main", "nav", "footer")] == [1, 1, 1, 1]
    assert all(found.get("scope") in ("col", "row") for found in outline.all("th"))
    names = [found["id"] for _, found in outline.tags if found.get("id")]
    assert len(names) == len(set(names)), "an id stands once"
    targets = [str(found["href"])[1:] for found in outline.all("a") if str(found.get("href")).startswith("#")]
    assert set(targets) <= set(names)
    drawings = [found for found in outline.all("div") if found.get("role") == "img"]
    assert len(drawings) == len(outline.all("svg")) > 10
    assert all(found.get("aria-label") for found in drawings)
    assert len(outline.all("details")) > 10


def luminance(colour: str) -> float:
    """WCAG 2.2: relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2])
def test_contrast_is_enough_in_light_dark_and_print(scheme: int) -> None:
    css = render._read("report.css")
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    assert set(drawing.COLOURS) <= set(colours)
    if scheme == 0:
        assert {name: colours[name] for name in drawing.COLOURS} == drawing.COLOURS
    for ground in ("paper", "page"):
        for text in ("ink", "soft", "good", "bad", "unknown", "accent", "accent2"):
            found = contrast(colours[text], colours[ground])
            assert found >= 4.5, f"{text} on {ground}: {found:.2f}"
    for swatch in ("good", "bad", "unknown"):
        assert contrast(colours["paper"], colours[swatch]) >= 4.5


def test_every_chart_is_of_the_grammar(report: Report) -> None:
    every = [
        *figures.calendars(report),
        *figures.strips(report),
        *figures.restores(report),
    ]
    every += [*figures.lags(report), *map(figures.drill, report.drills), figures.incidents(report)]
    specifications = [each.chart for each in every if each.chart is not None]
    assert len(specifications) > 10
    for each in specifications:
        altair.LayerChart.from_dict(each | {"config": drawing.CONFIG})
    wrong = specifications[0] | {"encoding": {"x": {"field": "week", "type": "ordinary"}}}
    with pytest.raises(ValidationError, match="ordinary"):
        altair.LayerChart.from_dict(wrong)


def test_a_chart_that_cannot_be_drawn_is_told_to_who_waits() -> None:
    with drawing.Drawer() as drawer:
        broken, after = drawer.draw({"mark": "nothing of the kind"}), drawer.draw({"mark": "point"})
        with pytest.raises(ProcessError, match="SVG conversion failed"):
            broken.result(30)
        with pytest.raises(ProcessError):  # its process is gone: nobody waits for good
            after.result(30)


def test_a_process_that_draws_and_is_killed_is_told_and_none_is_left() -> None:
    with drawing.Drawer() as drawer:
        first = drawer.draw(
            {"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x"}}}
        )
        assert first.result(30).startswith("<svg")
        mine = [
            each for each in psutil.Process().children(recursive=True) if drawing.__name__ in each.cmdline()
        ]
        assert len(mine) == 1
        mine[0].kill()
        with pytest.raises(ProcessError, match="signal 9"):
            drawer.draw({"mark": "point"}).result(30)
    assert not mine[0].is_running()


def test_a_drill_is_drawn_with_its_critical_path_and_what_never_ran(report: Report) -> None:
    assert [each.scenario for each in report.drills] == [
        "region-loss",
        "control-plane-and-data",
        "database-loss",
    ]
    good, broken = figures.drill(report.drills[0]), figures.drill(report.drills[2])
    assert "precheck → restore_postgres_observatory → verify → probe" in good.text
    assert good.chart is not None
    assert broken.chart is not None
    assert drawing.svg(json.dumps(good.chart)).count("◆") == 4
    drawn = drawing.svg(json.dumps(broken.chart))
    assert "not started" in drawn
    assert "✗" in drawn
    assert "service was not ready" in broken.text
    assert ("probe", "drill", "probe", "never", "never", "", "UNKNOWN", "not reached") in broken.rows


def test_a_drill_with_odd_details_is_told_as_far_as_it_goes() -> None:
    odd = support.make(
        "drill/x", "drill", NOW, details={"steps": [None, {"name": "a"}, 3], "critical_path": "no"}
    )
    found = read(odd)
    assert ([each.name for each in found.steps], found.critical_path, found.rto_seconds) == (["a"], (), None)
    assert found.steps[0].verdict is Verdict.UNKNOWN
    figures.drill(found)
    bare = read(support.make("drill/x", "drill", NOW))
    assert figures.drill(bare).chart is None


def test_incidents_and_open_drift_are_told(report: Report, page: str) -> None:
    assert len(report.incidents) == 4
    opened = [each for each in report.incidents if each.verified_at is None]
    assert [each.target for each in opened] == ["terraform/storage"]
    assert [each.address for each in report.changes] == ["aws_s3_bucket_versioning.artifacts"]
    assert next(each for each in report.targets if each.target == "terraform/storage").open_incidents == 1
    assert "aws_s3_bucket_versioning.artifacts" in page


def test_it_supports_standards_and_never_says_that_anybody_complies(page: str, report: Report) -> None:
    told = re.sub(r"<[^>]+>", " ", page)
    for clause in ("A1.2", "A1.3", "CC7.5", "ISO 22301:2019 8.5", "DORA Art. 12(1), (2)", "DORA Art. 12(7)"):
        assert clause in told, clause
    sentences = [
        each for each in re.split(r"[.;]", told) if re.search("compl(y|ies|iant)", each, re.IGNORECASE)
    ]
    assert sentences
    assert all("nothing here says" in each for each in sentences)


def test_the_json_is_what_was_gathered(report: Report) -> None:
    found = json.loads(render.as_json(report))
    assert (found["version"], found["verdict"], found["environment"]) == (1, report.verdict, "production")
    assert len(found["targets"]) == 6
    assert found["since"].endswith("Z")


def test_a_report_is_written_signed_and_checked_again(empty: Context, tmp_path: Path) -> None:
    support.fill(empty.ledger, days=3)
    place = tmp_path / "out" / "report.html"
    made = make(empty, {"html": place, "json": None}, since=DAYS, everything=True)
    assert made.exercise.verdict is Verdict.PASSED, made.exercise.reason
    assert {claim.name for claim in made.exercise.claims} == {"chain", "written", "signed"}
    key = keys.private(empty.inventory)
    assert key is not None
    assert files.check(place, key.public).verdict is Verdict.PASSED
    assert made.exercise.measurements["exercises_signed"] > 10
    assert set(made.contents) == {"html", "json"}
    heads, wrong = files.kept(empty.inventory, key.public)
    assert heads
    assert not wrong
    again = make(empty, {"html": place}, since=DAYS, everything=True)
    assert again.exercise.measurements["exercises_signed"] == 0
    assert again.exercise.claim("head") is not None


def test_a_ledger_that_was_tampered_with_makes_the_report_fail(empty: Context, tmp_path: Path) -> None:
    import sqlite3

    support.fill(empty.ledger, days=2)
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("update ccobs_exercises set verdict = 'PASSED' where capability = 'drift'")
    made = make(empty, {"html": tmp_path / "r.html"}, since=DAYS)
    assert made.exercise.verdict is Verdict.FAILED
    text = (tmp_path / "r.html").read_text()
    assert "tampered" in text
    assert "was changed after it was written" in text


def test_without_chromium_a_pdf_says_what_is_missing(
    empty: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pdf, "PROGRAMS", ("no-such-browser",))
    monkeypatch.chdir(tmp_path)
    assert run(["report", "--format", "pdf"]) != 0
    told = "".join(capsys.readouterr())
    assert "Chromium" in told
    assert not list(tmp_path.glob("*.pdf"))


def test_the_command_line_writes_prints_and_refuses(
    empty: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["report", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert run(["report", "--output", "r.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["capability"] == "report"
    assert (tmp_path / "r.html.dsse.json").exists()
    assert run(["report", "--since", "5s"]) == 2
    assert run(["report", "--since", "soon"]) == 2
