"""Signed evidence: what was signed verifies, here and with tools that are not ours; anything else does not."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.cli.main import run
from ccobs_ops.core.errors import DamagedError, OpsError, UsageError
from ccobs_ops.core.evidence import dsse, files, keys, statement
from ccobs_ops.core.evidence.chain import Head
from ccobs_ops.core.evidence.dsse import Envelope
from ccobs_ops.core.evidence.keys import PrivateKey
from ccobs_ops.core.evidence.statement import About
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import load
from ccobs_ops.inventory_problems import InventoryError

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
INVENTORY = """\
version: 1
environment: lab
stores: {us: {bucket: backups}}
postgres: {observatory: {dsn: host=db, store: us}}
evidence: {key: "file:secrets/evidence.pem"}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory with a key, and a ledger with one validation called E1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CCOBS_INVENTORY", raising=False)
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    keys.generate(tmp_path / "secrets" / "evidence.pem")
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.record(
            Exercise("E1", "postgres/observatory", "validation", Verdict.PASSED, "restored – all", NOON, NOON)
        )
    return tmp_path


@pytest.fixture
def key(here: Path) -> Iterator[PrivateKey]:
    found = keys.private(load(here / "inventory.yaml"))
    assert found is not None
    yield found


def about() -> About:
    return About("validation", "lab", {"id": "E1"}, Head(4, "ab" * 32), NOON)


def answered(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = run([*argv, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_encoding_is_that_of_the_specification() -> None:
    """The test vector of the protocol's own document, and lengths in bytes."""
    assert (
        dsse.pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.pae("é", "ü".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xbc"


def test_what_was_signed_is_what_is_returned(key: PrivateKey) -> None:
    envelope = dsse.loads(dsse.dumps(dsse.sign(b'{"a": 1}', dsse.IN_TOTO, key)), subject="x")
    assert dsse.verify(envelope, key.public) == b'{"a": 1}'


def test_any_change_of_payload_type_or_signature_is_refused(key: PrivateKey) -> None:
    good = dsse.sign(b"payload", dsse.IN_TOTO, key)
    ((identifier, signature),) = good.signatures
    for position in range(0, len(signature) * 8, 37):
        flipped = bytearray(signature)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(DamagedError, match="no signature"):
            dsse.verify(
                Envelope(good.payload, good.payload_type, ((identifier, bytes(flipped)),)), key.public
            )
    with pytest.raises(DamagedError, match="no signature"):
        dsse.verify(Envelope(b"payloaD", good.payload_type, good.signatures), key.public)
    with pytest.raises(DamagedError, match="type"):
        dsse.verify(Envelope(good.payload, "text/plain", good.signatures), key.public)
    with pytest.raises(DamagedError, match="no signature"):
        dsse.verify(Envelope(good.payload, good.payload_type, ()), key.public)


def test_the_type_is_inside_of_what_is_signed(key: PrivateKey) -> None:
    other = dsse.sign(b"payload", "text/plain", key)
    with pytest.raises(DamagedError, match="no signature"):
        dsse.verify(Envelope(b"payload", dsse.IN_TOTO, other.signatures), key.public)


def test_the_key_decides_and_not_what_the_envelope_says_of_it(key: PrivateKey, here: Path) -> None:
    stranger = keys._private(
        (here / "other.pem").read_text() if keys.generate(here / "other.pem") else "", "file:other.pem"
    )
    forged = dsse.sign(b"payload", dsse.IN_TOTO, stranger)
    lying = Envelope(forged.payload, forged.payload_type, ((key.public.id, forged.signatures[0][1]),))
    with pytest.raises(DamagedError, match="no signature"):
        dsse.verify(lying, key.public)
    unnamed = Envelope(b"payload", dsse.IN_TOTO, (("", key.sign(dsse.pae(dsse.IN_TOTO, b"payload"))),))
    assert dsse.verify(unnamed, key.public) == b"payload"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b'{"payload": "!", "payloadType": "a", "signatures": []}', b"[" * 9999],
)
def test_what_is_no_envelope_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(UsageError, match="no DSSE envelope"):
        dsse.loads(data, subject="x.json")


def test_a_statement_has_the_shape_that_in_toto_prescribes(key: PrivateKey) -> None:
    envelope = statement.attest("E1.json", b"document", about(), key)
    document = json.loads(envelope.payload)
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["subject"] == [{"name": "E1.json", "digest": {"sha256": statement.sha256(b"document")}}]
    assert document["predicateType"] == statement.PREDICATE_TYPE
    assert document["predicate"]["head"] == {"seq": 4, "link": "ab" * 32}
    assert statement.opened(envelope, key.public).heads == (Head(4, "ab" * 32),)


def test_a_signed_document_of_another_kind_is_refused(key: PrivateKey) -> None:
    other = json.dumps(
        {"_type": statement.STATEMENT_TYPE, "subject": [], "predicateType": "x", "predicate": {}}
    )
    with pytest.raises(DamagedError, match="not a statement of ccobs-ops"):
        statement.opened(dsse.sign(other.encode(), dsse.IN_TOTO, key), key.public)


def test_openssl_verifies_what_we_sign(here: Path, key: PrivateKey) -> None:
    """The steps of docs/evidence.md: the PAE bytes, the raw signature, and `openssl pkeyutl` with the public key."""
    assert run(["evidence", "export", "E1", "--output", "out"]) == 0
    envelope = json.loads((here / "out" / "E1.json.dsse.json").read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"]
    (here / "pae").write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    (here / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on this host")
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", "secrets/evidence.pem.pub", "-rawin"]
    command += ["-in", "pae", "-sigfile", "sig"]
    assert subprocess.run(command, cwd=here, capture_output=True, timeout=30, check=False).returncode == 0
    (here / "pae").write_bytes((here / "pae").read_bytes().replace(b"PASSED", b"FAILED"))
    assert subprocess.run(command, cwd=here, capture_output=True, timeout=30, check=False).returncode != 0
    document = (here / "out" / "E1.json").read_bytes()
    assert json.loads(payload)["subject"][0]["digest"]["sha256"] == statement.sha256(document)


def test_an_independent_implementation_verifies_what_we_sign(here: Path) -> None:
    """securesystemslib is the DSSE and key code of in-toto and TUF."""
    from securesystemslib.dsse import Envelope as Theirs
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    assert run(["evidence", "export", "E1", "--output", "out"]) == 0
    data = (here / "out" / "E1.json.dsse.json").read_text()
    public = keys.read_public(here / "secrets" / "evidence.pem.pub")
    theirs = SSlibKey(public.id, "ed25519", "ed25519", {"public": public.raw.public_bytes_raw().hex()})
    assert Theirs.from_dict(json.loads(data)).verify([theirs], 1) == {public.id: theirs}
    changed = json.loads(data)
    changed["payload"] = base64.b64encode(base64.b64decode(changed["payload"]) + b" ").decode()
    with pytest.raises(VerificationError):
        Theirs.from_dict(changed).verify([theirs], 1)


def test_a_key_is_private_new_and_what_openssl_calls_a_key(here: Path) -> None:
    made = here / "secrets" / "evidence.pem"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    before = made.read_bytes()
    with pytest.raises(OpsError, match="there already"):
        keys.generate(made)
    made.with_name("evidence.pem.pub").unlink()
    with pytest.raises(OpsError, match="there already"):
        keys.generate(made)
    assert made.read_bytes() == before


def test_a_key_that_others_can_read_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "secrets" / "evidence.pem").chmod(0o644)
    status, told = answered(capsys, "evidence", "export", "E1")
    assert status == 2
    assert "others may use" in told["error"]["message"]


def test_a_private_key_is_not_taken_for_a_public_one_and_other_files_for_none(here: Path) -> None:
    with pytest.raises(UsageError, match="is a private key"):
        keys.read_public(here / "secrets" / "evidence.pem")
    with pytest.raises(UsageError, match="no public ed25519 key"):
        keys.read_public(here / "inventory.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        keys.read_public(here / "missing")


def test_an_export_is_checked_by_document_by_envelope_and_under_another_name(
    here: Path, key: PrivateKey
) -> None:
    assert run(["evidence", "export", "E1", "--output", "out"]) == 0
    document = here / "out" / "E1.json"
    for path in (document, here / "out" / "E1.json.dsse.json"):
        assert files.check(path, key.public).verdict is Verdict.PASSED
    for suffix in ("", files.SUFFIX):
        (here / f"renamed{suffix}").write_bytes((here / "out" / f"E1.json{suffix}").read_bytes())
    assert files.check(here / "renamed", key.public).verdict is Verdict.PASSED
    document.write_bytes(document.read_bytes() + b" ")
    for path in (document, here / "out" / "E1.json.dsse.json"):
        found = files.check(path, key.public)
        assert (found.verdict, "not the document that was signed" in found.reason) == (Verdict.FAILED, True)


def test_what_is_not_there_cannot_be_checked(here: Path, key: PrivateKey) -> None:
    assert run(["evidence", "export", "E1", "--output", "out"]) == 0
    (here / "out" / "E1.json").unlink()
    assert files.check(here / "out" / "E1.json", key.public).verdict is Verdict.UNKNOWN
    assert files.check(here / "nothing.html", key.public).verdict is Verdict.UNKNOWN


def test_the_envelope_is_kept_and_shows_when_the_ledger_lost_its_end(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2, 6):
        with Ledger.open(f"sqlite:///{here}/ledger.db") as ledger:
            ledger.record(
                Exercise(f"E{number}", "postgres/observatory", "backup", Verdict.PASSED, "well", NOON, NOON)
            )
    before = (here / "ledger.db").read_bytes()
    assert run(["evidence", "export", "E5", "--output", "out"]) == 0
    status, told = answered(capsys, "evidence", "verify")
    assert (status, [each["name"] for each in told["claims"]]) == (0, ["chain", "head"])
    assert len(before) > 0

    import sqlite3

    with sqlite3.connect(here / "ledger.db") as connection:
        connection.execute("delete from ccobs_exercises where id not in ('E1', 'E2')")
        connection.execute("delete from ccobs_chain where seq > 2")
    status, told = answered(capsys, "evidence", "verify")
    assert status == 1
    assert {each["code"] for each in told["findings"]} == {"chain_truncated"}
    # what the verification itself wrote makes the chain as long as it was: then the link there is another
    for _ in range(3):
        status, told = answered(capsys, "evidence", "verify")
    assert status == 1
    assert {each["code"] for each in told["findings"]} == {"chain_rewritten"}


def test_an_auditor_needs_no_inventory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evidence", "export", "E1", "--output", "out"]) == 0
    public = (here / "secrets" / "evidence.pem.pub").rename(here / "out" / "evidence.pub")
    shutil.rmtree(here / "secrets")
    (here / "inventory.yaml").unlink()
    status, told = answered(
        capsys,
        "evidence",
        "verify",
        "--offline",
        "--key",
        str(public),
        "out/E1.json",
        "out/E1.json.dsse.json",
    )
    assert (status, told["verdict"], told["measurements"]["files"]) == (0, "PASSED", 2.0)
    assert not (here / "inventory.yaml").exists()
    status, told = answered(capsys, "evidence", "verify", "--offline", "out/E1.json")
    assert (status, "--offline" in told["error"]["message"]) == (2, True)


def test_a_name_that_is_no_file_is_wrong_usage_and_no_verdict(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = answered(capsys, "evidence", "verify", "nothing.html", str(here))
    assert (status, told["error"]["message"]) == (2, f"no such file: nothing.html, {here}")


def test_without_a_key_nothing_is_signed_and_it_says_how_to_make_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "inventory.yaml").write_text(INVENTORY.replace("evidence:", "#"))
    status, told = answered(capsys, "evidence", "export", "E1")
    assert (status, "keygen" in told["error"]["hint"]) == (2, True)
    status, told = answered(capsys, "evidence", "verify")
    assert status == 0
    assert [each["code"] for each in told["findings"]] == ["no_signed_head"]


@pytest.mark.parametrize(
    ("evidence", "key"),
    [
        ("{store: us, key: file:k}", "object_lock"),
        ("{store: eu, key: file:k}", "no store"),
        ("{store: locked}", "no key"),
        ("{kee: file:k}", "kee"),
    ],
)
def test_a_copy_needs_a_locked_store_and_a_key(here: Path, evidence: str, key: str) -> None:
    text = INVENTORY.replace('{key: "file:secrets/evidence.pem"}', evidence)
    locked = (
        "{us: {bucket: backups}, locked: {bucket: evidence, object_lock: {mode: COMPLIANCE, retain: 400d}}}"
    )
    (here / "inventory.yaml").write_text(text.replace("{us: {bucket: backups}}", locked))
    with pytest.raises(InventoryError) as caught:
        load(here / "inventory.yaml")
    assert key in str(caught.value)
