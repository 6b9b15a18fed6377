"""Rows of either engine, made from the port's values and into them; no SQL is seen here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.journal.backlog import Gate, Waiting, rest_of
from gateway.journal.replays import ABORTED, Replay, Replayed, Selection, unwrap
from gateway.journal.shared_limits import ClosedGate
from gateway.journal.types import (
    DeliveryStatus,
    Entry,
    ErasedBatch,
    Finished,
    FoundBatch,
    Item,
    Lane,
    Outcome,
    Receipt,
    SealedSettings,
    hash_lane,
    salt_dedupe,
)
from gateway.journal.wait_reasons import WaitReason

Row = Sequence[Any]

_OUTCOMES = msgspec.json.Decoder(tuple[Outcome, ...])


def make_lanes(
    of: tuple[str, int], taken: Iterable[Row], items: Iterable[Row], memory: Iterable[Row], *, wishes: bool
) -> list[Lane]:
    """Return the lanes claimed on a connection under a fence (``of``), in the order of ``taken``.

    Rows of ``taken`` have user, attempts, failing_since_ms and erased_seq; those of ``items``, in order, a user and the
    fields of an Item, progress as JSON; those of ``memory`` a user, a key, and a value as JSON.
    """
    waiting: dict[int, list[Item]] = {}
    for user, *row in items:
        waiting.setdefault(user, []).append(_make_item(row))
    known: dict[int, dict[str, Any]] = {}
    for user, key, value in memory:
        known.setdefault(user, {})[key] = msgspec.json.decode(value)
    connection, fence = of
    return [
        Lane(
            connection=connection,
            user=user,
            fence=fence,
            attempts=attempts,
            failing_since_ms=failing_since_ms,
            items=tuple(waiting.get(user, ())),
            memory=known.get(user, {}),
            erased_seq=erased_seq,
            wishes=wishes,
        )
        for user, attempts, failing_since_ms, erased_seq in taken
    ]


def _make_item(row: Row) -> Item:
    seq, message, part, dialect, received_ms, facts, body, progress, crashes, crashed_in = row
    dialect, body, again = unwrap(dialect, body)
    return Item(
        seq=seq,
        message=message,
        part=part,
        dialect=dialect,
        received_ms=received_ms,
        facts=facts,
        body=body,
        progress=msgspec.json.decode(progress) if progress else {},
        crashes=crashes,
        crashed_in=crashed_in,
        again=again,
    )


def count_dead(finished: Finished) -> int:
    """Return the number of dead letters among the outcomes of a finished item."""
    return sum(outcome.state == "dead" for outcome in finished.outcomes)


def count_outcomes(
    finished: Iterable[tuple[str, Finished]], text: Callable[[str], str] = str
) -> list[tuple[str, str, str, int]]:
    """Return the facts of finished items by connection, state and reason, the latter made storable by ``text``.

    Facts that a rule added or removed change the number of received ones.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    for connection, item in finished:
        counts[connection, "received", ""] += sum(outcome.facts for outcome in item.outcomes) - item.facts
        for outcome in item.outcomes:
            counts[connection, outcome.state, text(outcome.reason)] += outcome.facts
    return [(*key, facts) for key, facts in counts.items() if facts]


def hash_lanes(keys: Iterable[str], salt: bytes) -> tuple[int, ...]:
    """Return the hashes of the users of these keys."""
    return tuple(hash_lane(key, salt) for key in keys)


def salt_entries(entries: Iterable[Entry], salt: bytes) -> tuple[Entry, ...]:
    """Return batches with their ``dedupe`` salted, as it is stored."""
    return tuple(replace(entry, dedupe=salt_dedupe(entry.dedupe, salt)) for entry in entries)


def make_request_rows(
    stored: Iterable[tuple[int, Entry]], connections: Sequence[str]
) -> list[tuple[bytes, str, int, int, int, int]]:
    """Return a row for each name and connection of erasure requests.

    Rows have name, connection, before_ms, received_ms, and the user and seq of the request.
    """
    rows: dict[tuple[bytes, str], tuple[int, int, int, int]] = {}
    for seq, entry in stored:
        for key in _request_keys(entry, connections):
            asked_ms = 0 if entry.wish is None else entry.wish.before_ms
            before_ms = max(asked_ms, rows[key][0]) if key in rows else asked_ms
            rows[key] = before_ms, entry.received_ms, entry.user, seq
    return [(*key, *row) for key, row in sorted(rows.items())]


def _request_keys(entry: Entry, connections: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    for connection in connections:
        if entry.wish is not None and entry.scope in (None, connection):
            yield from ((name, connection) for name in entry.wish.names)


def make_receipt(documents: int, memories: int, touched: Iterable[Row]) -> Receipt:
    """Return the receipt of an erasure; rows of ``touched`` have message, part, outcomes as JSON, and removed."""
    return Receipt(
        documents=documents,
        memories=memories,
        touched=tuple(
            ErasedBatch(message=message, part=part, withheld=_has_erased(outcomes), removed=bool(removed))
            for message, part, outcomes, removed in touched
        ),
    )


def _has_erased(encoded: str) -> bool:
    """Return whether a fact among these outcomes was not sent because its user was erased."""
    return any(one.state == "skipped" and one.reason == "erased" for one in read_outcomes(encoded))


def make_found(row: Row, sightings: Iterable[DeliveryStatus]) -> FoundBatch:
    """Return a found batch; the row has seq, user, message, part, received_ms, dialect, body, replay and its time."""
    seq, _, message, part, received_ms, dialect, body, replay, at_ms = row
    dialect, body, _ = unwrap(dialect, body)
    return FoundBatch(
        seq=seq,
        message=message,
        part=part,
        dialect=dialect,
        received_ms=received_ms,
        body=body,
        sightings=tuple(sightings),
        replayed=None if replay is None else Replayed(replay=replay, at_ms=at_ms),
    )


def make_finished_status(row: Row, receipt: Receipt | None) -> DeliveryStatus:
    """Return the status of a finished batch; the row has connection, at_ms and outcomes."""
    connection, at_ms, outcomes = row
    return DeliveryStatus(connection=connection, at_ms=at_ms, outcomes=read_outcomes(outcomes), receipt=receipt)


def make_waiting_status(row: Row, closed: Mapping[str, Sequence[Gate]], receipt: Receipt | None) -> DeliveryStatus:
    """Return the status of a waiting batch.

    The row has connection, progress, due_ms, attempts, code, detail, claimed and trouble.
    """
    connection, progress, due_ms, attempts, code, detail, claimed, trouble = row
    return DeliveryStatus(
        connection=connection,
        progress=msgspec.json.decode(progress) if progress else {},
        due_ms=due_ms,
        attempts=attempts,
        reason=WaitReason(code, detail),
        claimed=bool(claimed),
        rest=rest_of(connection, closed),
        trouble=trouble,
        receipt=receipt,
    )


def group_waiting(rows: Iterable[Row]) -> dict[str, list[Waiting]]:
    """Return waiting lanes by connection.

    Rows have connection, code, detail, claimed, number of lanes, due_ms, attempts and failing_since_ms.
    """
    waiting: dict[str, list[Waiting]] = {}
    for connection, code, detail, claimed, lanes, due_ms, attempts, failing_since_ms in rows:
        one = Waiting(
            reason=WaitReason(code, detail),
            claimed=bool(claimed),
            lanes=lanes,
            due_ms=due_ms,
            attempts=attempts,
            failing_since_ms=failing_since_ms or 0,
        )
        waiting.setdefault(connection, []).append(one)
    return waiting


def group_gates(rows: Iterable[Row]) -> dict[str, list[Gate]]:
    """Return closed gates by connection; rows have connection, scope, until_ms, code and detail."""
    gates: dict[str, list[Gate]] = {}
    for connection, scope, until_ms, code, detail in rows:
        gate = Gate(scope=scope, until_ms=until_ms, reason=WaitReason(code, detail))
        gates.setdefault(connection, []).append(gate)
    return gates


def make_closings(rows: Iterable[Row]) -> tuple[ClosedGate, ...]:
    """Return the gates that other dispatchers closed; rows have scope, left_ms, code and detail."""
    return tuple(
        ClosedGate(scope=scope, left_ms=left_ms, reason=WaitReason(code, detail))
        for scope, left_ms, code, detail in rows
    )


def make_sealed(row: Row) -> SealedSettings:
    """Return sealed settings; the row has connection, print, sealed, told_ms, received_ms and trouble."""
    connection, mark, sealed, told_ms, received_ms, trouble = row
    return SealedSettings(
        connection=connection, print=mark, sealed=sealed, told_ms=told_ms, received_ms=received_ms, trouble=trouble
    )


def make_replay(row: Row) -> Replay:
    """Return a replay.

    The row has id, created_ms, selection as JSON, rate, upto, cursor, state, facts and waiting.
    """
    id, created_ms, selection, rate, upto, cursor, state, facts, waiting = row
    return Replay(
        id=id,
        created_ms=created_ms,
        selection=msgspec.json.decode(selection, type=Selection),
        rate=rate,
        upto=upto,
        cursor=cursor,
        state=state,
        facts=facts,
        waiting=waiting,
    )


def read_outcomes(encoded: str | bytes) -> tuple[Outcome, ...]:
    """Return outcomes from their JSON."""
    return _OUTCOMES.decode(encoded)


def read_later(row: Row) -> tuple[int, str, tuple[Outcome, ...] | None]:
    """Return the batch that was redelivered, the connection, and the outcomes; None while the copy waits."""
    seq, connection, outcomes = row
    return seq, connection, read_outcomes(outcomes) if outcomes else None


def why_withdrawn(*, is_aborted: bool, is_erased: bool) -> str:
    """Return why a redelivered batch must not be sent: ``replay_aborted``, ``erased``, or "" if it may be."""
    return ABORTED if is_aborted else "erased" if is_erased else ""
