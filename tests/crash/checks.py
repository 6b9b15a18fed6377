"""The promises, each checked on what was observed of a schedule. A broken one is a line that says which, and where.

1. every acknowledged fact reaches its one word, and it is the right one;
2. a call that was answered as it should be is made again at most once for each crash, in each lane;
3. the order inside a lane is never broken;
4. ``received = delivered + skipped + dead + in flight`` whenever one looks, and none of them ever goes back;
5. no secret is in any file, log or value of the database, and nothing of a user's in the log;
6. it stops in order, and leaves no process behind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from crash.engines import Balances
from crash.schedules import Message, Schedule
from crash.vendors import Sent

USERS_OWN = (b"@example.com", b"c-1", b"user_attributes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen of a schedule from outside. ``pieces`` are files and values; ``last`` is by vendor and user."""

    acknowledged: set[str]
    refused: list[str]
    balances: Balances
    wrong: list[str]
    looks: int
    ledger: list[tuple[str, int, str, str]]
    sent: dict[str, list[Sent]]
    last: dict[tuple[str, int], str | None]
    crashes: int
    stopped: tuple[int, bool]
    pieces: list[bytes]
    log: bytes
    secrets: tuple[str, ...]


def broken(schedule: Schedule, seen: Observed) -> tuple[list[str], int]:
    """The promises that were broken, and how many calls were made once more."""
    repeats = {name: repeated(sent) for name, sent in seen.sent.items()}
    problems = [
        *seen.refused,
        *(
            f"{message.id} was never acknowledged"
            for message in schedule.messages
            if message.id not in seen.acknowledged
        ),
        *_words(schedule, seen),
        *_arrived(schedule, seen),
        *(problem for name, sent in seen.sent.items() for problem in disordered(name, sent)),
        *(
            f"{name}: of user {user} {extra} calls were made again after {seen.crashes} crashes"
            for name, lanes in repeats.items()
            for user, extra in lanes.items()
            if extra > seen.crashes
        ),
        *seen.wrong,
        *([] if seen.looks else ["nobody ever looked at the balances"]),
        *leaked(seen.secrets, seen.pieces, seen.log),
        *(
            []
            if seen.stopped == (0, True)
            else [f"it stopped with status {seen.stopped[0]}, all gone: {seen.stopped[1]}"]
        ),
    ]
    return problems, sum(extra for lanes in repeats.values() for extra in lanes.values())


def balanced(before: Balances, now: Balances) -> Iterator[str]:
    """What is wrong with the balances of one moment, and between two."""
    for name, (received, delivered, skipped, dead, waiting) in now.items():
        if received != delivered + skipped + dead + waiting:
            yield f"{name}: {received} received, but {delivered} + {skipped} + {dead} and {waiting} in flight"
        if name in before and any(old > new for old, new in zip(before[name][:4], now[name][:4], strict=True)):
            yield f"{name}: counts went back from {before[name]} to {now[name]}"


def disordered(name: str, sent: Iterable[Sent]) -> Iterator[str]:
    """Events that reached a vendor after a later one of the same user."""
    lanes: dict[int, list[str]] = {}
    for one in sent:
        lanes.setdefault(one.user, []).append(one.key)
    for user, keys in lanes.items():
        if any(before > after for before, after in pairwise(keys)):
            yield f"{name}: the order of user {user} was broken: {' '.join(keys)}"


def repeated(sent: Iterable[Sent]) -> Counter[int]:
    """By user, how often an event was sent although it had just been answered as it should be."""
    extra: Counter[int] = Counter()
    answered: dict[str, bool] = {}
    for one in sent:
        extra[one.user] += answered.get(one.key, False)
        answered[one.key] = one.well
    return +extra


def leaked(secrets: Iterable[str], pieces: Sequence[bytes], log: bytes) -> Iterator[str]:
    """Secrets where they must not be, and a user's own in the log."""
    for secret in secrets:
        if any(secret.encode() in piece for piece in pieces):
            yield f"a secret was found: {secret!r}"
    for own in USERS_OWN:
        if own in log:
            yield f"something of a user's is in the log: {own.decode()!r}"


def _words(schedule: Schedule, seen: Observed) -> Iterator[str]:
    """Facts without their word, with two, or with another than they may have; and a total that is not their number."""
    expected = {message.id: message for message in schedule.all_messages}
    for name, balance in seen.balances.items():
        facts = sum(connection == name for message in expected.values() for connection, _ in message.words)
        if (balance[0], balance[4]) != (facts, 0):
            yield f"{name}: {facts} facts posted, {balance[0]} received, {balance[4]} still in flight"
    found: Counter[tuple[str, str, str]] = Counter()
    for id, _, connection, outcomes in seen.ledger:
        for fact, word, *_ in json.loads(outcomes):
            found[id, connection, fact] += 1
            if word not in expected[id].words.get((connection, fact), ""):
                yield f"{connection}: {fact} of {id} is {word}"
    for message in schedule.messages:  # the backlog is old, and may be forgotten as soon as it is done
        for connection, fact in message.words:
            if found[message.id, connection, fact] != 1:
                yield f"{connection}: {fact} of {message.id} has {found[message.id, connection, fact]} words"


def _arrived(schedule: Schedule, seen: Observed) -> Iterator[str]:
    """Events that never reached their vendor, or did though they must not; and profiles that are not the last."""
    messages = schedule.all_messages
    for name, sent in seen.sent.items():
        wanted = {key for message in messages for key in _sendable(name, message)}
        for key in wanted ^ {one.key for one in sent}:
            yield f"{name}: {key} was {'never sent' if key in wanted else 'sent'}"
    last = {message.user: str(message.number) for message in messages}
    for (name, user), n in seen.last.items():
        if n != last[user]:
            yield f"{name}: the profile of user {user} is {n}, and not {last[user]}"


def _sendable(connection: str, message: Message) -> Iterator[str]:
    for event in json.loads(message.body)["events"]:
        if event.get("name") in ("Taken", "Unheard") or (event.get("name") == "Private" and connection == "email"):
            yield event["attributes"]["key"]
