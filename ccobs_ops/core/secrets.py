"""Look up secrets where the inventory says they are: `env:NAME`, `file:PATH`, `secretsmanager:ARN[#KEY]`.

Whatever is resolved is made known to the redactor at once. Errors name the reference, never the value.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from ccobs_ops.core.errors import UnknownError, UsageError
from ccobs_ops.core.redaction import REDACT

MAX_BYTES = 64 * 1024
CONNECT_SECONDS = 5
READ_SECONDS = 10
ATTEMPTS = 3


class SecretError(UsageError):
    """A secret is not where the inventory says it is, or is kept where others can read it."""


def resolve(ref: str, *, base: Path) -> str:
    """The secret that `ref` names; a relative file is relative to the folder `base`.

    One trailing newline of a file is dropped. `secretsmanager:ARN#KEY` takes one key of a secret that is a JSON object.
    Raises SecretError when it is missing, empty or readable by others, UnknownError when Secrets Manager is away.
    """
    scheme, _, name = ref.partition(":")
    if scheme == "env":
        value = _from_environment(name)
    elif scheme == "file":
        value = _from_file(ref, (base / name).absolute())
    elif scheme == "secretsmanager":
        value = _from_secrets_manager(ref, name)
    else:
        raise SecretError(
            f"a secret reference begins with env:, file: or secretsmanager:, not {scheme!r}:"
            if ":" in ref
            else "a secret reference begins with env:, file: or secretsmanager:",
            hint="name where the secret is; never write the secret itself into the inventory",
        )
    if not value:
        raise SecretError(f"the secret {ref} is empty", hint="put the secret there")
    REDACT.add(value)
    return value


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise SecretError(
            f"the secret env:{name} is missing: the environment variable {name} is not set",
            hint=f"export {name} in the environment of this process",
        ) from None


def _from_file(ref: str, path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretError(
            f"the secret {ref} cannot be read: {path}: {error.strerror}",
            hint="relative paths are relative to the inventory's folder",
        ) from None
    try:
        # asked of the open file, so that it cannot be exchanged in between
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"the secret {ref} is no file: {path}", hint="name a regular file")
        if status.st_mode & 0o077:
            raise SecretError(
                f"the secret {ref} is refused: others may use {path}, its mode is "
                f"{stat.S_IMODE(status.st_mode):04o}",
                hint=f"chmod 600 {path}, and change the secret if others could have read it",
            )
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise SecretError(f"the secret {ref} is longer than 64 KiB", hint=f"see what {path} is")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretError(f"the secret {ref} is not UTF-8 text", hint=f"see what {path} is") from None
    return text.removesuffix("\n").removesuffix("\r")


def _from_secrets_manager(ref: str, name: str) -> str:
    import boto3  # noqa: PLC0415 - costs start-up time where no secret is kept there
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    arn, _, key = name.partition("#")
    parts = arn.split(":")
    region = parts[3] if arn.startswith("arn:") and len(parts) > 6 else None
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
    )
    try:
        client = boto3.client("secretsmanager", region_name=region, config=config)
        text = client.get_secret_value(SecretId=arn).get("SecretString", "")
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an error")
        kind = UnknownError if code in ("InternalServiceError", "ThrottlingException") else SecretError
        raise kind(
            f"the secret {ref} cannot be read: secrets manager answered {code}",
            hint="see whether it exists in that region and this role may call secretsmanager:GetSecretValue",
        ) from None
    except BotoCoreError as error:
        raise UnknownError(
            f"the secret {ref} cannot be read: {REDACT(str(error))}",
            hint="see whether this host reaches secrets manager and has AWS credentials",
        ) from None
    if not key:
        return text
    REDACT.add(text)
    try:
        value = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        raise SecretError(
            f"the secret {ref} is no JSON object with a key {key!r}", hint="see which keys the secret has"
        ) from None
    return value if isinstance(value, str) else json.dumps(value)
