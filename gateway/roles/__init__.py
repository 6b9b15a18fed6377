"""Roles: what a process of the gateway is for. Each has a module of its own, and imports no more than it needs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import log
from gateway.settings import Settings, load

Role = Callable[[Settings, asyncio.Event], Awaitable[None]]


def tend_garbage() -> None:
    """Look for garbage less often, and never at what was made at start: hardly anything here is in a cycle."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def run(role: Role, file: Path | None, *, supervised: bool) -> None:
    """Run one role as this process's whole business, until SIGTERM or SIGINT.

    A supervisor holds the other end of standard input: should it die, its children stop by themselves.
    """
    settings = load(file)
    log.configure(settings.log)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if supervised:
            loop.add_reader(0, _watch, loop, stop)
        await role(settings, stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _watch(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 1024):
        loop.remove_reader(0)
        stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop
