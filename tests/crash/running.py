"""One schedule run: vendors, a gateway, posters, and a watch over what the journal says at every moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from crash.checks import Observed, balanced, broken
from crash.engines import Balances, Postgres, Sqlite
from crash.gateways import Broken, Gateway, Nursery
from crash.poison import make_poison
from crash.schedules import CONNECTIONS, Message, Schedule
from crash.vendors import Chaotic, Credentials, vendors

from gateway.settings import JournalSettings
from gateway.testing import running

MAX_S = 90.0
LOOK_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a schedule. ``problems`` are promises that were broken; ``repeats`` are calls made once more."""

    schedule: Schedule
    problems: list[str]
    crashed: list[str]
    facts: int
    repeats: int
    looks: int
    seconds: float


class Poster(threading.Thread):
    """Posts messages in order, each until it is acknowledged."""

    def __init__(self, gateway: Gateway, messages: Iterable[Message], pace_s: float) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[str] = set()
        self.refused: list[str] = []
        self._gateway = gateway
        self._messages = list(messages)
        self._pace_s = pace_s
        self._over = threading.Event()

    def run(self) -> None:
        """Post everything, or until told to give up."""
        for message in self._messages:
            while not self._over.wait(self._pace_s) and message.id not in self.acknowledged:
                self._post(message)

    def give_up(self) -> None:
        """Stop posting."""
        self._over.set()
        if self.is_alive():
            self.join(20)

    def _post(self, message: Message) -> None:
        address = self._gateway.address
        if address is None:
            self._over.wait(LOOK_S)
            return
        status = post(address, message.body, self._gateway.given.authorization)
        if status is None:
            self._over.wait(LOOK_S)
        elif status == 200:
            self.acknowledged.add(message.id)
        elif status != 503:
            self.refused.append(f"{message.id} was answered {status}")
            self._over.set()


class Poisoner(threading.Thread):
    """Posts what cannot be stored, again and again; it must be refused, or not be taken now."""

    PACE_S = 0.002

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(daemon=True)
        self.taken: list[str] = []
        self._gateway = gateway
        self._over = threading.Event()

    def run(self) -> None:
        """Post until told to give up."""
        number = 0
        while not self._over.wait(self.PACE_S):
            if (address := self._gateway.address) is not None:
                status = post(address, make_poison(number), self._gateway.given.authorization)
                number += 1
                if status not in (None, 400, 503):
                    self.taken.append(f"a post that cannot be stored was answered {status}")

    def give_up(self) -> None:
        """Stop posting."""
        self._over.set()
        if self.is_alive():
            self.join(20)


def post(address: tuple[str, int], body: bytes, authorization: str) -> int | None:
    """Post a body; the status of the answer, or None if there is none."""
    wire = HTTPConnection(*address, timeout=5)
    try:
        wire.request("POST", "/mparticle", body, {"Authorization": authorization})
        return wire.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        wire.close()


@dataclass(slots=True)
class Watch:
    """Looks at the balances again and again; ``wrong`` has what should never have been seen."""

    looks: int = 0
    last: Balances = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def look(self, balances: Balances | None) -> None:
        """Take note of the balances of one moment."""
        if balances is not None:
            self.looks += 1
            self.wrong += balanced(self.last, balances)
            self.last = balances


def run(
    schedule: Schedule, engine: Sqlite | Postgres, nursery: Nursery, directory: Path, *, most_s: float = MAX_S
) -> Result:
    """Run a schedule in a directory of its own, for so long at the most."""
    began = time.monotonic()
    given = Credentials()
    here = vendors(given)
    with ExitStack() as stack:
        urls = {name: stack.enter_context(running(vendor)) for name, vendor in here.items()}
        journal = engine.settings(directory)
        stack.callback(engine.forget, journal)
        if schedule.age != 0:
            engine.make(journal, schedule.age, [message.body for message in schedule.backlog], CONNECTIONS)
        gateway = Gateway(nursery, directory, schedule, journal, urls, given)
        experiment = Experiment(schedule, engine, journal, gateway, here)
        try:
            experiment.go_on(until=began + most_s)
            problems, repeats = broken(schedule, experiment.observed())
        except Broken as error:
            problems, repeats = [str(error)], 0
        finally:
            experiment.end()
    return Result(
        schedule=schedule,
        problems=problems,
        crashed=[one["point"] for one in gateway.fuse.past()],
        facts=schedule.facts,
        repeats=repeats,
        looks=experiment.watch.looks,
        seconds=time.monotonic() - began,
    )


class Experiment:
    """A schedule under way."""

    def __init__(
        self,
        schedule: Schedule,
        engine: Sqlite | Postgres,
        journal: JournalSettings,
        gateway: Gateway,
        here: dict[str, Chaotic],
    ) -> None:
        self.watch = Watch()
        self._schedule = schedule
        self._engine = engine
        self._journal = journal
        self._gateway = gateway
        self._vendors = here
        for name, vendor in here.items():
            spoilt = [one for one in schedule.misbehaviours if one.connection == name]
            vendor.prepare(spoilt, schedule.latency_ms, gateway.struck)
        shares: list[list[Message]] = [[] for _ in range(schedule.posters)]
        for message in schedule.messages:
            shares[message.user % schedule.posters].append(message)
        self._posters = [Poster(gateway, share, schedule.pace_s) for share in shares]
        self._poisoner = Poisoner(gateway)

    def go_on(self, *, until: float) -> None:
        """Post, and tend the gateway until all there is has its word, or until it is late. Raises Broken."""
        self._gateway.start()
        for poster in self._posters:
            poster.start()
        if self._schedule.is_poisoned:
            self._poisoner.start()
        while not self._is_done() and time.monotonic() < until:
            self._gateway.tend(LOOK_S)
            self._look()

    def observed(self) -> Observed:
        """Stop everything, and say what was seen and what is left. Raises Broken."""
        self._stop_posting()
        live = contents(self._gateway.directory)
        status, gone = self._gateway.stop(), self._gateway.gone(10)
        self._look()
        return Observed(
            acknowledged={id for poster in self._posters for id in poster.acknowledged},
            refused=[*self._poisoner.taken, *(line for poster in self._posters for line in poster.refused)],
            balances=self.watch.last,
            wrong=self.watch.wrong,
            looks=self.watch.looks,
            ledger=self._engine.ledger(self._journal),
            sent={name: vendor.sent for name, vendor in self._vendors.items()},
            last={
                (name, user): vendor.last_of(user)
                for name, vendor in self._vendors.items()
                for user in {message.user for message in self._schedule.all_messages}
            },
            crashes=len(self._gateway.fuse.past()),
            stopped=(status, gone),
            pieces=[*live, *contents(self._gateway.directory), *self._engine.values(self._journal)],
            log=self._gateway.log,
            secrets=self._gateway.given.secrets(),
        )

    def end(self) -> None:
        """Leave nothing running, however it went."""
        self._stop_posting()
        self._gateway.kill()

    def _is_done(self) -> bool:
        balances = self.watch.last.values()
        received, waiting = sum(one[0] for one in balances), sum(one[4] for one in balances)
        return (
            not any(poster.is_alive() for poster in self._posters) and received >= self._schedule.facts and not waiting
        )

    def _look(self) -> None:
        self.watch.look(self._engine.balances(self._journal))

    def _stop_posting(self) -> None:
        for client in (*self._posters, self._poisoner):
            client.give_up()


def contents(directory: Path) -> list[bytes]:
    """Every file that the gateway has made, whole. Its configuration holds the secrets: that is the harness's own."""
    pieces = []
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # the write-ahead log goes when nobody has the journal open
            if path.is_file() and path.name != "gateway.toml":
                pieces.append(path.read_bytes())
    return pieces
