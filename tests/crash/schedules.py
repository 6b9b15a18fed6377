"""Schedules: what is posted, how the vendors misbehave, and who dies when. All of it is drawn from a seed.

A schedule is named by its engine, seed and number, and drawn anew is the same. What the machine's scheduler makes of it
differs from run to run, so a schedule that failed is worth repeating more than once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import Any

from crash.failpoints import POINTS, POSTGRES, SQLITE

from gateway.facts import iter_facts
from gateway.ingest.entries import read_entries, under_own_id
from gateway.journal.types import Entry
from gateway.mparticle.decoding import decode

CONNECTIONS = ("email", "loyalty")
CUSTOMERS_OWN = "customers-own-hush-hush"
"""A credential that mParticle posts with every message, and that must not be kept."""
WORDS = {
    ("loyalty", "Taken"): "delivered",
    ("loyalty", "Unheard"): "dead",  # the vendor knows no such event
    ("loyalty", "Private"): "skipped",  # filtered
    ("loyalty", "identities"): "delivered skipped",  # known already, or not yet: that depends on what waits together
    ("loyalty", "attributes"): "delivered",
    ("email", "Taken"): "delivered",
    ("email", "Unheard"): "delivered",
    ("email", "Private"): "delivered",
    ("email", "identities"): "delivered skipped",
    ("email", "attributes"): "delivered",
}
SCHEMAS = {SQLITE: "gateway.journal.sqlite.schema", POSTGRES: "gateway.journal.postgres.schema"}
STOPPING = ("vendor.supervisor", "vendor.everything")
NAMES = ("Taken", "Taken", "Taken", "Taken", "Unheard", "Private", "malformed")
FAULTS: tuple[tuple[str, int, dict[str, Any]], ...] = (  # name, most times, action; storm and error are a vendor's own
    ("429 storm", 8, {"storm": True}),
    ("503", 3, {"status": 503}),
    ("401", 2, {"status": 401}),
    ("hang", 1, {"hang": True}),
    ("hang once taken", 1, {"hang": True, "after": True}),
    ("close", 3, {"close": True}),
    ("close once taken", 2, {"close": True, "after": True}),
    ("half-close", 2, {"half_close": True}),
    ("cut short", 2, {"truncate": True}),
    ("slow drip", 2, {"drip_ms": 1}),
    ("slow", 4, {"delay_ms": 40}),
    ("garbage", 2, {"garbage": True}),
    ("200 with an error", 2, {"error": True}),
    ("200 with no JSON", 2, {"status": 200, "body": "<html>maintenance</html>"}),
)


@dataclass(frozen=True, slots=True)
class Message:
    """A user's ``number``-th message. ``words`` are those that each fact may come to, by connection and fact.

    ``id`` is that of the ledger; a message that is posted with an id used before has another one there.
    """

    id: str
    user: int
    number: int
    body: bytes
    words: dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """From the ``nth`` call on, a vendor spoils so many in this way."""

    connection: str
    name: str
    nth: int
    times: int
    action: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schedule:
    """One experiment. ``age`` is the version of the schema at first; None: the newest; 0: there is no journal yet.

    ``is_poisoned``: another client posts what cannot be stored, all the time.
    """

    engine: str
    seed: int
    number: int
    crashes: tuple[tuple[str, int], ...]
    messages: tuple[Message, ...]
    backlog: tuple[Message, ...]
    misbehaviours: tuple[Misbehaviour, ...]
    age: int | None
    posters: int
    is_poisoned: bool
    pace_s: float
    latency_ms: float

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.engine} seed {self.seed} schedule {self.number}"

    @property
    def all_messages(self) -> tuple[Message, ...]:
        """What is posted, and what waits from the start."""
        return (*self.messages, *self.backlog)

    @property
    def facts(self) -> int:
        """How many facts have to come to a word, each on each connection."""
        return sum(len(message.words) for message in self.all_messages)

    def told(self) -> str:
        """What it does, for people."""
        crashes = ", ".join(f"{point} (pass {hits})" for point, hits in self.crashes)
        spoilt = ", ".join(
            f"{one.connection}: {one.times} x {one.name} from call {one.nth}" for one in self.misbehaviours
        )
        return f"{crashes}; {len(self.messages)} posts, {len(self.backlog)} waiting; {spoilt or 'vendors behave'}"


def points(engine: str) -> list[str]:
    """The failpoints that this engine has."""
    return [name for name, point in POINTS.items() if engine in point.engines]


def draw(engine: str, seed: int, number: int) -> Schedule:
    """Draw a schedule. The first crash goes through all points in turn, so that each has its share."""
    chance = Random(f"{seed}/{number}")
    crashes = _crashes(chance, points(engine), number)
    age = _age(engine, chance, crashes)
    users = chance.sample(range(1_000, 9_999), chance.randint(1, 6))
    backlogged = chance.sample(range(10_000, 19_999), chance.randint(1, 4)) if age != 0 else []
    messages = _messages(chance, users)
    return Schedule(
        engine=engine,
        seed=seed,
        number=number,
        crashes=tuple((point, chance.randint(1, _most_hits(point, place, len(messages)))) for place, point in crashes),
        messages=messages,
        backlog=_messages(chance, backlogged, reused=0.0),  # which is not posted
        misbehaviours=tuple(_misbehaviour(chance) for _ in range(chance.choice((0, 1, 1, 2, 2, 3)))),
        age=age,
        posters=chance.randint(1, 3),
        is_poisoned=chance.random() < 0.5,
        pace_s=chance.choice((0.0, 0.002, 0.01)),
        latency_ms=chance.choice((0, 0, 2, 5)),
    )


def _crashes(chance: Random, names: list[str], number: int) -> list[tuple[int, str]]:
    """The points of one to four crashes, each with its place in their order."""
    crashes = [names[number % len(names)]]
    while len(crashes) < 4 and chance.random() < 0.5:
        crashes.append(chance.choice([name for name in names if _may_follow(name, crashes[-1])]))
    return list(enumerate(crashes))


def _may_follow(point: str, last: str) -> bool:
    """Whether a point can be passed after a crash at another: some are passed only when a process starts."""
    before = POINTS[last].role
    if point.startswith("takeover"):
        return before != "ingest"
    if point in ("migrate.statement", "migrate.before_commit"):
        return last in ("migrate.before", "migrate.statement", "migrate.before_commit")
    return POINTS[point].role != "supervisor" or before == "supervisor" or last in STOPPING


def _most_hits(point: str, place: int, posts: int) -> int:
    """How often a point is passed for certain, more or less: a later crash has less left to happen before it."""
    most = POINTS[point].most_hits
    return max(1, min(most, posts // 2) if POINTS[point].role == "ingest" else most) if place == 0 else min(2, most)


def _age(engine: str, chance: Random, crashes: list[tuple[int, str]]) -> int | None:
    """How old the journal is. Where a crash is planned for the migration, there has to be one."""
    if not any(point.startswith("migrate") for _, point in crashes):
        return None
    return chance.randrange(len(import_module(SCHEMAS[engine]).MIGRATIONS))


def _messages(chance: Random, users: list[int], *, reused: float = 0.2) -> tuple[Message, ...]:
    """Each user's messages in order, the users mixed. So many of them have the id of the user's first message."""
    order = [user for user in users for _ in range(chance.randint(1, 5))]
    chance.shuffle(order)
    return tuple(
        _message(chance, user, number, is_reused=number > 0 and chance.random() < reused)
        for number, user in ((order[:place].count(user), user) for place, user in enumerate(order))
    )


def _message(chance: Random, user: int, number: int, *, is_reused: bool) -> Message:
    names = [chance.choice(NAMES) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
    id = f"{user:08d}-0000-4000-8000-{0 if is_reused else number:012d}"
    body = json.dumps(
        {
            "type": "event_processing_request",
            "id": id,
            "timestamp_ms": 1_714_565_696_789 + number,
            "firehose_version": "3.2.0",
            "account": {"account_id": 7, "account_settings": {"apiKey": CUSTOMERS_OWN}},
            "mpid": str(user),
            "user_identities": [
                {"type": "customer", "encoding": "raw", "value": f"c-{user}"},
                {"type": "email", "encoding": "raw", "value": f"u{user}@example.com"},
            ],
            "user_attributes": {"n": str(number)},
            "events": [_event(user, number, place, name) for place, name in enumerate(names)],
        }
    ).encode()
    _, (entry,) = read_entries(body, None, b"")
    stored_id = under_own_id(entry, b"").message if is_reused else id
    return Message(id=stored_id, user=user, number=number, body=body, words=_words(entry, names))


def _event(user: int, number: int, place: int, name: str) -> dict[str, Any]:
    if name == "malformed":
        return {"type": "privacy_setting_change", "id": f"{user}-{number}-{place}", "timestamp_ms": 1}
    return {
        "type": "custom_event",
        "id": f"{user}-{number}-{place}",
        "timestamp_ms": 1_714_565_696_789 + 10 * number + place,
        "name": name,
        "attributes": {"key": f"k{user}-{number:02d}-{place}"},
    }


def _words(entry: Entry, names: list[str]) -> dict[tuple[str, str], str]:
    """What may become of every fact, by connection and fact."""
    batch = decode(entry.dialect, entry.body, message=entry.message, part=entry.part)
    told = {
        fact.id: fact.id if "event" not in fact.arguments else fact.arguments["event"].name
        for fact in iter_facts(batch)
    }
    assert len(batch.quarantined) == names.count("malformed")
    dead = {(name, one.id): "dead" for name in CONNECTIONS for one in batch.quarantined}
    return dead | {(name, fact): WORDS[name, what] for name in CONNECTIONS for fact, what in told.items()}


def _misbehaviour(chance: Random) -> Misbehaviour:
    name, most, action = chance.choice(FAULTS)
    return Misbehaviour(chance.choice(CONNECTIONS), name, chance.randint(1, 12), chance.randint(1, most), action)
