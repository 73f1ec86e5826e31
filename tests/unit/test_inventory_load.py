"""Every mistake in an inventory is found, in one go, and points at its file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccobs_ops.inventory_load import load, loads
from tests.unit.inventories import GOOD, edited, only, problems, with_target


def test_a_good_inventory_knows_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "inv.yaml"
    file.write_text(GOOD)
    inventory = load(file)
    assert inventory.path == file
    assert inventory.resolve("spool") == tmp_path / "spool"
    assert inventory.postgres["observatory"].store == "us"


@pytest.mark.parametrize(
    ("text", "line", "key", "message", "hint"),
    [
        pytest.param(
            edited("version: 1", "version: 2"), 1, "version", "must be 1, not 2", "example", id="version"
        ),
        pytest.param(
            edited("environment: lab", "environment: stagin"),
            2,
            "environment",
            "not 'stagin'",
            "did you mean 'staging'?",
            id="literal",
        ),
        pytest.param(
            edited("environment: lab\n", ""),
            1,
            "environment",
            "is required",
            "add `environment:`",
            id="missing",
        ),
        pytest.param(
            edited("us: {bucket: backups-us}", "us: {buket: backups-us, bucket: backups-us}"),
            4,
            "stores.us.buket",
            "no such key",
            "did you mean 'bucket'?",
            id="unknown key",
        ),
        pytest.param(
            edited("us: {bucket: backups-us}", "us: {bucket: Backups_US}"),
            4,
            "stores.us.bucket",
            "'Backups_US' cannot be a bucket",
            "lowercase",
            id="bucket",
        ),
        pytest.param(
            edited("  eu: {", "  Eu-1: {"),
            5,
            "stores.Eu-1",
            "'Eu-1' cannot be a name",
            "lowercase",
            id="name",
        ),
        pytest.param(
            edited("https://s3", "s3"), 5, "stores.eu.endpoint", "begins with http", "https://", id="endpoint"
        ),
        pytest.param(
            edited("    store: us", "    store: observatory_us"),
            9,
            "postgres.observatory.store",
            "there is no store 'observatory_us'",
            "known stores: eu, us",
            id="store",
        ),
        pytest.param(
            with_target("objectives: {rto: 30}"),
            10,
            "postgres.observatory.objectives.rto",
            "needs a unit",
            "write 30s",
            id="duration without a unit",
        ),
        pytest.param(
            with_target("objectives:\n  rto: soon"),
            11,
            "postgres.observatory.objectives.rto",
            "'soon' is no duration",
            "write for example 30s",
            id="duration",
        ),
        pytest.param(
            with_target("backup: {part_size: big}"),
            10,
            "postgres.observatory.backup.part_size",
            "'big' is no size",
            "64MiB",
            id="size",
        ),
        pytest.param(
            with_target("canary:"),
            10,
            "postgres.observatory.canary",
            "not nothing",
            "indent",
            id="empty mapping",
        ),
        pytest.param(
            with_target("tags: {tier: 1}"),
            10,
            "postgres.observatory.tags.tier",
            "must be text, not 1",
            "quotes",
            id="number for text",
        ),
        pytest.param(
            GOOD + "schedules:\n  nightly_validation: every night\n",
            11,
            "schedules.nightly_validation",
            "no cron expression",
            "five fields",
            id="cron",
        ),
        pytest.param(
            with_target("dns: x"),
            10,
            "postgres.observatory.dns",
            "no such key",
            "did you mean 'dsn'?",
            id="unknown key of a target",
        ),
        pytest.param(
            with_target("checks: [{name: a, sql: select 1, expect: [1]}]"),
            10,
            "postgres.observatory.checks[0].expect",
            "not a list",
            "",
            id="union",
        ),
    ],
)
def test_what_a_key_does_not_allow(text: str, line: int, key: str, message: str, hint: str) -> None:
    problem = only(text)
    assert (problem.line, problem.key) == (line, key)
    assert message in problem.message
    assert hint in problem.hint
    assert str(problem).startswith(f"inv.yaml:{line}: {key}: ")
    assert "\nHINT: " in str(problem)


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("objectives: {rpo: 500ms}\narchive: {partial_interval: 200ms}", "objectives.rpo"),
        ("canary: {interval: 2m}", "canary.interval"),
        ("archive: {partial_interval: 2m}", "archive.partial_interval"),
        ("objectives: {backup_age: 1m}", "objectives.backup_age"),
        ("objectives: {rto: 5h}", "objectives.rto"),
        ("sandbox: {ttl: 10m}", "sandbox.ttl"),
        ("retention: {window: 1d}", "retention.window"),
        ("backup: {deadline: 1m}", "backup.deadline"),
        ("objectives: {time_to_detect: 500ms}", "objectives.time_to_detect"),
    ],
)
def test_objectives_that_contradict(lines: str, key: str) -> None:
    problem = only(with_target(lines))
    assert problem.key == f"postgres.observatory.{key}"
    assert "is shorter than" in problem.message
    assert problem.line >= 10


def test_what_is_not_written_down_is_not_pointed_at() -> None:
    problem = only(with_target("canary: {interval: 2m}\nobjectives: {time_to_detect: 2m}"))
    assert (problem.line, problem.key) == (10, "postgres.observatory.canary.interval")
    assert "objectives.rpo (1m) is shorter than canary.interval (2m)" in problem.message


def second(store: str, prefix: str) -> str:
    return GOOD + f"  other:\n    dsn: host=other\n    store: {store}\n    prefix: {prefix}\n"


@pytest.mark.parametrize("prefix", ["postgres/observatory", "/postgres/observatory/", "postgres"])
def test_archives_must_not_overlap(prefix: str) -> None:
    problem = only(second("us", prefix))
    assert (problem.line, problem.key) == (13, "postgres.other.prefix")
    assert "postgres.observatory" in problem.message


def test_a_prefix_that_only_begins_alike_is_fine() -> None:
    assert len(loads(second("us", "postgres/observatory2")).postgres) == 2
    assert len(loads(second("eu", "postgres/observatory")).postgres) == 2


def test_archives_overlap_through_two_stores_of_one_bucket() -> None:
    text = second("deep", "observatory/x").replace(
        "stores:\n", "stores:\n  deep: {bucket: backups-us, prefix: postgres}\n"
    )
    assert only(text).key == "postgres.other.prefix"


def test_one_store_under_two_names() -> None:
    problem = only(
        edited("  eu: {", "  again: {bucket: backups-eu, endpoint: 'https://s3.example.com/'}\n  eu: {")
    )
    assert (problem.line, problem.key) == (6, "stores.eu.bucket")
    assert "stores.again" in problem.message


@pytest.mark.parametrize(
    ("credentials", "key"),
    [
        ("{access_key: env:A}", "access_key"),
        ("{secret_key: env:A}", "secret_key"),
        ("{session_token: env:A}", "session_token"),
    ],
)
@pytest.mark.parametrize("part", ["credentials", "read_only"])
def test_half_a_credential(part: str, credentials: str, key: str) -> None:
    problem = only(edited("bucket: backups-us}", f"bucket: backups-us, {part}: {credentials}}}"))
    assert problem.key == f"stores.us.{part}.{key}"


def test_encryption_that_cannot_work() -> None:
    kms = edited('com"', 'com", encryption: {mode: "aws:kms"}')
    assert only(kms).key == "stores.eu.encryption.mode"
    assert loads(edited("backups-us}", 'backups-us, encryption: {mode: "aws:kms"}}'))  # AWS has a default key
    unused = edited("backups-us}", "backups-us, encryption: {mode: AES256, kms_key: k}}")
    assert only(unused).key == "stores.us.encryption.kms_key"


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db user=ccobs password=hunter22",
        "host=db user=ccobs PASSWORD = hunter22",
        "host=db sslpassword=hunter22",
        "postgresql://ccobs:hunter22@db/observatory",
        "postgresql://db/observatory?user=ccobs&password=hunter22",
    ],
)
def test_a_password_in_the_dsn_is_refused_and_not_repeated(dsn: str) -> None:
    problem = only(edited("dsn: host=db user=ccobs dbname=observatory", f'dsn: "{dsn}"'))
    assert (problem.line, problem.key) == (8, "postgres.observatory.dsn")
    assert "hunter22" not in str(problem)


@pytest.mark.parametrize(
    "dsn", ["postgresql://ccobs@db:5432/observatory", "host=db passfile=/etc/pgpass user=ccobs", "service=x"]
)
def test_a_dsn_without_a_password_is_fine(dsn: str) -> None:
    assert loads(edited("dsn: host=db user=ccobs dbname=observatory", f'dsn: "{dsn}"')).postgres


def test_a_secret_where_its_reference_belongs_is_not_repeated() -> None:
    problem = only(with_target("password: hunter22"))
    assert "never written" in problem.message
    assert "hunter22" not in str(problem)


def test_a_password_in_the_ledgers_url() -> None:
    assert only(GOOD + "ledger: postgresql://u:hunter22@db/ledger\n").key == "ledger"
    assert loads(GOOD + "ledger: postgresql://u@db/ledger\n").ledger_url == "postgresql://u@db/ledger"


def test_checks() -> None:
    found = problems(
        with_target(
            "checks:\n"
            "- {name: a, sql: select 1}\n"
            "- {name: b, sql: select 1, expect: 1, compare: true}\n"
            "- {name: c, sql: select 1, expect: 0}\n"
            "- {name: c, sql: select 1, compare: true}"
        )
    )
    assert [(problem.line, problem.key.rpartition(".")[2]) for problem in found] == [
        (11, "checks[0]"),
        (12, "checks[1]"),
        (14, "name"),
    ]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        GOOD.replace("environment: lab", "environment: moon")
        .replace("us: {bucket: backups-us}", "us: {bucket: backups-us, tiemout: 1s}")
        .replace("store: us", "store: eur\n    objectives: {rto: 9h, rpo: never}")
    ) + "    checks:\n    - {name: a, sql: select 1}\n    - {name: B, sql: select 1, expect: 1}\n"
    assert [(problem.line, problem.key) for problem in problems(text)] == [
        (2, "environment"),
        (4, "stores.us.tiemout"),
        (9, "postgres.observatory.store"),
        (10, "postgres.observatory.objectives.rpo"),
        (10, "postgres.observatory.objectives.rto"),
        (12, "postgres.observatory.checks[0]"),
        (13, "postgres.observatory.checks[1].name"),
    ]


def test_no_second_error_follows_from_a_first() -> None:
    """A store that is wrong itself is not missing; an objective that cannot be read contradicts nothing."""
    found = problems(edited("us: {bucket: backups-us}", "us: {bucket: X}"))
    assert [problem.key for problem in found] == ["stores.us.bucket"]
    found = problems(with_target("objectives: {rpo: x}\ncanary: {interval: 2m}"))
    assert [problem.key for problem in found] == ["postgres.observatory.objectives.rpo"]
