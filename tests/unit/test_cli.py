"""The command line: what is asked reaches the core as it was meant, and what comes of it reaches the shell."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ccobs_ops.cli.main import run
from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from tests.cli_support import INVENTORY, NOON, exercise, here

__all__ = ["here"]


class Core:
    """Stands for the functions of the core that run for minutes; notes how they were called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answer: Callable[[], Exercise] = exercise
        for module, function in (
            ("backup", "back_up"),
            ("window", "examine"),
            ("restore", "restore"),
            ("validate", "validate"),
            ("retention", "prune"),
        ):
            stand_in = ModuleType(f"ccobs_ops.core.postgres.{module}")
            setattr(stand_in, function, self._function(function))
            monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)

    def _function(self, name: str) -> Callable[..., Exercise]:
        def called(context: Any, *arguments: Any, **options: Any) -> Exercise:
            context.progress.note(f"{name} runs")
            self.calls.append((name, arguments, options))
            return self.answer()

        return called


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    return Core(monkeypatch)


@pytest.mark.parametrize(
    ("words", "function", "arguments", "options"),
    [
        ("backup observatory", "back_up", ("observatory",), {"incremental": None}),
        ("backup postgres/observatory --full", "back_up", ("observatory",), {"incremental": False}),
        ("backup observatory --incremental", "back_up", ("observatory",), {"incremental": True}),
        ("window reports --deep --store us", "examine", ("reports",), {"deep": True, "store": "us"}),
        ("retention observatory", "prune", ("observatory",), {"dry_run": True, "confirmation": None}),
        (
            "retention observatory --no-dry-run --confirm postgres/observatory",
            "prune",
            ("observatory",),
            {"dry_run": False, "confirmation": "postgres/observatory"},
        ),
        (
            "validate observatory",
            "validate",
            ("observatory",),
            {"at": None, "strategy": "newest", "seed": None, "day": None, "store": None},
        ),
        (
            "validate observatory --strategy segment-boundary --seed 7 --day 2026-11-22",
            "validate",
            ("observatory",),
            {"at": None, "strategy": "segment-boundary", "seed": 7, "day": date(2026, 11, 22), "store": None},
        ),
        (
            "validate observatory --at 2026-11-23T13:00:00+01:00",
            "validate",
            ("observatory",),
            {"at": NOON, "strategy": "newest", "seed": None, "day": None, "store": None},
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_is_asked_reaches_the_core(
    core: Core, words: str, function: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    assert run(["postgres", *words.split()]) == 0
    assert core.calls == [(function, arguments, options)]


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--at 2026-11-23T12:00:00Z", "at", NOON),
        ("--lsn 1/a", "lsn", 2**32 + 10),
        ("--before-xid 4711", "before_xid", 4711),
        ("--latest", "latest", True),
    ],
)
def test_restore(core: Core, here: Path, words: str, field: str, value: object) -> None:
    more = "--to out --start --action pause --port 5433 --timeline 3 --store us"
    assert run(["postgres", "restore", "observatory", *words.split(), *more.split()]) == 0
    ((_, (name, target, directory), options),) = core.calls
    assert (name, directory) == ("observatory", here / "out")
    assert options == {"start": True, "action": "pause", "store": "us", "port": 5433}
    assert getattr(target, field) == value
    assert target.timeline == 3
    given = [target.at, target.lsn, target.before_xid, target.latest or None]
    assert sum(each is not None for each in given) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("postgres restore observatory --to d", "nothing says where to stop"),
        ("postgres restore observatory --to d --latest --lsn 0/1", "--lsn and --latest contradict"),
        ("postgres restore observatory --to d --at 2026-11-23T12:00:00", "no time zone"),
        ("postgres restore observatory --to d --lsn 16B3740", "is no LSN"),
        ("postgres restore observatory --to d --latest --port 5433", "--port has no meaning"),
        ("postgres restore observatory --latest", "missing option '--to'"),
        ("postgres restore observatory --to d --before-xid many", "--before-xid"),
        ("postgres validate observatory --at 2026-11-23T12:00:00Z --seed 1", "--at says which moment"),
        ("postgres validate observatory --strategy best", "'best' is not one of"),
        ("postgres validate observatory --day yesterday", "is no day"),
        ("postgres backup observatry", "did you mean 'observatory'?"),
        ("postgres backup", "there are: observatory, reports"),
        ("postgres bakcup observatory", "no such command 'bakcup'"),
        ("postgers", "did you mean 'postgres'?"),
        ("ledger list --since yesterday", "neither a duration nor a moment"),
        ("ledger show nothing", "no exercise 'nothing'"),
        ("--inventory no.yaml check", "no such file"),
        ("--nonsense", "no such option"),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_usage_is_told_and_starts_nothing(
    core: Core, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert run(words.split()) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.startswith("error: ")
    assert "HINT: " in told.err
    assert told.out == ""
    assert core.calls == []


@pytest.mark.parametrize(("verdict", "status"), [("PASSED", 0), ("FAILED", 1), ("UNKNOWN", 3)])
@pytest.mark.usefixtures("here")
def test_the_verdict_is_the_exit_status(
    core: Core, capsys: pytest.CaptureFixture[str], verdict: str, status: int
) -> None:
    core.answer = lambda: exercise(Verdict(verdict))
    assert run(["postgres", "validate", "observatory"]) == status
    assert verdict in capsys.readouterr().out.splitlines()[0]


@pytest.mark.usefixtures("here")
def test_json_is_one_document_and_all_else_goes_to_stderr(
    core: Core, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["postgres", "validate", "observatory", "--json"]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["measurements"].pop("bad") is None
    expected = exercise().to_json()
    expected["measurements"].pop("bad")
    assert document == expected
    assert told.err == "validate runs\n"


@pytest.mark.usefixtures("here")
def test_an_error_with_json_is_one_document_too(core: Core, capsys: pytest.CaptureFixture[str]) -> None:
    def away() -> Exercise:
        raise UnknownError("the store does not answer", hint="wait")

    core.answer = away
    assert run(["postgres", "window", "observatory", "--json"]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "error": {"message": "the store does not answer", "hint": "wait", "exit_status": 3}
    }
    assert told.err.endswith("error: the store does not answer\nHINT: wait\n")


@pytest.mark.usefixtures("here", "core")
def test_an_exercise_on_a_terminal_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["postgres", "validate", "observatory"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    for line in (
        "✓ PASSED  postgres/observatory  validation",
        "✗  rto          too slow",
        "?  data_checks  production did not answer",
        "fetch  2.00 s  3.0 GiB  1.5 GiB/s",
        "✗ at most 30m",
        "✓ at most 60.0 s",
        "4,182",
        "critical wal_gap: 0000000100000000000000A3",
        "missing [/bold]",
        "HINT: look",
    ):
        assert line in text


def test_check(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["check"]) == 0
    assert "no problem; 1 stores, 2 targets" in capsys.readouterr().out
    bad = here / "bad.yaml"
    bad.write_text(INVENTORY.replace("store: us}}", "store: eu, rto: 5}}"))
    monkeypatch.setenv("CCOBS_INVENTORY", str(bad))
    assert run(["check"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{bad}:4: postgres.reports.store: there is no store 'eu'\nHINT: " in told.err
    assert f"{bad}:4: postgres.reports.rto: there is no such key\nHINT: " in told.err
    assert run(["check", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["valid"] is False
    assert {problem["key"] for problem in document["problems"]} == {
        "postgres.reports.store",
        "postgres.reports.rto",
    }
    assert run(["--inventory", str(here / "inventory.yaml"), "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"] == ["postgres/observatory", "postgres/reports"]


def test_the_ledger_is_read_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "list"]) == 0
    assert "no exercise matches" in capsys.readouterr().out
    with Ledger.open(f"sqlite:///{here}/ledger.db") as ledger:
        for verdict in Verdict:
            ledger.record(exercise(verdict))
    assert run(["ledger", "list", "--json", "--verdict", "failed", "--since", "2026-11-23T12:00:00Z"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["exercises"]
    assert found["verdict"] == "FAILED"
    assert run(["ledger", "list", "--json", "--limit", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["exercises"]) == 2
    assert run(["ledger", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert run(["ledger", "show", found["id"]]) == 0
    assert "✗ FAILED  postgres/observatory  validation" in capsys.readouterr().out
    assert run(["ledger", "show", "20261123T120000Z-validation-p", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "PASSED"
    assert run(["ledger", "show", "2026"]) == 2
    assert "more than one" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 3
    text = capsys.readouterr().out
    assert "? UNKNOWN  postgres/observatory" in text
    assert "never exercised" in text
    assert max(map(len, text.splitlines())) <= 80
    assert run(["status", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "UNKNOWN"
    assert [target["target"] for target in document["targets"]] == [
        "postgres/observatory",
        "postgres/reports",
    ]
    assert document["targets"][0]["objectives"]["rto_seconds"] == 1800


def test_a_defect_is_one_line_and_a_private_file(
    core: Core, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Exercise:
        raise RuntimeError("boom\npassword=hunter22")

    core.answer = broken
    monkeypatch.setattr("tempfile.tempdir", str(here))
    assert run(["postgres", "backup", "observatory"]) == 3
    told = capsys.readouterr()
    assert "error: unexpected RuntimeError: boom password=******\n" in told.err
    assert "Traceback" not in told.err
    (file,) = here.glob("ccobs-ops-*.traceback")
    assert str(file) in told.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "in broken" in file.read_text()
    assert "hunter22" not in file.read_text()
    monkeypatch.setenv("CCOBS_DEBUG", "1")
    assert run(["postgres", "backup", "observatory"]) == 3
    assert "in broken" in capsys.readouterr().err
