"""No secret leaves: neither one that we know, nor one that looks like one."""

from __future__ import annotations

import json
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ccobs_ops.core import redaction
from ccobs_ops.core.redaction import MASK, Redactor

SECRET = "wJalr+XUtn/FEMI"
TYPICAL = st.text(string.ascii_letters + string.digits + "/+=_-.!#%", min_size=8, max_size=40)
"""What generators of passwords and keys make."""


@given(
    secrets=st.lists(
        st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=4, max_size=20),
        min_size=1,
        max_size=5,
    ),
    text=st.text(max_size=60),
    data=st.data(),
)
def test_no_known_secret_survives(secrets: list[str], text: str, data: st.DataObject) -> None:
    redact = Redactor(secrets)
    for secret in secrets:
        at = data.draw(st.integers(0, len(text)))
        form = data.draw(st.sampled_from([secret, quote(secret, safe=""), json.dumps(secret)[1:-1]]))
        text = text[:at] + form + text[at:]
    told = redact(text)
    assert not [secret for secret in secrets if secret in told]
    assert MASK in told


def test_a_secret_that_contains_another_goes_whole() -> None:
    assert Redactor(["pass", "passphrase"])("a passphrase b") == f"a {MASK} b"


def test_a_secret_that_is_no_text_in_the_environment_is_known_too() -> None:
    secret = b"gr\xfc\xdfe".decode("utf-8", "surrogateescape")  # as os.environ gives it
    assert Redactor([secret])(f"a {secret} b gr%FC%DFe") == f"a {MASK} b {MASK}"


def test_short_values_do_not_blank_out_words() -> None:
    assert Redactor(["abc", ""])("abc is a word") == "abc is a word"


FORMS = {
    "url": "postgresql://app:{}@db.internal:5432/observatory?sslmode=require",
    "url without user": "redis://:{}@cache:6379/0",
    "url in json": '{{"dsn": "postgresql://app:{}@db/observatory"}}',
    "conninfo": "host=db user=app password={} dbname=observatory",
    "conninfo quoted": "host=db user=app password = '{}' dbname=observatory",
    "query": "postgresql://db/observatory?user=app&password={}",
    "environment": "PGPASSWORD={}",
    "aws file": "aws_secret_access_key = {}",
    "aws environment": "AWS_SESSION_TOKEN={} aws s3 ls",
    "json": '{{"secret_key": "{}", "region": "us-east-1"}}',
    "json compact": '{{"SecretAccessKey":"{}","Expiration":"soon"}}',
    "json in json": '{{"body": "{{\\"api_key\\": \\"{}\\", \\"n\\": 1}}"}}',
    "yaml": "client_secret: {}",
    "python": "{{'token': '{}'}}",
    "sql": "STATEMENT:  ALTER ROLE app WITH PASSWORD '{}' VALID UNTIL 'infinity'",
    "option": "etcdctl --password {} get /",
    "option joined": "mysql --password={} -e select",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@given(secret=TYPICAL)
def test_what_looks_like_a_secret_goes_whole_and_the_rest_stays(form: str, secret: str) -> None:
    before, after = (part.format() for part in form.split("{}", 1))
    assume(not secret.startswith(("-", MASK)) and secret not in before + after)
    told = Redactor()(before + secret + after)
    assert secret not in told
    assert told.startswith(before + MASK)
    assert told.removeprefix(before + MASK) in (after, ""), "what follows stays, or goes with the secret"


@pytest.mark.parametrize(
    "text",
    [
        "password='two words' host=db",
        """password='it\\'s two words' host=db""",
        '{"password": "two words, a \\" and \'"}',
        '{"note": "{\\"password\\": \\"two words\\"}"}',
        "password: 'it''s two words'",
        "postgresql://app:tw@o:words@db/x",
        "password=two\\ words host=db",
    ],
)
def test_spaces_quotes_and_signs_inside_a_secret_do_not_end_it(text: str) -> None:
    told = Redactor()(text)
    assert "two" not in told
    assert "words" not in told
    assert MASK in told


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("Authorization: Bearer abc.def", f"Authorization: {MASK}"),
        ("> authorization: Basic YTpi\n> Host: x", f"> authorization: {MASK}\n> Host: x"),
        ('{"Authorization": "Bearer abc", "Host": "x"}', f'{{"Authorization": "{MASK}", "Host": "x"}}'),
        ("Authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=c", f"Authorization: {MASK}"),
    ],
)
def test_authorization_goes_to_the_end_of_its_line(header: str, told: str) -> None:
    assert Redactor()(header) == told


def test_aws_key_ids() -> None:
    assert Redactor()("for AKIAIOSFODNN7EXAMPLE: denied") == f"for {MASK}: denied"


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----\nmore"


@pytest.mark.parametrize("cut", [slice(None), slice(0, 40), slice(20, None), slice(33, None)])
def test_private_keys_also_when_one_end_is_cut_off(cut: slice) -> None:
    told = Redactor()(PEM[cut])
    assert "MII" not in told
    assert "IBAAKC" not in told
    assert told.endswith("more") == PEM[cut].endswith("more")


@pytest.mark.parametrize(
    "text",
    [
        "segment 0000000100000000000000A3 is missing from s3://backups/postgres/observatory/wal/",
        "restored to 2026-11-23T02:14:07.312Z, 4182 of 4182 canaries present, none later",
        "see http://127.0.0.1:8333/ready and file:secrets/us_access_file",
        "the inventory names secretsmanager:arn:aws:secretsmanager:us-east-1:1:secret",
        "password authentication failed for user app",
    ],
)
def test_ordinary_messages_stay_as_they_are(text: str) -> None:
    assert Redactor()(text) == text


@given(st.text(max_size=80))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    redact = Redactor([SECRET])
    once = redact(text + " password=" + SECRET)
    assert redact(once) == once


@pytest.mark.parametrize(
    "unit", ["a", "a.", "password", "password=", "a://", "-----BEGIN ", "token\\'", '\\"']
)
def test_no_input_makes_it_slow(unit: str) -> None:
    text = (unit * 9000)[:8192]
    began = time.process_time()
    Redactor()("\n".join([text] * 10))
    assert time.process_time() - began < 3


@pytest.mark.parametrize("place", range(len(redaction._PATTERNS)))
@given(data=st.data())
def test_what_a_pattern_finds_is_never_spared_it(place: int, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(redaction._PATTERNS[place]))
    assert redaction._GUARD.search(text)
