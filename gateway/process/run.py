"""A child process of the gateway: load the configuration, then run one role until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from gateway import log
from gateway.process.heartbeat import Heartbeat
from gateway.settings import Configuration, load

MAX_DESCRIPTORS = 65_536
Role = Callable[[Configuration, asyncio.Event], Awaitable[None]]


def run_role(role: Role, file: Path | None, *, supervised: bool, heartbeat: int | None = None) -> None:
    """Run one role in this process until SIGTERM or SIGINT.

    A supervisor holds the other end of standard input: if it dies, its children stop by themselves. ``heartbeat`` is
    the file descriptor of a Heartbeat that it watches.
    """
    settings = load(file)
    log.configure(settings.log.format, settings.log.level)
    _raise_descriptor_limit()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold users' data and secrets

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if supervised:
            loop.add_reader(0, _watch, loop, stop)
        beating = None if heartbeat is None else asyncio.create_task(Heartbeat(heartbeat).keep())
        try:
            await role(settings, stop)
        finally:
            if beating is not None:
                beating.cancel()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _raise_descriptor_limit() -> None:
    """Allow this process as many open files as it may have; systems start processes with a low limit of 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _watch(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 1024):
        loop.remove_reader(0)
        stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not available on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
