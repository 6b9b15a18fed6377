"""The black box: memory that a supervisor shares with its dispatcher, and that outlives it.

It holds which plugin runs now, for which batch or for the shared call of which lanes, and since when, so that a
process that dies of a plugin is not taken to have died of anything else; which lanes are suspected of that; and how
much time each connection's plugin has cost all the others.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from array import array
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from struct import Struct

import msgspec

MOST_RIDERS = 16_384
"""No more lanes share one call, so that all of them can be told of."""
RUNS = Struct("=Bd")
ABOUT = Struct("=q16sqqI128s")
ACCOUNTS_AT = 256
LENGTH = Struct("=I")
RIDERS_AT = 65_536
SUSPECTS_AT = RIDERS_AT + 8 * MOST_RIDERS
SIZE = SUSPECTS_AT + 65_536 + 9 * 4 * MOST_RIDERS

SHARE = 0.05
"""The part of everybody's time that one connection's plugin may take up beyond what is usual."""
AT_ONCE_S = 10.0
"""How much of it a plugin may take up before its connection has to rest."""
MOST_REST_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A hook of a connection's plugin at work on a batch, ``since`` seconds of the monotonic clock, in process ``pid``.

    ``doing`` is ``plan``, ``coalesce``, ``sign`` or ``on_reply``; ``user`` and ``seq`` say where the batch lies. Of
    what many lanes share, ``riders`` are their users.
    """

    pid: int
    since: float
    doing: str
    connection: str
    user: int
    seq: int
    riders: tuple[int, ...] = ()


class Blackbox:
    """The black box behind a file descriptor. Nothing in it is of any use after the machine has been restarted.

    ``is_alone``: there is one connection only, so that its plugin costs nobody else anything.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic, *, is_alone: bool = False) -> None:
        self._is_alone = is_alone
        self._memory = mmap.mmap(descriptor, SIZE)
        self._clock = clock
        self._pid = os.getpid()

    def about(self, connection: bytes, doing: bytes, user: int, seq: int, riders: Sequence[int] = ()) -> None:
        """Say what the next hook that runs works on."""
        if riders:
            written = array("q", riders).tobytes()
            self._memory[RIDERS_AT : RIDERS_AT + len(written)] = written
        ABOUT.pack_into(self._memory, RUNS.size, self._pid, doing, user, seq, len(riders), connection)

    def begins(self, now: float) -> None:
        """A hook begins."""
        RUNS.pack_into(self._memory, 0, 1, now)

    def ended(self) -> None:
        """No hook runs."""
        self._memory[0] = 0

    def running(self) -> Running | None:
        """The hook that runs now, or ran when its process died."""
        runs, since = RUNS.unpack_from(self._memory)
        if not runs:
            return None
        pid, doing, user, seq, shared, connection = ABOUT.unpack_from(self._memory, RUNS.size)
        riders = array("q", self._memory[RIDERS_AT : RIDERS_AT + 8 * shared])
        words = [word.rstrip(b"\0").decode() for word in (doing, connection)]
        return Running(
            pid=pid, since=since, doing=words[0], connection=words[1], user=user, seq=seq, riders=tuple(riders)
        )

    def suspect(self, connection: str, lanes: Collection[int]) -> None:
        """Of a connection, suspect these lanes of having killed a process, and no others."""
        suspects = {**self._suspects(), connection: list(lanes)}
        self._write(SUSPECTS_AT, SIZE, msgspec.msgpack.encode({name: one for name, one in suspects.items() if one}))

    def suspects(self, connection: str) -> frozenset[int]:
        """The lanes of a connection that are suspected of having killed a process."""
        return frozenset(self._suspects().get(connection, ()))

    def charge(self, connection: str, seconds: float) -> None:
        """A connection's plugin has cost all others so much time."""
        accounts = self._accounts()
        accounts[connection] = (self._owed(accounts.get(connection)) + seconds, self._clock())
        written = msgspec.json.encode({name: one for name, one in accounts.items() if self._owed(one)})
        self._write(ACCOUNTS_AT, RIDERS_AT, written)

    def rest_s(self, connection: str) -> float:
        """How long a connection has to rest for what its plugin has cost the others."""
        if self._is_alone:
            return 0.0
        excess = self._owed(self._accounts().get(connection)) - AT_ONCE_S
        return min(MOST_REST_S, max(0.0, excess / SHARE))

    def _owed(self, account: tuple[float, float] | None) -> float:
        if account is None:
            return 0.0
        seconds, at = account
        return max(0.0, seconds - max(0.0, self._clock() - at) * SHARE)

    def _accounts(self) -> dict[str, tuple[float, float]]:
        try:
            return msgspec.json.decode(self._read(ACCOUNTS_AT), type=dict[str, tuple[float, float]])
        except msgspec.DecodeError:
            return {}

    def _suspects(self) -> dict[str, list[int]]:
        try:
            return msgspec.msgpack.decode(self._read(SUSPECTS_AT), type=dict[str, list[int]])
        except msgspec.DecodeError:
            return {}

    def _read(self, at: int) -> bytes:
        """What was written there last; nothing where its writer died over it."""
        (length,) = LENGTH.unpack_from(self._memory, at)
        return self._memory[at + LENGTH.size : at + LENGTH.size + length]

    def _write(self, at: int, end: int, written: bytes) -> None:
        """Write it there, unless it is too long."""
        begin = at + LENGTH.size
        if begin + len(written) <= end:
            LENGTH.pack_into(self._memory, at, 0)
            self._memory[begin : begin + len(written)] = written
            LENGTH.pack_into(self._memory, at, len(written))


def memory() -> int:
    """A file descriptor with room for a black box, which child processes may be given."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gateway-blackbox")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, SIZE)
    return descriptor
