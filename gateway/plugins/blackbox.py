"""The black box: memory that the supervisor shares with its dispatcher, and that outlives the dispatcher.

It holds three things. First, which hook runs now, since when, and for which batch or which lanes of a shared call: so
the next process knows which plugin its predecessor died of. Second, which lanes are suspected of such a death. Third,
how much time each connection's plugin has cost the other connections.
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

MAX_MEMBERS = 16_384
"""The most lanes that may share one call, so that the box can name all of them."""
SINCE_AT = 8
ABOUT_AT = 16
ABOUT = Struct("=q16sqqI128s")
CHARGES_AT = 256
MAX_CHARGES_BYTES = 65_536
MEMBERS_AT = CHARGES_AT + 2 * MAX_CHARGES_BYTES + 64
SUSPECTS_AT = MEMBERS_AT + 8 * MAX_MEMBERS
MAX_SUSPECTS_BYTES = 65_536 + 9 * 4 * MAX_MEMBERS
SIZE_BYTES = SUSPECTS_AT + 2 * MAX_SUSPECTS_BYTES + 64
LENGTH = Struct("=I")
MAX_READS = 100
"""The reader gives up after so many reads that each see a change: hooks that end so often do not hang."""

SHARE = 0.05
"""The part of the process's time that the slow hooks of one connection may take."""
MAX_DEBT_S = 10.0
"""The debt, in seconds, from which on a connection rests until its debt is smaller."""
MAX_REST_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningHook:
    """A hook that runs in process ``pid`` since ``since``, in seconds of the monotonic clock.

    ``doing`` is ``plan``, ``coalesce``, ``sign`` or ``on_reply``. ``user`` and ``seq`` name the batch that the hook
    works on. ``members`` are the users whose lanes share the call, if several do.
    """

    pid: int
    since: float
    doing: str
    connection: str
    user: int
    seq: int
    members: tuple[int, ...] = ()


class VersionedBytes:
    """Bytes in shared memory that are replaced as a whole, so that neither a reader nor a crash meets half of them.

    There is room for two versions. The new one is written beside the old one; then one byte, the version's number,
    makes it the valid one.
    """

    def __init__(self, memory: mmap.mmap, at: int, max_bytes: int) -> None:
        self._memory = memory
        self._at = at
        self._max_bytes = max_bytes - LENGTH.size

    def read(self) -> bytes:
        """Return the bytes that were written last."""
        while True:
            version = self._memory[self._at]
            begin = self._begin(version)
            (length,) = LENGTH.unpack_from(self._memory, begin)
            read = self._memory[begin + LENGTH.size : begin + LENGTH.size + length]
            if self._memory[self._at] == version:
                return read

    def write(self, written: bytes) -> None:
        """Replace the bytes, unless the new ones are too long."""
        if len(written) > self._max_bytes:
            return
        version = (self._memory[self._at] + 1) % 256
        begin = self._begin(version)
        LENGTH.pack_into(self._memory, begin, len(written))
        self._memory[begin + LENGTH.size : begin + LENGTH.size + len(written)] = written
        self._memory[self._at] = version

    def _begin(self, version: int) -> int:
        return self._at + 8 + (version % 2) * (self._max_bytes + LENGTH.size)


class Blackbox:
    """The black box behind a file descriptor. Its contents mean nothing after a restart of the machine.

    ``is_alone``: there is only one connection, so its plugin costs no other connection anything.

    The supervisor reads while the dispatcher writes. A flag of one byte says whether a hook runs; everything else
    about the hook changes only while the flag is down. ``Struct.pack_into`` would not do for flag and time: it fills
    the memory with zeros first.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic, *, is_alone: bool = False) -> None:
        self._is_alone = is_alone
        self._memory = mmap.mmap(descriptor, SIZE_BYTES)
        self._since = memoryview(self._memory)[SINCE_AT:ABOUT_AT].cast("d")
        self._charges = VersionedBytes(self._memory, CHARGES_AT, MAX_CHARGES_BYTES)
        self._suspected = VersionedBytes(self._memory, SUSPECTS_AT, MAX_SUSPECTS_BYTES)
        self._clock = clock
        self._pid = os.getpid()

    def note_subject(self, connection: bytes, doing: bytes, user: int, seq: int, members: Sequence[int] = ()) -> None:
        """Note the subject of the next hook. Call it while no hook runs."""
        if members:
            written = array("q", members).tobytes()
            self._memory[MEMBERS_AT : MEMBERS_AT + len(written)] = written
        ABOUT.pack_into(self._memory, ABOUT_AT, self._pid, doing, user, seq, len(members), connection)

    def begin_hook(self, now: float) -> None:
        """Note that a hook begins: first the time, then the flag."""
        self._since[0] = now
        self._memory[0] = 1

    def end_hook(self) -> None:
        """Note that no hook runs."""
        self._memory[0] = 0

    def read_running_hook(self) -> RunningHook | None:
        """Return the hook that runs now, or that ran when its process died."""
        for _ in range(MAX_READS):
            if not self._memory[0]:
                return None
            since = self._since[0]
            pid, doing, user, seq, shared, connection = ABOUT.unpack_from(self._memory, ABOUT_AT)
            members = self._memory[MEMBERS_AT : MEMBERS_AT + 8 * shared]
            if self._memory[0] and self._since[0] == since:  # no other hook has begun meanwhile
                return RunningHook(
                    pid=pid,
                    since=since,
                    doing=doing.rstrip(b"\0").decode(),
                    connection=connection.rstrip(b"\0").decode(),
                    user=user,
                    seq=seq,
                    members=tuple(array("q", members)),
                )
        return None

    def set_suspects(self, connection: str, lanes: Collection[int]) -> None:
        """Suspect these lanes of a connection, and no others, of having killed a process."""
        suspects = {**self._read_all_suspects(), connection: list(lanes)}
        self._suspected.write(msgspec.msgpack.encode({name: one for name, one in suspects.items() if one}))

    def read_suspects(self, connection: str) -> frozenset[int]:
        """Return the lanes of a connection that are suspected of having killed a process."""
        return frozenset(self._read_all_suspects().get(connection, ()))

    def charge(self, connection: str, seconds: float) -> None:
        """Charge a connection for time that its plugin cost the others."""
        debts = self._read_debts()
        debts[connection] = (self._remaining_s(debts.get(connection)) + seconds, self._clock())
        self._charges.write(msgspec.json.encode({name: one for name, one in debts.items() if self._remaining_s(one)}))

    def rest_s(self, connection: str) -> float:
        """Return how long a connection has to rest for the time that its plugin cost the others."""
        if self._is_alone:
            return 0.0
        excess = self._remaining_s(self._read_debts().get(connection)) - MAX_DEBT_S
        return min(MAX_REST_S, max(0.0, excess / SHARE))

    def _remaining_s(self, debt: tuple[float, float] | None) -> float:
        if debt is None:
            return 0.0
        seconds, at = debt
        return max(0.0, seconds - max(0.0, self._clock() - at) * SHARE)

    def _read_debts(self) -> dict[str, tuple[float, float]]:
        try:
            return msgspec.json.decode(self._charges.read(), type=dict[str, tuple[float, float]])
        except msgspec.DecodeError:
            return {}

    def _read_all_suspects(self) -> dict[str, list[int]]:
        try:
            return msgspec.msgpack.decode(self._suspected.read(), type=dict[str, list[int]])
        except msgspec.DecodeError:
            return {}


def allocate_memory(size_bytes: int = SIZE_BYTES) -> int:
    """Return a file descriptor of shared memory, with room for a black box, which child processes may inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gateway-blackbox")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size_bytes)
    return descriptor
