"""The black box: memory that a supervisor shares with its dispatcher, and that outlives it.

It holds which plugin runs now, for which batch and since when, so that a process that dies of a plugin is not taken to
have died of anything else; and how much time each connection's plugin has cost all the others.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

import msgspec

SIZE = 65_536
RUNS = Struct("=Bd")
ABOUT = Struct("=q16sqq128s")
ACCOUNTS_AT = 256
LENGTH = Struct("=I")

SHARE = 0.05
"""The part of everybody's time that one connection's plugin may take up beyond what is usual."""
AT_ONCE_S = 10.0
"""How much of it a plugin may take up before its connection has to rest."""
MOST_REST_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A hook of a connection's plugin at work on a batch, ``since`` seconds of the monotonic clock, in process ``pid``.

    ``doing`` is ``plan``, ``coalesce``, ``sign`` or ``on_reply``; ``user`` and ``seq`` say where the batch lies.
    """

    pid: int
    since: float
    doing: str
    connection: str
    user: int
    seq: int


class Blackbox:
    """The black box behind a file descriptor. Nothing in it is of any use after the machine has been restarted.

    ``is_alone``: there is one connection only, so that its plugin costs nobody else anything.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic, *, is_alone: bool = False) -> None:
        self._is_alone = is_alone
        self._memory = mmap.mmap(descriptor, SIZE)
        self._clock = clock
        self._pid = os.getpid()

    def about(self, connection: bytes, doing: bytes, user: int, seq: int) -> None:
        """Say what the next hook that runs works on."""
        ABOUT.pack_into(self._memory, RUNS.size, self._pid, doing, user, seq, connection)

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
        pid, doing, user, seq, connection = ABOUT.unpack_from(self._memory, RUNS.size)
        words = [word.rstrip(b"\0").decode() for word in (doing, connection)]
        return Running(pid=pid, since=since, doing=words[0], connection=words[1], user=user, seq=seq)

    def charge(self, connection: str, seconds: float) -> None:
        """A connection's plugin has cost all others so much time."""
        accounts = self._accounts()
        accounts[connection] = (self._owed(accounts.get(connection)) + seconds, self._clock())
        written = msgspec.json.encode({name: one for name, one in accounts.items() if self._owed(one)})
        if LENGTH.size + len(written) <= SIZE - ACCOUNTS_AT:
            LENGTH.pack_into(self._memory, ACCOUNTS_AT, 0)
            begin = ACCOUNTS_AT + LENGTH.size
            self._memory[begin : begin + len(written)] = written
            LENGTH.pack_into(self._memory, ACCOUNTS_AT, len(written))

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
        """What was written last; nothing where its writer died over it."""
        (length,) = LENGTH.unpack_from(self._memory, ACCOUNTS_AT)
        begin = ACCOUNTS_AT + LENGTH.size
        try:
            return msgspec.json.decode(self._memory[begin : begin + length], type=dict[str, tuple[float, float]])
        except msgspec.DecodeError:
            return {}


def memory() -> int:
    """A file descriptor with room for a black box, which child processes may be given."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gateway-blackbox")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, SIZE)
    return descriptor
