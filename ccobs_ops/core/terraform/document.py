"""Read the JSON of plans (`terraform show -json PLAN`) as a stream, and keep what a scan needs, without any secret.

The format is Terraform's and OpenTofu's 1.x (https://developer.hashicorp.com/terraform/internals/json-format): minor versions
add keys, which are ignored; an entry whose form is not known is `unread`, never a crash and never clean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.terraform.change import Unread
from ccobs_ops.core.terraform.equal import differences
from ccobs_ops.core.terraform.masked import IDENTITY, Raw, held, shown, text_or_none, texts
from ccobs_ops.core.terraform.plan import Check, PlanDocument
from ccobs_ops.core.terraform.rules import kept, vocabulary
from ccobs_ops.core.terraform.sensitive import Drawn, Veil, either
from ccobs_ops.core.terraform.stream import walk

ACTIONS = frozenset({"no-op", "create", "read", "update", "delete", "forget", "open", "close", "renew"})


def read_plan(path: Path) -> PlanDocument:
    """The plan whose JSON is in `path`: memory follows what differs, not what the file holds.

    Raises UnknownError where the file is missing, cut off, no JSON, or of a format that is not known (not 1.x): what
    cannot be read is never clean.
    """
    return read_plans((path,))[0]


def read_plans(paths: Sequence[Path]) -> tuple[PlanDocument, ...]:
    """Several plans of one root; what is sensitive in any of them is masked in all. Raises as `read_plan` does."""
    veil = Veil()
    readers = [_Reader(veil).read(path) for path in paths]
    seen = (text for reader in readers for text in reader.texts())
    drawn = veil.drawn(seen, vocabulary())
    return tuple(reader.document(drawn) for reader in readers)


@dataclass(slots=True)
class _Reader:
    veil: Veil
    top: dict[str, Any] = field(default_factory=dict)
    drift: list[Raw] = field(default_factory=list)
    changes: list[Raw] = field(default_factory=list)
    deferred: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    held: list[tuple[str, str, dict[str, Any], Any]] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    sensitive_variables: set[str] = field(default_factory=set)
    configured: dict[str, frozenset[str]] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    managed: int = 0

    def read(self, path: Path) -> _Reader:
        """Take in the whole file."""
        any_key = False
        for where, value in walk(path, _descend):
            if not where:
                raise UnknownError("the plan is no JSON object", hint="was it written by show -json?")
            any_key = True
            try:
                self._take(where, value)
            except RecursionError:
                self._not_understood(".".join(where[:2]), "it is nested too deeply")
        version = self.top.get("format_version")
        if not any_key or not isinstance(version, str) or version.partition(".")[0] != "1":
            raise UnknownError(
                f"the plan is of a format that is not known: format_version is {str(version)[:20]!r}",
                hint="formats 1.x are read, which Terraform since 0.14 and OpenTofu write",
            )
        for name in self.sensitive_variables & self.variables.keys():
            self.veil.learn(self.variables[name], True)
        return self

    def _take(self, where: tuple[str, ...], value: Any) -> None:
        match where:
            case (key,):
                self.top[key] = value
            case ("resource_drift", "*"):
                self._entry(value, self.drift)
            case ("resource_changes", "*"):
                self._entry(value, self.changes)
            case ("deferred_changes", "*"):
                self._deferred(value)
            case ("checks", "*"):
                self.checks.extend(_checks(value))
            case ("variables", name):
                self.variables[name] = value.get("value") if isinstance(value, Mapping) else value
            case ("output_changes", _):
                self._learn_change(value)
            case ("prior_state", *_, "resources", "*"):
                self._state(value)
            case ("planned_values", *_, "resources", "*"):
                self._learn_values(value)
            case ("prior_state" | "planned_values", "values" | "outputs", *_):
                self._outputs(value)
            case ("configuration", "root_module", *rest):
                self._configuration(tuple(rest), value)
            case _:
                pass

    def _entry(self, value: Any, into: list[Raw]) -> None:
        change = value.get("change") if isinstance(value, Mapping) else None
        address = value.get("address") if isinstance(value, Mapping) else None
        if not isinstance(change, Mapping) or not isinstance(address, str):
            self._not_understood(address if isinstance(address, str) else "an entry", "it has no change")
            return
        mark = self._learn_change(change)
        if value.get("mode", "managed") != "managed":
            return
        actions = change.get("actions")
        if not isinstance(actions, list) or not actions or not all(isinstance(one, str) for one in actions):
            self._not_understood(address, "it does not say which actions it is")
            return
        if not ACTIONS.issuperset(actions):
            self._not_understood(address, "it has an action that is not known")
            return
        before, after = _object(change.get("before")), _object(change.get("after"))
        unknown = change.get("after_unknown")
        raw = Raw(dict(value), tuple(actions), (), before, after, unknown, mark)
        raw.fields.pop("change")
        raw.fields["importing"] = isinstance(change.get("importing"), Mapping)
        if actions not in (["delete"], ["forget"]) and (into is self.drift or actions != ["no-op"]):
            raw.leaves = differences(before, after, _object(unknown) if unknown is not True else True)
        self._trim(raw)
        moved = isinstance(value.get("previous_address"), str)
        if raw.leaves or actions != ["no-op"] or moved or raw.fields["importing"]:
            into.append(raw)

    def _trim(self, raw: Raw) -> None:
        """Let go of what does not differ: that is most of a document."""
        tops = {str(leaf.where[0]) for leaf in raw.leaves if leaf.where}
        wanted = tops.union(IDENTITY)
        raw.before = {key: value for key, value in raw.before.items() if key in wanted}
        raw.after = {key: value for key, value in raw.after.items() if key in wanted}

    def _learn_change(self, change: Any) -> Any:
        """Learn what a change marks as sensitive; the mark of both its sides."""
        if not isinstance(change, Mapping):
            return None
        mark = either(change.get("before_sensitive"), change.get("after_sensitive"))
        self.veil.learn(change.get("before"), mark)
        self.veil.learn(change.get("after"), mark)
        return mark

    def _learn_values(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self.veil.learn(value.get("values"), value.get("sensitive_values"))

    def _outputs(self, value: Any) -> None:
        for output in value.values() if isinstance(value, Mapping) else ():
            if isinstance(output, Mapping) and output.get("sensitive"):
                self.veil.learn(output.get("value"), True)
        if isinstance(value, Mapping) and value.get("sensitive") is True:
            self.veil.learn(value.get("value"), True)

    def _state(self, value: Any) -> None:
        self._learn_values(value)
        if not isinstance(value, Mapping) or value.get("mode", "managed") != "managed":
            return
        if value.get("deposed_key"):
            return
        self.managed += 1
        address, kind = value.get("address"), value.get("type")
        if not isinstance(address, str) or not isinstance(kind, str):
            return
        values = kept(kind, _object(value.get("values")))
        if values is not None:
            self.held.append((address, kind, values, value.get("sensitive_values")))

    def _deferred(self, value: Any) -> None:
        change = value.get("resource_change") if isinstance(value, Mapping) else None
        address = change.get("address") if isinstance(change, Mapping) else None
        self.deferred.append(address if isinstance(address, str) else "an object")
        if isinstance(change, Mapping):
            self._learn_change(change.get("change"))

    def _configuration(self, rest: tuple[str, ...], value: Any) -> None:
        modules, rest = _modules(rest)
        if rest == ("variables",):
            return
        if rest[:1] == ("variables",) and len(rest) == 2 and isinstance(value, Mapping):
            if not modules and value.get("sensitive") is True:
                self.sensitive_variables.add(rest[1])
        elif rest == ("resources", "*") and isinstance(value, Mapping):
            address, expressions = value.get("address"), value.get("expressions")
            if isinstance(address, str) and isinstance(expressions, Mapping):
                where = "".join(f"module.{name}." for name in modules) + address
                self.configured[where] = frozenset(str(key) for key in expressions)

    def _not_understood(self, subject: str, why: str) -> None:
        self.unread.append(
            Unread("plan_entry_unread", subject, f"an entry of the plan could not be understood: {why}")
        )

    def texts(self) -> Iterator[str]:
        """Every text that may be shown."""
        for raw in (*self.drift, *self.changes):
            yield from texts((raw.before, raw.after, raw.fields))
        for check in self.checks:
            yield from (check.address, *check.problems)
        for address, _, values, _ in self.held:
            yield from texts((address, values))
        yield from self.deferred
        yield from (one.subject for one in self.unread)

    def document(self, drawn: Drawn) -> PlanDocument:
        """What was read, masked."""
        return PlanDocument(
            format_version=drawn.text(str(self.top.get("format_version"))),
            terraform_version=drawn.text(str(self.top.get("terraform_version", ""))),
            drift=tuple(shown(raw, drawn, self.configured) for raw in self.drift),
            changes=tuple(shown(raw, drawn, self.configured) for raw in self.changes),
            deferred=tuple(drawn.index(address) for address in self.deferred),
            checks=tuple(
                Check(
                    drawn.index(each.address),
                    drawn.text(each.status),
                    tuple(map(drawn.text, each.problems)),
                )
                for each in self.checks
            ),
            held=tuple(held(each, drawn) for each in self.held),
            managed=self.managed,
            errored=_flag(self.top.get("errored")),
            complete=_flag(self.top.get("complete")),
            applyable=_flag(self.top.get("applyable")),
            timestamp=text_or_none(self.top.get("timestamp")),
            unread=tuple(Unread(each.code, drawn.index(each.subject), each.message) for each in self.unread),
        )


def _descend(where: tuple[str, ...]) -> bool:
    """Which objects and arrays are walked; all others are small, or of no interest."""
    match where:
        case () | (_,):
            return True
        case ("prior_state", "values", *rest) | ("planned_values", *rest):
            return not rest or (rest[0] == "root_module" and _in_module(rest[1:]))
        case ("configuration", "root_module", *rest):
            inner = _modules(tuple(rest))[1]
            return inner in ((), ("resources",), ("variables",), ("module_calls",)) or (
                inner[:1] == ("module_calls",) and len(inner) == 2
            )
        case _:
            return False


def _in_module(rest: Sequence[str]) -> bool:
    while list(rest[:2]) == ["child_modules", "*"]:
        rest = rest[2:]
    return list(rest) in ([], ["resources"], ["child_modules"])


def _modules(rest: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """The names of the modules that a path of the configuration goes through, and the rest of it."""
    names: list[str] = []
    while len(rest) > 2 and rest[0] == "module_calls" and rest[2] == "module":
        names.append(rest[1])
        rest = rest[3:]
    return names, rest


def _object(value: Any) -> Mapping[str, Any]:
    """A value as an object: what is none stands under `value`."""
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else {"value": value}


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _checks(value: Any) -> Iterator[Check]:
    if not isinstance(value, Mapping):
        return
    whole = value.get("address")
    address = whole.get("to_display") if isinstance(whole, Mapping) else None
    instances = value.get("instances")
    for one in instances if isinstance(instances, list) and instances else [value]:
        if not isinstance(one, Mapping):
            continue
        named = one.get("address")
        shown = named.get("to_display") if isinstance(named, Mapping) else None
        problems = one.get("problems")
        yield Check(
            str(shown or address or "a check"),
            str(one.get("status", "unknown")),
            tuple(
                str(each.get("message", "")) if isinstance(each, Mapping) else str(each)
                for each in (problems if isinstance(problems, list) else ())
            ),
        )
