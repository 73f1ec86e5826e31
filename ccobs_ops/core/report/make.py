"""Make a report: verify the ledger as far as asked, gather, render, write, sign. It is an exercise like all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.evidence import chain, export, files, keys, verify
from ccobs_ops.core.evidence.chain import Head
from ccobs_ops.core.evidence.keys import PrivateKey
from ccobs_ops.core.evidence.statement import About, sha256
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, Verdict, failed, passed, rfc3339
from ccobs_ops.core.report import gather, pdf, render
from ccobs_ops.core.report.drawing import Drawer
from ccobs_ops.core.report.model import Report

TARGET = "ccobs/report"
CAPABILITY = "report"
_DRAWN = {"html", "pdf"}
SIGN_BACK = timedelta(days=7)
"""From when on exercises are signed, where none was signed before."""


@dataclass(slots=True)
class Made:
    """What came of it: the exercise, and by format the content and where it was written (None: nowhere).

    `report` is None where the attempt ended before there was one.
    """

    exercise: Exercise
    report: Report | None = None
    contents: dict[str, bytes] = field(default_factory=dict)
    written: dict[str, Path] = field(default_factory=dict)


def make(
    ctx: Context,
    wanted: Mapping[str, Path | None],
    *,
    since: timedelta,
    everything: bool = False,
    drawer: Drawer | None = None,
) -> Made:
    """Make the report on the time from `since` ago in each format of `wanted`, written to the file that it names, if any.

    With `everything` the whole chain is verified and what is evidence and unsigned is signed, as the nightly asset does it;
    otherwise only what is new since the last verification. Claims `written`; `chain` as far as verified; `head`, `signed`.
    Charts are drawn by `drawer`, or by one of its own.
    """
    if drawer is None and _DRAWN & set(wanted):
        with Drawer() as own:
            return make(ctx, wanted, since=since, everything=everything, drawer=own)
    made: dict[str, bytes] = {}
    written: dict[str, Path] = {}
    reports: list[Report] = []

    def body(rec: Recorder) -> str:
        key = keys.private(ctx.inventory)
        found = None
        if everything:
            heads, _ = files.kept(ctx.inventory, key.public) if key is not None else ([], [])
            with rec.phase("verify"):
                found = chain.verify(ctx.ledger, heads=heads, progress=ctx.progress)
            verify.conclude_chain(rec, found, signs=key is not None)
        with rec.phase("gather"):
            report = gather.gather(
                ctx,
                since=since,
                found=found,
                key=key.public if key is not None else None,
                known=partial(render.draw, drawer=drawer) if drawer is not None else lambda _: None,
            )
        reports.append(report)
        if not everything:
            _say_chain(rec, report)
        with rec.phase("render"):
            made.update(_render(report, wanted, drawer))
        with rec.phase("write"):
            _write(ctx, rec, report, made, wanted, key, written)
            if everything and key is not None:
                signed = export.catch_up(ctx, ctx.clock() - SIGN_BACK)
                rec.measurements["exercises_signed"] = float(len(signed))
        _measure(rec, report, made)
        return f"readiness {report.verdict}: {render.opening(report)}"

    exercise = attempt(ctx, TARGET, CAPABILITY, "written", body)
    return Made(exercise, reports[0] if reports else None, made, written)


def _render(report: Report, wanted: Mapping[str, Path | None], drawer: Drawer | None) -> dict[str, bytes]:
    if "pdf" in wanted:
        pdf.program()  # before the work, not after it
    page = b"" if drawer is None else render.html(report, drawer)
    ways: dict[str, Callable[[], bytes]] = {
        "html": lambda: page,
        "pdf": lambda: pdf.pdf(page),
        "md": lambda: render.markdown(report),
        "json": lambda: render.as_json(report),
    }
    return {each: ways[each]() for each in wanted}


def _write(
    ctx: Context,
    rec: Recorder,
    report: Report,
    made: Mapping[str, bytes],
    wanted: Mapping[str, Path | None],
    key: PrivateKey | None,
    written: dict[str, Path],
) -> None:
    about = About(
        CAPABILITY,
        ctx.inventory.environment,
        {
            "id": rec.id,
            "target": TARGET,
            "capability": CAPABILITY,
            "verdict": report.verdict.value,
            "started_at": rfc3339(rec.started_at),
            "finished_at": rfc3339(ctx.clock()),
        },
        Head(report.evidence.head_seq, report.evidence.head_link),
        ctx.clock(),
    )
    copied: list[str] = []
    for kind, path in wanted.items():
        content = made[kind]
        rec.details[f"sha256_{kind}"] = sha256(content)
        if path is None:
            continue
        if key is None:
            files.write(path, content)
        else:
            named = f"{rec.id}-report.{kind}"
            done = export.publish(ctx, content, path.name, about, key, path.absolute().parent, named=named)
            copied += [done.copied] if done.copied else []
        written[kind] = path
        rec.details[f"file_{kind}"] = str(path)
    rec.claim(passed("written", f"written as {', '.join(wanted)}"))
    if written and key is not None:
        rec.claim(passed("signed", f"signed with key {key.public.id[:16]}"))
        if copied:
            rec.claim(
                passed("copied", f"{len(copied)} documents copied to {copied[-1].rpartition('/')[0]}, locked")
            )


def _say_chain(rec: Recorder, report: Report) -> None:
    """Claim the chain only where it was looked at."""
    found = report.evidence
    rec.details["head"] = {"seq": found.head_seq, "link": found.head_link}
    if found.verdict is Verdict.UNKNOWN:
        rec.find("chain_not_verified", Severity.INFO, f"position {found.head_seq}", found.reason)
    elif found.verdict is Verdict.PASSED:
        rec.claim(passed("chain", found.reason))
    else:
        rec.claim(failed("chain", found.reason))


def _measure(rec: Recorder, report: Report, made: Mapping[str, bytes]) -> None:
    days = [each for each in report.calendars if each.kind == "recoverable"]
    rec.details["readiness"] = report.verdict.value
    rec.measurements |= {
        "exercises": float(report.counts.all),
        "targets": float(len(report.targets)),
        "targets_passed": float(sum(1 for each in report.targets if each.verdict is Verdict.PASSED)),
        "days_proven": float(sum(each.of(Verdict.PASSED) for each in days)),
        "incidents_open": float(sum(1 for each in report.incidents if each.verified_at is None)),
        "report_bytes": float(sum(len(each) for each in made.values())),
    }
