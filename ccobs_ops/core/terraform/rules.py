"""The rules that are data: `data/aws.yaml` (impact, severity), `data/parity.yaml`, and files of the inventory's own.

Reading them says what is wrong with a rule; `impact.py` and `parity.py` apply them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.terraform.change import DriftClass, Objective

KINDS = frozenset({
    "lowered", "raised", "turned_off", "turned_on", "ranked", "removed", "added", "exchanged", "narrowed", "widened",
    "changed", "untagged", "rarer", "expires_sooner", "replicates_less", "protects_less", "grants_less", "deleted", "created",
})  # fmt: skip
_OF_OBJECT = frozenset({"deleted", "created"})
COMPARISONS = frozenset({"equal", "at_least", "version", "size", "set", "present"})
SELECTORS = {
    "aws_backup_selection": ("selection_tag", "condition"),
    "aws_dlm_lifecycle_policy": ("policy_details",),
}
"""Resources that select what is backed up by its tags, and where they say by which."""
IDENTIFIED = {
    "aws_s3_bucket": ("bucket", "id"),
    "aws_db_instance": ("identifier", "id"),
    "aws_rds_cluster_instance": ("identifier", "id"),
    "aws_rds_cluster": ("cluster_identifier", "id"),
    "aws_docdb_cluster": ("cluster_identifier", "id"),
    "aws_docdb_cluster_instance": ("identifier", "id"),
    "aws_neptune_cluster": ("cluster_identifier", "id"),
    "aws_neptune_cluster_instance": ("identifier", "id"),
    "aws_kms_key": ("key_id", "id"),
    "aws_kms_external_key": ("id",),
    "aws_kms_replica_key": ("key_id", "id"),
    "aws_kms_replica_external_key": ("key_id", "id"),
    "aws_iam_role": ("name", "id"),
}
"""By which attributes an object of the account is recognised in a state."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of impact: which attribute of which types, what makes it weaker, and what that does."""

    name: str
    types: tuple[str, ...]
    attributes: tuple[tuple[str, ...], ...]
    weaker: str
    objective: Objective
    severity: Severity
    says: str
    why: str
    unit: str | None = None
    unset: float | None = None
    forever: float | None = None
    plus: tuple[tuple[tuple[str, ...], float], ...] = ()
    order: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    keys: re.Pattern[str] | None = None
    where: re.Pattern[str] | None = None
    roles: tuple[str, ...] = ()

    @property
    def of_object(self) -> bool:
        """Whether it is about the whole object, which was deleted or created."""
        return self.weaker in _OF_OBJECT


@dataclass(frozen=True, slots=True)
class ParityRole:
    """Types that play a role which a dr root must play, too, and what of them must agree: path, comparison, severity, why."""

    types: tuple[str, ...]
    attributes: tuple[tuple[tuple[str, ...], str, Severity, str], ...]
    missing: Severity = Severity.CRITICAL


@dataclass(frozen=True, slots=True)
class ImpactRules:
    """All rules of impact and severity, read once."""

    rules: tuple[Rule, ...]
    stateful: tuple[str, ...] = ()
    severities: tuple[tuple[tuple[str, ...], Mapping[str, Severity]], ...] = ()
    parity: tuple[ParityRole, ...] = ()
    _by_type: dict[str, tuple[Rule, ...]] = field(default_factory=dict, compare=False, repr=False)

    def of(self, type_name: str) -> tuple[Rule, ...]:
        """The rules about a resource type."""
        if type_name not in self._by_type:
            self._by_type[type_name] = tuple(
                rule for rule in self.rules if any(fits(type_name, each) for each in rule.types)
            )
        return self._by_type[type_name]

    def is_stateful(self, type_name: str) -> bool:
        """Whether an object of this type holds data that is lost with it."""
        return any(fits(type_name, each) for each in self.stateful)

    def severity(self, type_name: str, drift_class: DriftClass) -> Severity:
        """How much a change matters of which no rule of impact knows anything."""
        if drift_class in (DriftClass.CHANGED_INFORMATIONAL, DriftClass.MOVED):
            return Severity.INFO
        if drift_class is DriftClass.DELETED and self.is_stateful(type_name):
            return Severity.CRITICAL
        for types, by_class in self.severities:
            if drift_class.value in by_class and any(fits(type_name, each) for each in types):
                return by_class[drift_class.value]
        return Severity.INFO if drift_class is DriftClass.PENDING else Severity.WARNING


def fits(text: str, pattern: str) -> bool:
    """Whether `text` is like `pattern`, in which `*` stands for anything and all else for itself."""
    return _pattern(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def load_rules(extra: Sequence[Path] = ()) -> ImpactRules:
    """The rules that come with this package and those in the files `extra` (inventory: `impact_rules`).

    A rule of an extra file replaces one of the same name; `roles:` are what a dr root must have, as in `parity.yaml`.
    Raises UsageError for a file or rule that cannot be read.
    """
    return _merged(tuple(extra)) if extra else _packaged()


@functools.cache
def _packaged() -> ImpactRules:
    return _merged(())


def _merged(extra: tuple[Path, ...]) -> ImpactRules:
    packaged = [(name, data(name)) for name in ("parity.yaml", "aws.yaml")]
    documents = [*packaged, *((str(path), _load(path)) for path in extra)]
    rules: dict[str, Rule] = {}
    stateful: list[str] = []
    severities: list[tuple[tuple[str, ...], Mapping[str, Severity]]] = []
    parity: list[ParityRole] = []
    for source, document in reversed(documents):
        if not isinstance(document, dict) or document.get("version") != 1:
            raise _wrong(source, "it does not begin with version: 1")
        for row in document.get("rules") or ():
            rule = _rule(source, row)
            rules.setdefault(rule.name, rule)
        stateful.extend(document.get("stateful") or ())
        for row in document.get("severities") or ():
            by_class = {key: Severity(value) for key, value in row.items() if key != "types"}
            severities.append((tuple(row["types"]), by_class))
        parity.extend(_role(source, row) for row in document.get("roles") or ())
    return ImpactRules(tuple(rules.values()), tuple(stateful), tuple(severities), tuple(parity))


def data(name: str) -> Any:
    """A data file of this package, parsed."""
    return _parse(
        resources.files("ccobs_ops.core.terraform").joinpath("data", name).read_text(encoding="utf-8")
    )


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _load(path: Path) -> Any:
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(str(path), (error.strerror or "it cannot be opened").lower()) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise _wrong(str(path) + line, str(getattr(error, "problem", "") or "it is no YAML")) from None


def _wrong(source: str, what: str) -> UsageError:
    return UsageError(
        f"the impact rules in {source} cannot be used: {what}",
        hint="docs/terraform-impact.md shows the form of a rule",
    )


def _rule(source: str, row: Any) -> Rule:
    if not isinstance(row, dict) or not isinstance(row.get("rule"), str):
        raise _wrong(source, "a rule has no name (`rule:`)")
    where = f"{source}, rule {row['rule']}"
    row = dict(row)
    known = (
        "rule", "types", "attribute", "weaker", "objective", "severity", "says", "why", "unit", "unset", "forever", "plus",
        "order", "days", "keys", "where", "roles",
    )  # fmt: skip
    if strange := sorted(set(row) - set(known)):
        raise _wrong(where, f"it has a key that is not known, {strange[0]!r}")
    if missing := [
        key for key in ("types", "weaker", "objective", "severity", "says", "why") if not row.get(key)
    ]:
        raise _wrong(where, f"it has no `{missing[0]}:`")
    if row["weaker"] not in KINDS:
        raise _wrong(where, f"weaker: {row['weaker']} is not known; known: {', '.join(sorted(KINDS))}")
    if not row.get("attribute") and row["weaker"] not in _OF_OBJECT:
        raise _wrong(where, "it has no `attribute:`")
    attributes = row.get("attribute") or []
    try:
        str(row["says"]).format(before="", after="", lost="", gained="")
        return Rule(
            name=row["rule"],
            types=_strings(row["types"]),
            attributes=tuple(_path(each) for each in _strings(attributes)),
            weaker=row["weaker"],
            objective=Objective(row["objective"]),
            severity=Severity(row["severity"]),
            says=row["says"],
            why=row["why"],
            unit=row.get("unit"),
            unset=_amount(row.get("unset")),
            forever=_amount(row.get("forever")),
            plus=tuple((_path(key), float(value)) for key, value in (row.get("plus") or {}).items()),
            order=_strings(row.get("order") or ()),
            days=_path(row.get("days") or ""),
            keys=re.compile(row["keys"]) if row.get("keys") else None,
            where=re.compile(row["where"]) if row.get("where") else None,
            roles=_strings(row.get("roles") or ()),
        )
    except (ValueError, TypeError, AttributeError, LookupError, re.error) as error:
        raise _wrong(where, str(error) or type(error).__name__) from None


def _role(source: str, row: Any) -> ParityRole:
    try:
        attributes = tuple(
            (_path(each["path"]), str(each["compare"]), Severity(each["severity"]), str(each["why"]))
            for each in row["attributes"]
        )
        role = ParityRole(_strings(row["types"]), attributes, Severity(row.get("missing", "critical")))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _wrong(f"{source}, under roles", f"{type(error).__name__} {error}") from None
    if strange := [each[1] for each in attributes if each[1] not in COMPARISONS]:
        raise _wrong(f"{source}, under roles", f"compare: {strange[0]} is not known")
    return role


def _amount(value: Any) -> float | None:
    return float("inf") if value == "never" else None if value is None else float(value)


def _strings(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(each) for each in value)


def _path(text: str) -> tuple[str, ...]:
    return tuple(text.replace("[*]", "").split(".")) if text else ()


@functools.cache
def vocabulary() -> frozenset[str]:
    """Every attribute name that a rule of this package looks at: masking leaves these keys readable."""
    words = {
        "value",
        "tags",
        "tags_all",
        "id",
        "Statement",
        "Effect",
        "prefix",
        "filter",
        "and",
        "tag",
        "status",
        "key",
    }
    for rule in _packaged().rules:
        for path in (*rule.attributes, rule.days, *(path for path, _ in rule.plus)):
            words.update(path)
    for row in data("parity.yaml")["roles"]:
        for attribute in row["attributes"]:
            words.update(_path(attribute["path"]))
    return frozenset(words)


@functools.cache
def watched() -> Mapping[str, tuple[str, ...]]:
    """By resource type the attributes of the state that parity, coverage and the selection of backups look at."""
    found: dict[str, dict[str, None]] = {}
    for row in data("parity.yaml")["roles"]:
        for name in row["types"]:
            kept = found.setdefault(name, {"tags": None})
            kept.update(dict.fromkeys(_path(attribute["path"])[0] for attribute in row["attributes"]))
    for table in (IDENTIFIED, SELECTORS):
        for name, attributes in table.items():
            found.setdefault(name, {}).update(dict.fromkeys(attributes))
    return {name: tuple(kept) for name, kept in found.items()}


_NAMES = ("id", "arn", "name", "bucket", "identifier", "tags")
_TOLD = ("version", "class", "type", "status", "size", "mode")


def kept(type_name: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """What of an object in the state is looked at later; None for nothing.

    Of types that no packaged rule names (another provider's, which a file of the inventory's own may name) these are numbers,
    switches, names, and words like a version or a size.
    """
    named = watched().get(type_name)
    if named is not None:
        return {name: values[name] for name in named if name in values}
    if type_name.startswith("aws_"):
        return None
    return {
        name: value
        for name, value in values.items()
        if name in _NAMES or isinstance(value, bool | int | float) or name.endswith(_TOLD)
    }
