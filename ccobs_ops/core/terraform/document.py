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
from ccobs_ops.core.terraform.equal import Leaf, differences, mark_of, written
from ccobs_ops.core.terraform.plan import Check, Difference, Entry, Held, PlanDocument, Top, without_indexes
from ccobs_ops.core.terraform.rules import kept, vocabulary
from ccobs_ops.core.terraform.sensitive import Drawn, Veil, at, either, marked
from ccobs_ops.core.terraform.stream import walk

IDENTITY = (
    "id", "arn", "name", "bucket", "identifier", "cluster_identifier", "key_id", "role", "vault_name", "region",
    "path",
)  # fmt: skip
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
class _Raw:
    """An entry as it stands in the document, with secrets: never leaves this module."""

    fields: dict[str, Any]
    actions: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    unknown: Any
    mark: Any


@dataclass(slots=True)
class _Reader:
    veil: Veil
    top: dict[str, Any] = field(default_factory=dict)
    drift: list[_Raw] = field(default_factory=list)
    changes: list[_Raw] = field(default_factory=list)
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

    def _entry(self, value: Any, into: list[_Raw]) -> None:
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
        raw = _Raw(dict(value), tuple(actions), (), before, after, unknown, mark)
        raw.fields.pop("change")
        raw.fields["importing"] = isinstance(change.get("importing"), Mapping)
        if actions not in (["delete"], ["forget"]) and (into is self.drift or actions != ["no-op"]):
            raw.leaves = differences(before, after, _object(unknown) if unknown is not True else True)
        self._trim(raw)
        moved = isinstance(value.get("previous_address"), str)
        if raw.leaves or actions != ["no-op"] or moved or raw.fields["importing"]:
            into.append(raw)

    def _trim(self, raw: _Raw) -> None:
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
            yield from _texts((raw.before, raw.after, raw.fields))
        for check in self.checks:
            yield from (check.address, *check.problems)
        for address, _, values, _ in self.held:
            yield from _texts((address, values))
        yield from self.deferred
        yield from (one.subject for one in self.unread)

    def document(self, drawn: Drawn) -> PlanDocument:
        """What was read, masked."""
        return PlanDocument(
            format_version=drawn.text(str(self.top.get("format_version"))),
            terraform_version=drawn.text(str(self.top.get("terraform_version", ""))),
            drift=tuple(self._shown(raw, drawn) for raw in self.drift),
            changes=tuple(self._shown(raw, drawn) for raw in self.changes),
            deferred=tuple(drawn.index(address) for address in self.deferred),
            checks=tuple(
                Check(
                    drawn.index(each.address),
                    drawn.text(each.status),
                    tuple(map(drawn.text, each.problems)),
                )
                for each in self.checks
            ),
            held=tuple(_held(each, drawn) for each in self.held),
            managed=self.managed,
            errored=_flag(self.top.get("errored")),
            complete=_flag(self.top.get("complete")),
            applyable=_flag(self.top.get("applyable")),
            timestamp=_string(self.top.get("timestamp")),
            unread=tuple(Unread(each.code, drawn.index(each.subject), each.message) for each in self.unread),
        )

    def _shown(self, raw: _Raw, drawn: Drawn) -> Entry:
        fields = raw.fields
        address = str(fields["address"])
        previous, deposed = _string(fields.get("previous_address")), _string(fields.get("deposed"))
        return Entry(
            address=drawn.index(address),
            mode="managed",
            type=_string(fields.get("type")) or _type_of(address),
            name=_string(fields.get("name")) or "",
            provider=_string(fields.get("provider_name")) or "",
            actions=raw.actions,
            previous_address=None if previous is None else drawn.index(previous),
            deposed=deposed,
            reason=_string(fields.get("action_reason")),
            importing=bool(fields.get("importing")),
            differences=tuple(_difference(leaf, raw, drawn) for leaf in raw.leaves),
            tops=tuple(_tops(raw, drawn)),
            identity=tuple(_identity(raw, drawn)),
            configured=self.configured.get(without_indexes(address)),
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


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _type_of(address: str) -> str:
    """The resource type that an address names: the last word but one of its last part."""
    return ["", *without_indexes(address).split(".")][-2]


def _difference(leaf: Leaf, raw: _Raw, drawn: Drawn) -> Difference:
    where = tuple(
        drawn.key(step) if index and isinstance(step, str) else step for index, step in enumerate(leaf.where)
    )
    hidden = at(raw.mark, leaf.where)
    return Difference(
        path=written(where),
        top=str(leaf.where[0]) if leaf.where else "",
        before=drawn.value(leaf.before, _below(raw.mark, leaf.where)),
        after=drawn.value(leaf.after, _below(raw.mark, leaf.where)),
        sensitive=hidden,
        after_unknown=leaf.after_unknown,
        reordered=leaf.reordered,
        before_mark=mark_of(leaf.before),
        after_mark=None if leaf.after_unknown else mark_of(leaf.after),
    )


def _below(mark: Any, where: Sequence[str | int]) -> Any:
    """What `mark` says of the value at `where`: True where it says so of a value around it."""
    for step in where:
        if isinstance(mark, Mapping) and isinstance(step, str):
            mark = mark.get(step)
        elif isinstance(mark, list) and isinstance(step, int):
            mark = mark[step] if step < len(mark) else None
        else:
            return True if marked(mark) else None
    return mark


def _tops(raw: _Raw, drawn: Drawn) -> Iterator[Top]:
    marks: Mapping[str, Any] = raw.mark if isinstance(raw.mark, Mapping) else {}
    for name in dict.fromkeys(str(leaf.where[0]) for leaf in raw.leaves if leaf.where):
        mark = marks.get(name) if isinstance(raw.mark, Mapping) else (True if marked(raw.mark) else None)
        yield Top(
            name,
            drawn.value(raw.before.get(name), mark),
            drawn.value(raw.after.get(name), mark),
            sensitive=marked(mark),
            after_unknown=any(leaf.after_unknown for leaf in raw.leaves if leaf.where[:1] == (name,)),
        )


def _identity(raw: _Raw, drawn: Drawn) -> Iterator[tuple[str, str]]:
    for name in IDENTITY:
        value = raw.after.get(name) or raw.before.get(name)
        if isinstance(value, str) and value and not at(raw.mark, (name,)):
            yield name, drawn.text(value)


def _held(raw: tuple[str, str, dict[str, Any], Any], drawn: Drawn) -> Held:
    address, kind, values, mark = raw
    shown = drawn.value(values, mark)
    return Held(drawn.index(address), kind, tuple(shown.items()) if isinstance(shown, dict) else ())


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


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, and every number as text."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
