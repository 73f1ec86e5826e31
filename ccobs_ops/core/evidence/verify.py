"""`evidence verify`: the ledger's chain, the signed heads that are kept of it, and files of evidence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.evidence import chain, dsse, export, files, keys, statement
from ccobs_ops.core.evidence.chain import Head, Verified
from ccobs_ops.core.evidence.files import Checked
from ccobs_ops.core.evidence.keys import PublicKey
from ccobs_ops.core.exercise import (
    Clock,
    Exercise,
    Recorder,
    Severity,
    Verdict,
    failed,
    passed,
    unknown,
    utc_now,
)
from ccobs_ops.core.ledger import Ledger

TARGET = "ccobs/evidence"
CAPABILITY = "verification"
COPIES = 20


def verify(ctx: Context, paths: Sequence[Path] = (), *, key: PublicKey | None = None) -> Exercise:
    """Verify all of the ledger's chain, and the evidence in `paths`; `key` instead of the inventory's own.

    Claims `chain`; `head` where heads were signed, `copy` where a store holds copies, `files` where some are named.
    """

    def body(rec: Recorder) -> None:
        public = key or _public(ctx)
        checked = check_files(rec, paths, public) if paths else []
        heads = [head for each in checked for head in each.heads]
        if public is not None:
            heads += _kept(ctx, rec, public)
        with rec.phase("verify"):
            found = chain.verify(ctx.ledger, heads=heads, progress=ctx.progress)
        conclude_chain(rec, found, signs=public is not None)

    return attempt(ctx, TARGET, CAPABILITY, "chain", body, must_record=False)


def verify_files(paths: Sequence[Path], key: PublicKey, *, clock: Clock = utc_now) -> Exercise:
    """Check files of evidence where no ledger is at hand. Nothing is recorded."""
    rec = Recorder(TARGET, CAPABILITY, clock=clock, timer=time.monotonic)
    check_files(rec, paths, key)
    return rec.conclude()


def check_files(rec: Recorder, paths: Sequence[Path], key: PublicKey | None) -> list[Checked]:
    """Check each of `paths` and claim `files`."""
    if key is None:
        rec.claim(unknown("files", "no public key is at hand to check them with: name it with --key FILE"))
        return []
    with rec.phase("files"):
        checked = [files.check(path, key) for path in paths]
    for each in checked:
        if each.verdict is not Verdict.PASSED:
            _find(rec, each)
    rec.details["files"] = {str(each.path): f"{each.verdict}: {each.reason}" for each in checked}
    verdicts = [each.verdict for each in checked]
    rec.measurements["files"] = float(len(checked))
    first = next((each for each in checked if each.verdict is Verdict.FAILED), None)
    first = first or next((each for each in checked if each.verdict is Verdict.UNKNOWN), None)
    if first is None:
        rec.claim(
            passed("files", f"{_count(len(checked), 'file')} signed by {key.id[:16]}, as they were signed")
        )
        return checked
    told = f"{first.path}: {first.reason}"
    rec.claim(failed("files", told) if Verdict.FAILED in verdicts else unknown("files", told))
    return checked


def conclude_chain(rec: Recorder, found: Verified, *, signs: bool) -> None:
    """Claim `chain`, and `head` where there was one to compare with."""
    rec.details["head"] = {"seq": found.head.seq, "link": found.head.link}
    rec.details["verified_after"] = found.after.seq
    rec.measurements |= {
        "links": float(found.head.seq),
        "rows_verified": float(found.rows),
        "faults": float(found.faults_found),
        "heads_compared": float(found.heads),
    }
    for fault in found.faults:
        rec.find(
            fault.code,
            Severity.CRITICAL,
            fault.subject,
            fault.message,
            "compare with a copy of the ledger from before; whoever could write to it is in question",
        )
    of_heads = [fault for fault in found.faults if fault.code in ("chain_truncated", "chain_rewritten")]
    of_chain = [fault for fault in found.faults if fault not in of_heads]
    if of_chain or found.faults_found > len(found.faults):
        rec.claim(failed("chain", _told(of_chain, found.faults_found - len(of_heads))))
    elif found.head.seq == 0 and not found.heads:
        rec.claim(unknown("chain", "the ledger is empty: nothing was ever recorded"))
    else:
        span = f"positions {found.after.seq + 1} to {found.head.seq}" if found.rows else "nothing new"
        rec.claim(passed("chain", f"{_count(found.rows, 'row')} as written, {span}"))
    if found.heads:
        reason = f"{_count(found.heads, 'signed head')} of the chain found as signed"
        rec.claim(failed("head", _told(of_heads, len(of_heads))) if of_heads else passed("head", reason))
    else:
        rec.find(
            "no_signed_head",
            Severity.INFO,
            f"position {found.head.seq}",
            "no head of the chain was signed: that its newest rows were cut off could not be seen",
            "sign one: ccobs-ops report" if signs else "name a key in the inventory: evidence: {key: …}",
        )


def trusted(ledger: Ledger) -> tuple[Head, Exercise] | None:
    """The head up to which the newest verification found all well, if the chain still has it; and that verification."""
    proof = ledger.last_passed(TARGET, CAPABILITY)
    place = proof.details.get("head") if proof is not None else None
    if proof is None or not isinstance(place, dict):
        return None
    with ledger.reading() as connection:
        wanted = Head(int(place["seq"]), str(place["link"]))
        links = chain.stored(connection, wanted.seq)
    return (wanted, proof) if links == wanted.link else None


def _kept(ctx: Context, rec: Recorder, key: PublicKey) -> list[Head]:
    heads, wrong = files.kept(ctx.inventory, key)
    for each in wrong:
        _find(rec, each)
    if wrong:
        rec.claim(failed("kept", f"{wrong[0].path.name}: {wrong[0].reason}"))
    if ctx.inventory.evidence.store is not None:
        try:
            found = [
                statement.opened(dsse.loads(data, subject=name), key).heads
                for name, data in export.copied_envelopes(ctx, newest=COPIES)
            ]
        except OpsError as error:
            rec.find(
                "copy_not_checked", Severity.CRITICAL, ctx.inventory.evidence.store, error.message, error.hint
            )
            verdict = unknown if error.exit_status == Verdict.UNKNOWN.exit_status else failed
            rec.claim(verdict("copy", error.message.splitlines()[0]))
        else:
            rec.claim(
                passed("copy", f"{_count(len(found), 'envelope')} of the locked copy are signed and compared")
                if found
                else unknown("copy", "the locked copy is empty: nothing was signed yet")
            )
            heads += [head for each in found for head in each]
    return heads


def _public(ctx: Context) -> PublicKey | None:
    found = keys.private(ctx.inventory)
    return None if found is None else found.public


def _find(rec: Recorder, each: Checked) -> None:
    code = "evidence_damaged" if each.verdict is Verdict.FAILED else "evidence_not_checked"
    rec.find(code, Severity.CRITICAL, str(each.path), each.reason)


def _told(faults: Sequence[chain.Fault], count: int) -> str:
    if not faults:
        return f"{_count(count, 'fault')} found"
    more = f", and {count - 1} more" if count > 1 else ""
    return faults[0].message + more


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
