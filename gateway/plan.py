"""Planning: a plugin turns the facts of one batch into calls and skips; all of them or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from gateway.facts import Fact
from gateway.journal.types import Item, KeptBack, Outcome
from gateway.mparticle.json import DEEPEST, is_deep
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import HookTimeout
from gateway.sdk import Batch, Call, Memory, Remember, Skip, Verdict

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
BAD_PATH = re.compile(r"[?#\\]|(?:^|/)\.{0,2}(?:/|\Z)")
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\n[\t\x20-\x7e]*")
NO_MEMORY = Memory()

PlanValue = TypeVar("PlanValue", bound=Call | Skip | Remember | Verdict)


class WrittenCall(Call, frozen=True, kw_only=True, omit_defaults=True):
    """A call as the journal would read it back. Members of any type stay undecoded, which is quicker."""

    json: msgspec.Raw = msgspec.Raw(b"null")
    memo: msgspec.Raw = msgspec.Raw(b"null")


DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    Call: msgspec.json.Decoder(WrittenCall),
    **{kind: msgspec.json.Decoder(kind) for kind in (Skip, Remember, Verdict)},
}


class PluginFault(Exception):
    """A plugin raised, or returned no valid plan. The message names plugin, version, hook and error, no value."""


class FactPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of one fact: its calls in order, what is deliberately not sent, and what to remember.

    ``cause`` is the setting that decided that there are no calls. ``kept_back`` is what the filter removed. ``detail``
    holds a reason of the plugin's by which the fact is not counted.
    """

    fact: str
    calls: tuple[Call, ...] = ()
    skips: tuple[Skip, ...] = ()
    memories: tuple[Remember, ...] = ()
    cause: str = ""
    kept_back: tuple[KeptBack, ...] = ()
    detail: str = ""


class ItemPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of one item: what to do about each of its facts.

    ``settled`` are the outcomes of facts that nothing is planned for. ``erases``: the item is an erasure request.
    ``batch`` is the batch before the filter; None if nobody's settings apply to it. Calls that have not ended are not
    begun if ``withdrawn`` gives a reason, and are dead letters if ``crashed`` says what processes died of.
    """

    item: Item
    planned: Sequence[FactPlan] = ()
    settled: Sequence[Outcome] = ()
    erases: bool = False
    batch: Batch | None = None
    withdrawn: str = ""
    crashed: str = ""

    def expected_memories(self) -> Iterator[Remember]:
        """Yield what the plugin will remember of the user if every call is delivered."""
        if not self.withdrawn:
            yield from (memory for fact in self.planned for memory in fact.memories if not memory.shared)


def plan(  # noqa: PLR0913  # planning needs all of them
    batch: Batch,
    connection: Connection,
    facts: Iterable[Fact],
    memory: Memory = NO_MEMORY,
    kept_back: Mapping[str, tuple[KeptBack, ...]] = MappingProxyType({}),
    replay: str = "",
) -> list[FactPlan]:
    """Return the plan of each fact, as the connection's plugin makes it.

    ``kept_back`` has, by fact, what the filter removed. ``replay`` is the id of the replay that sends the batch again.

    Raises PluginFault if a hook raises or returns no valid plan; then nothing of the batch is sent.
    """
    common = {"user": batch.user, "batch": batch, "memory": memory, "settings": connection.settings}
    planned = []
    for fact in facts:
        if not fact.hook:
            planned.append(FactPlan(fact=fact.id, skips=(Skip(reason="nothing_to_send"),)))
            continue
        if fact.hook not in connection.plugin.hooks:
            unsupported = Skip(reason="not_supported")
            planned.append(FactPlan(fact=fact.id, skips=(unsupported,), cause=f"{connection.key}.plugin"))
            continue
        answer = ask(connection, fact.hook, {**common, **fact.arguments})
        calls = tuple(
            msgspec.structs.replace(call, id=make_call_id(batch, connection.name, fact.id, position, replay))
            for position, call in enumerate(answer.calls)
        )
        skips, detail = _count_skips(connection, answer.skips)
        skips = skips or (() if calls else (Skip(reason="nothing_to_send"),))
        planned.append(
            FactPlan(
                fact=fact.id,
                calls=calls,
                skips=skips,
                memories=answer.memories,
                cause="" if calls else _cause(connection, skips),
                kept_back=kept_back.get(fact.id, ()),
                detail=detail,
            )
        )
    return planned


def _count_skips(connection: Connection, skips: Sequence[Skip]) -> tuple[tuple[Skip, ...], str]:
    """Return the skips with reasons by which facts are counted, and as detail the first reason that is not one."""
    made, detail = [], ""
    for skip in skips:
        reason, original = connection.count_by(skip.reason)
        made.append(skip if reason == skip.reason else msgspec.structs.replace(skip, reason=reason))
        detail = detail or original
    return tuple(made), detail


def _cause(connection: Connection, skips: Iterable[Skip]) -> str:
    """Return the plugin's setting that had a fact skipped, or nothing."""
    setting = next((skip.setting for skip in skips if skip.what is None), None)
    return f"{connection.key}.settings.{setting}" if setting else ""


def make_call_id(batch: Batch, connection: str, fact: str, position: int, replay: str = "") -> str:
    """Return the id of a call, 32 hexadecimal digits.

    It is equal whenever the same fact is planned for the same connection and the same replay.
    """
    names = [batch.id, str(batch.part), batch.user.mpid or "", connection, fact, str(position)]
    text = "\0".join([*names, replay] if replay else names)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def ask(connection: Connection, hook: str, arguments: dict[str, Any]) -> FactPlan:
    """Call a planning hook and return its sorted answer. Raises PluginFault."""
    try:
        return sort_answer(connection.plugin.hooks[hook](**arguments))
    except Exception as error:
        raise make_fault(connection, hook, error) from error


def make_fault(connection: Connection, hook: str, error: Exception) -> PluginFault:
    """Return a PluginFault for what a hook raised, without its message: that could hold a user's data or a secret."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        line, trace = trace.tb_lineno, trace.tb_next
    detail = f": {error}" if isinstance(error, (InvalidPlan, HookTimeout)) else f" at line {line}"
    plugin = connection.plugin
    return PluginFault(f"{plugin.name} {plugin.version} {hook}: {type(error).__name__}{detail}")


class InvalidPlan(TypeError):
    """A hook returned something that is not a valid plan."""


def sort_answer(answer: Any) -> FactPlan:
    """Return what a planning hook returned as a FactPlan without the fact's id. Raises InvalidPlan."""
    items = () if answer is None else (answer,) if isinstance(answer, (Call, Skip, Remember)) else answer
    if isinstance(items, (str, bytes, dict)) or not isinstance(items, Iterable):
        raise InvalidPlan(f"expected calls and skips, got {type(answer).__name__}")
    by_type: dict[type, list[Any]] = {Call: [], Skip: [], Remember: []}
    for item in items:
        if type(item) not in by_type:
            raise InvalidPlan(f"expected a Call, a Skip or a Remember, got {type(item).__name__}")
        by_type[type(item)].append(check(item))
    return FactPlan(fact="", calls=tuple(by_type[Call]), skips=tuple(by_type[Skip]), memories=tuple(by_type[Remember]))


def check(said: PlanValue) -> PlanValue:
    """Return a value that a plugin made, if the journal can store it and a call is valid. Raises InvalidPlan."""
    try:
        written = msgspec.json.encode(said)
        DECODERS[type(said)].decode(written)
    except Exception as error:
        raise InvalidPlan(f"a {type(said).__name__} holds what it cannot: {_describe_misfit(error)}") from error
    if is_deep(written):
        raise InvalidPlan(f"a {type(said).__name__} is nested more than {DEEPEST} levels deep")
    if isinstance(said, Call):
        check_call(said)
    return said


def _describe_misfit(error: Exception) -> str:
    """Return why something cannot be written as JSON, or read back; never a value."""
    if isinstance(error, msgspec.ValidationError):
        return f"not the declared type{str(error)[str(error).rfind(' at `') :]}"
    return str(error) if isinstance(error, TypeError) else type(error).__name__


def check_call(call: Call) -> Call:
    """Return the call if its method, path, body and headers are valid: it can go nowhere but where its path says.

    Raises InvalidPlan.
    """
    if call.method not in METHODS:
        raise InvalidPlan(f"{call.method!r} is not a method; use one of {', '.join(sorted(METHODS))}")
    if call.path and BAD_PATH.search(call.path):
        raise InvalidPlan("the path must be relative and made of plain segments; build it with path()")
    if call.json is not None and (call.form is not None or call.file is not None):
        raise InvalidPlan("a call has one body: json, or a form with or without a file")
    if call.headers and not all(HEADER.fullmatch(f"{name}\n{value}") for name, value in call.headers.items()):
        raise InvalidPlan("headers must be plain ASCII, each on one line")
    return call
