"""The supervisor: listens, starts a process for each role, starts it again should it die, and stops them in order.

It holds the listening sockets itself, so that posts wait a moment instead of being refused while a process
that answers them is started again.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gateway.log import logger
from gateway.plugins import blackbox
from gateway.plugins.blackbox import Blackbox, RunningHook
from gateway.process import heartbeat
from gateway.process.heartbeat import Heartbeat
from gateway.settings import Configuration, ConfigurationError

BACKLOG = 2048
PATIENCE_S = 5.0
BIND_AGAIN_S = 0.05
FIRST_REST_S = 0.1
MAX_REST_S = 5.0
STEADY_S = 10.0
GRACE_S = 3.0
LOOK_S = 0.5
HANGS_TIMES = 3  # a hook that has run for so many times as long as it may does not end
TRACE_S = 0.2
MAX_SILENT_S = 10.0
MAX_START_S = 60.0
"""A process without a heartbeat for so long has stopped; at its start it may need to import and open much."""


def bind_all(address: str, count: int, *, patience_s: float = PATIENCE_S) -> list[socket.socket]:
    """Return listening sockets that share an address. Raises ConfigurationError if it cannot be bound.

    It is tried again for ``patience_s``: the children of a killed supervisor need a moment to end.
    """
    try:
        first = _first(address, time.monotonic() + patience_s)
        host, port = first.getsockname()[:2]
        same = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return [first, *(bind(same) for _ in range(count - 1))]
    except OSError as error:
        raise ConfigurationError([f"ingress.bind: {address}: {error.strerror or error}"]) from error


def _first(address: str, until: float) -> socket.socket:
    while True:
        try:
            bind(address, shared=False).close()  # sharing would hide that another gateway listens there
            return bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
        time.sleep(BIND_AGAIN_S)


def bind(address: str, *, shared: bool = True) -> socket.socket:
    """Return a listening socket. Raises OSError if the address cannot be bound."""
    parts = urlsplit(f"//{address}")
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared and hasattr(socket, "SO_REUSEPORT"):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((parts.hostname, parts.port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.settimeout(0)
    return listener


@dataclass(slots=True)
class Child:
    """A process of one role, started again until it is stopped."""

    name: str
    command: Sequence[str]
    descriptors: tuple[int, ...] = ()
    process: asyncio.subprocess.Process | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Run the process, and again whenever it ends by itself; returns when it was told to stop and has ended."""
        rest = FIRST_REST_S
        while not self.stopping.is_set():
            started = asyncio.get_running_loop().time()
            try:
                self.process = await asyncio.create_subprocess_exec(
                    *self.command, stdin=asyncio.subprocess.PIPE, pass_fds=self.descriptors, process_group=0
                )
                code = await self.process.wait()
            except OSError as error:  # no memory or no process to be had now
                code = error.errno or -1
            if self.stopping.is_set():
                return
            steady = asyncio.get_running_loop().time() - started > STEADY_S
            rest = FIRST_REST_S if steady else min(MAX_REST_S, rest * 2)
            logger.error("process ended; starting it again", role=self.name, code=code, rest_s=rest)
            await _until(self.stopping, rest)

    def stop(self) -> None:
        """Ask the process to finish its open work."""
        self.stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    async def end(self) -> None:
        """End it, having it say first where in its code it is."""
        self._signal(signal.SIGUSR2)
        await asyncio.sleep(TRACE_S)
        self.kill()

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


async def end_hung_hooks(child: Child, box: Blackbox, most_s: float, *, look_s: float = LOOK_S) -> None:
    """End a dispatcher in which one hook has run for longer than ``most_s``: nothing can interrupt it.

    Two looks in a row must see the same hook with the same start: a healthy dispatcher must not die of one bad read.
    """
    before: RunningHook | None = None
    while True:
        await asyncio.sleep(look_s)
        hook = box.read_running_hook()
        is_same, before = hook == before, hook
        if hook is None or not is_same or child.process is None or hook.pid != child.process.pid:
            continue
        ran_s = time.monotonic() - hook.since
        if ran_s > most_s and child.process.returncode is None:
            logger.error("a plugin cannot be interrupted", connection=hook.connection, doing=hook.doing, ran_s=ran_s)
            await child.end()


async def end_stopped_process(
    child: Child,
    beats: Heartbeat,
    *,
    max_silent_s: float = MAX_SILENT_S,
    max_start_s: float = MAX_START_S,
    look_s: float = LOOK_S,
) -> None:
    """End a process that has stopped, or whose event loop has, so that another takes its connections.

    Looks are counted, not seconds: if the whole machine stood still, so did the supervisor.
    """
    process, last, silent_looks = child.process, beats.last, 0
    while True:
        await asyncio.sleep(look_s)
        is_silent = child.process is process and beats.last == last
        process, last, silent_looks = child.process, beats.last, silent_looks + 1 if is_silent else 0
        has_begun = process is not None and last[0] == process.pid
        if process is not None and silent_looks * look_s > (max_silent_s if has_begun else max_start_s):
            logger.error("a process does not go on", role=child.name, silent_s=silent_looks * look_s)
            child.kill()
            silent_looks = 0


def _make_ingest(base: Sequence[str], listener: socket.socket) -> tuple[Child, Heartbeat]:
    """Return a process that answers posts on a socket, and its heartbeat."""
    memory = blackbox.allocate_memory(heartbeat.SIZE_BYTES)
    told = ["--role", "ingest", "--socket", str(listener.fileno()), "--heartbeat", str(memory)]
    return Child("ingest", [*base, *told], (listener.fileno(), memory)), Heartbeat(memory)


async def supervise(
    settings: Configuration, file: Path | None, listeners: Sequence[socket.socket], *, dispatch: bool
) -> None:
    """Run every role until SIGTERM or SIGINT, then stop: take no new posts, and finish open work within a bound."""
    base = [sys.executable, "-P", "-m", "gateway", "serve", "--supervised", *(["-c", str(file)] if file else [])]
    ingests = [_make_ingest(base, listener) for listener in listeners]
    children = [child for child, _ in ingests]
    watching = [asyncio.create_task(end_stopped_process(child, beats)) for child, beats in ingests]
    if dispatch:
        memory = blackbox.allocate_memory()
        child = Child("dispatch", [*base, "--role", "dispatch", "--blackbox", str(memory)], (memory,))
        children.append(child)
        most_s = HANGS_TIMES * max(settings.delivery.hook_timeout_s, settings.rules.timeout_s) + LOOK_S
        watching.append(asyncio.create_task(end_hung_hooks(child, Blackbox(memory), most_s)))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keeping = [asyncio.create_task(child.keep()) for child in children]
    await stop.wait()
    for listener in listeners:
        listener.close()
    for child in children:
        child.stop()
    for task in watching:
        task.cancel()
    _, late = await asyncio.wait(keeping, timeout=settings.ingress.shutdown_s + GRACE_S)
    for child in children if late else ():
        child.kill()
    await asyncio.gather(*keeping)


def address(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
