"""Planning: one batch and one connection in, calls and skips out; all of them or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from gateway.facts import Fact
from gateway.journal.types import Item, KeptBack, Outcome
from gateway.mparticle.json import DEEPEST, is_deep
from gateway.plugins.connections import Connection
from gateway.plugins.watchdog import TooLong
from gateway.sdk import Batch, Call, Memory, Remember, Skip, Verdict

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
NO_PATH = re.compile(r"[?#\\]|(?:^|/)\.{0,2}(?:/|\Z)")
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\n[\t\x20-\x7e]*")
NOTHING = Memory()

Said = TypeVar("Said", bound=Call | Skip | Remember | Verdict)


class WrittenCall(Call, frozen=True, kw_only=True, omit_defaults=True):
    """A call as the journal would read it back, but for what may be anything: that is left unread, which is quicker."""

    json: msgspec.Raw = msgspec.Raw(b"null")
    memo: msgspec.Raw = msgspec.Raw(b"null")


READERS: dict[type, msgspec.json.Decoder[Any]] = {
    Call: msgspec.json.Decoder(WrittenCall),
    **{kind: msgspec.json.Decoder(kind) for kind in (Skip, Remember, Verdict)},
}


class PluginFault(Exception):
    """A plugin raised or returned nonsense. Names plugin, version, hook and kind of fault, never a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactPlan:
    """What is to be done about one fact: its calls in order, what is deliberately not sent, what to remember.

    ``cause`` is the setting by which nothing is planned, ``kept_back`` what the filter took out before.
    """

    fact: str
    calls: tuple[Call, ...] = ()
    skips: tuple[Skip, ...] = ()
    memories: tuple[Remember, ...] = ()
    cause: str = ""
    kept_back: tuple[KeptBack, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPlan:
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


def plan(  # noqa: PLR0913  # a plan is made of as much
    batch: Batch,
    connection: Connection,
    facts: Iterable[Fact],
    memory: Memory = NOTHING,
    kept_back: Mapping[str, tuple[KeptBack, ...]] = MappingProxyType({}),
    replay: str = "",
) -> list[FactPlan]:
    """Ask the connection's plugin about each fact of the batch; ``kept_back`` says what was taken out of it before.

    ``replay`` is the one by which it is sent again, if it is.

    Raises PluginFault where a hook raises or returns what is no plan; then nothing of the batch is sent.
    """
    common = {"user": batch.user, "batch": batch, "memory": memory, "settings": connection.settings}
    planned = []
    for fact in facts:
        if fact.hook not in connection.plugin.hooks:
            unsupported = Skip(reason="not_supported")
            planned.append(FactPlan(fact=fact.id, skips=(unsupported,), cause=f"{connection.key}.plugin"))
            continue
        answer = ask(connection, fact.hook, {**common, **fact.arguments})
        calls = tuple(
            msgspec.structs.replace(call, id=call_id(batch, connection.name, fact.id, position, replay))
            for position, call in enumerate(answer.calls)
        )
        skips = answer.skips or (() if calls else (Skip(reason="nothing_to_send"),))
        planned.append(
            FactPlan(
                fact=fact.id,
                calls=calls,
                skips=skips,
                memories=answer.memories,
                cause="" if calls else _cause(connection, skips),
                kept_back=kept_back.get(fact.id, ()),
            )
        )
    return planned


def _cause(connection: Connection, skips: Iterable[Skip]) -> str:
    """The plugin's setting by which a fact is skipped; empty where it is none."""
    setting = next((skip.setting for skip in skips if skip.what is None), None)
    return f"{connection.key}.settings.{setting}" if setting else ""


def call_id(batch: Batch, connection: str, fact: str, position: int, replay: str = "") -> str:
    """32 hexadecimal digits, equal whenever the same fact is planned for the same connection, and the same replay."""
    names = [batch.id, str(batch.part), batch.user.mpid or "", connection, fact, str(position)]
    text = "\0".join([*names, replay] if replay else names)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def ask(connection: Connection, hook: str, arguments: dict[str, Any]) -> FactPlan:
    """Call a planning hook and sort its answer. Raises PluginFault."""
    try:
        return sort(connection.plugin.hooks[hook](**arguments))
    except Exception as error:
        raise fault(connection, hook, error) from error


def fault(connection: Connection, hook: str, error: Exception) -> PluginFault:
    """Describe what a hook raised, without its message: that could hold a user's data or a secret."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        line, trace = trace.tb_lineno, trace.tb_next
    detail = f": {error}" if isinstance(error, (NoPlan, TooLong)) else f" at line {line}"
    plugin = connection.plugin
    return PluginFault(f"{plugin.name} {plugin.version} {hook}: {type(error).__name__}{detail}")


class NoPlan(TypeError):
    """A hook returned something that is no plan."""


def sort(answer: Any) -> FactPlan:
    """Whatever a planning hook returned, sorted, for a fact yet to be named. Raises NoPlan."""
    items = () if answer is None else (answer,) if isinstance(answer, (Call, Skip, Remember)) else answer
    if isinstance(items, (str, bytes, dict)) or not isinstance(items, Iterable):
        raise NoPlan(f"expected calls and skips, got {type(answer).__name__}")
    kinds: dict[type, list[Any]] = {Call: [], Skip: [], Remember: []}
    for item in items:
        if type(item) not in kinds:
            raise NoPlan(f"expected a Call, a Skip or a Remember, got {type(item).__name__}")
        kinds[type(item)].append(checked(item))
    return FactPlan(fact="", calls=tuple(kinds[Call]), skips=tuple(kinds[Skip]), memories=tuple(kinds[Remember]))


def checked(said: Said) -> Said:
    """What a plugin said, if the journal could keep it; a call, if it can only go where it says. Raises NoPlan."""
    try:
        written = msgspec.json.encode(said)
        READERS[type(said)].decode(written)
    except Exception as error:
        raise NoPlan(f"a {type(said).__name__} holds what it cannot: {_misfit(error)}") from error
    if is_deep(written):
        raise NoPlan(f"a {type(said).__name__} is nested more than {DEEPEST} levels deep")
    if isinstance(said, Call):
        sound(said)
    return said


def _misfit(error: Exception) -> str:
    """What is wrong with something that cannot be written as JSON, or read back; never a value."""
    if isinstance(error, msgspec.ValidationError):
        return f"not the declared type{str(error)[str(error).rfind(' at `') :]}"
    return str(error) if isinstance(error, TypeError) else type(error).__name__


def sound(call: Call) -> Call:
    """The call, if it can only go where its path says, and its headers are what headers can be. Raises NoPlan."""
    if call.method not in METHODS:
        raise NoPlan(f"{call.method!r} is no method")
    if call.path and NO_PATH.search(call.path):
        raise NoPlan("the path must be relative and made of plain segments; build it with path()")
    if call.json is not None and (call.form is not None or call.file is not None):
        raise NoPlan("a call has one body: json, or a form with or without a file")
    if call.headers and not all(HEADER.fullmatch(f"{name}\n{value}") for name, value in call.headers.items()):
        raise NoPlan("headers must be plain ASCII, each on one line")
    return call
