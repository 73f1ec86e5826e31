"""Every mistake in an etcd cluster of an inventory is found, and points at its key."""

from __future__ import annotations

import pytest

from ccobs_ops.inventory_load import loads
from ccobs_ops.inventory_problems import InventoryError, Problem

GOOD = """\
version: 1
environment: lab
stores:
  us: {bucket: backups-us}
etcd:
  control:
    endpoints: ["https://10.0.0.1:2379"]
    store: us
"""


def problems(text: str) -> list[Problem]:
    with pytest.raises(InventoryError) as caught:
        loads(text, "inv.yaml")
    return list(caught.value.problems)


def with_target(lines: str) -> str:
    return GOOD + "".join(f"    {line}\n" for line in lines.splitlines())


def test_a_good_one_is_good() -> None:
    assert loads(GOOD, "inv.yaml").etcd["control"].schedule == "0 * * * *"


@pytest.mark.parametrize(
    ("lines", "key", "told"),
    [
        ("access: kubernetes", "access", "does not say how"),
        ("tls: {cert: a.crt}", "tls.cert", "belong together"),
        ("tls: {key: 'file:a.key'}", "tls.key", "belong together"),
        ("user: ccobs", "user", "without a password"),
        ("password: env:PW", "password", "without a user"),
        ("access: kubernetes\nkubernetes: {}\nuser: u\npassword: env:PW", "user", "process list"),
        ("objectives: {rpo: 30m}", "objectives.rpo", "between two snapshots (1h)"),
        ("objectives: {backup_age: 59m}", "objectives.backup_age", "between two snapshots (1h)"),
        ("schedule: '0 */6 * * *'", "schedule", "(6h)"),
        ("objectives: {rto: 3h}", "objectives.rto", "sandbox.ttl"),
        ("snapshot: {deadline: 1m}", "snapshot.deadline", "snapshot would be ended"),
        ("retention: {window: 1h}", "retention.window", "all that is kept"),
        ("material: {}", "material", "never stored in clear"),
        (
            "material: {kms_key: k, age: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2el]}",
            "material",
            "one of the two",
        ),
        ("material: {age: [AGE-SECRET-KEY-1QQQQQQ]}", "material.age[0]", "is a public key"),
        ("material: {kms_key: k, paths: [etc/kubernetes]}", "material.paths[0]", "no absolute path"),
        ("material: {kms_key: k, paths: [/etc/../root]}", "material.paths[0]", "no absolute path"),
        ("material: {kms_key: k, collector: kubernetes}", "material.collector", "does not say how"),
        ("kubernetes: {pki_dir: pki}", "kubernetes.pki_dir", "no absolute path"),
        ("kubernetes: {method: ssh}", "kubernetes.method", "'exec' or 'job'"),
        ("quota_ratio: 0.5", "quota_ratio", "no such key"),
    ],
)
def test_what_contradicts_itself(lines: str, key: str, told: str) -> None:
    found = problems(with_target(lines))
    text = "\n".join(map(str, found))
    assert [
        problem for problem in found if problem.key == f"etcd.control.{key}" and told in problem.message
    ], text


def test_direct_access_needs_an_endpoint_and_http_no_certificate() -> None:
    [none] = problems(GOOD.replace('    endpoints: ["https://10.0.0.1:2379"]\n', ""))
    assert none.key == "etcd.control.endpoints"
    [plain] = problems(with_target("tls: {ca: ca.crt}").replace("https://10", "http://10"))
    assert plain.key == "etcd.control.tls"


def test_one_member_is_named_once() -> None:
    [twice] = problems(GOOD + "  other:\n    endpoints: ['https://10.0.0.1:2379']\n    store: us\n")
    assert twice.key == "etcd.other.endpoints[0]"
    assert "first by etcd.control" in twice.message


def test_a_store_must_exist_and_archives_must_not_overlap_those_of_postgres() -> None:
    [missing] = problems(GOOD.replace("store: us", "store: uz"))
    assert missing.key == "etcd.control.store"
    [overlap] = problems(GOOD + "    prefix: postgres/a/deeper\npostgres:\n  a: {dsn: host=db, store: us}\n")
    assert "overlaps that of postgres.a" in overlap.message


def test_a_secret_in_a_reference_is_not_repeated() -> None:
    [found] = problems(with_target("material: {age: [AGE-SECRET-KEY-1HUNTER2HUNTER2]}"))
    assert "HUNTER2" not in str(found)
