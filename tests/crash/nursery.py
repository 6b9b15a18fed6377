"""The nursery: a process that has imported everything, and forks gateways instead of starting Python anew.

What runs in them is the gateway as it is: ``gateway serve``, its supervisor, its roles; with failpoints in it, and with
shorter waits. A fork takes milliseconds where a new Python takes a second, which is what makes thousands of crashes
affordable. That processes are started as they should be is for other tests to show.

It reads a line of JSON for each gateway to start (``directory``, ``crashes``) and answers with the process id of
its supervisor; told of one that has ``ended``, it answers with its status. In the directory it expects
``gateway.toml``, and it leaves ``serve.log`` and, in ``processes``, a line for each process that was started. An
argument names a bug to plant (see ``crash.planted``).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from crash import poison
from crash.failpoints import HOOKS, Fuse, install

from gateway.cli import main

PRELOADED = ("uvloop", "gateway.cli.serve", "gateway.ingest.role", "gateway_sessionm", "gateway_sailthru")


class Process:
    """As much of ``asyncio.subprocess.Process`` as the supervisor uses."""

    def __init__(self, pid: int, stdin: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._stdin = stdin

    async def wait(self) -> int:
        """Wait for its end; its status, or the negative number of the signal that ended it."""
        loop, ended, watch = asyncio.get_running_loop(), asyncio.Event(), os.pidfd_open(self.pid)
        loop.add_reader(watch, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(watch)
            os.close(watch)
        os.close(self._stdin)
        self.returncode = exit_code(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


def exit_code(pid: int) -> int:
    """That of a child which has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def fork_instead(*command: str, stdin: int, pass_fds: tuple[int, ...], process_group: int) -> Process:
    """What the supervisor calls to start a process of a role."""
    assert (stdin, process_group) == (asyncio.subprocess.PIPE, 0)
    arguments = list(command[command.index("gateway") + 1 :])
    theirs, ours = os.pipe()
    pid = forked(arguments, arguments[arguments.index("--role") + 1], stdin=theirs, keep=pass_fds)
    os.close(theirs)
    HOOKS.pass_(("supervisor.started",))
    return Process(pid, ours)


def forked(arguments: list[str], role: str, *, stdin: int, keep: tuple[int, ...] = ()) -> int:
    """Fork a process that runs ``gateway`` with these arguments; returns its id."""
    pid = os.fork()
    if pid == 0:
        begin(arguments, role, stdin, keep)
    with Path("processes").open("a") as processes:
        processes.write(json.dumps({"role": role, "pid": pid}) + "\n")
    return pid


def begin(arguments: list[str], role: str, stdin: int, keep: tuple[int, ...]) -> None:
    """Be that process: nothing is left of whoever forked it but what it gave. Never returns."""
    status = 70
    try:
        os.setsid()
        os.dup2(stdin, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):  # asyncio's own
            signal.signal(number, signal.SIG_DFL)
        close_all_but({0, 1, 2, *keep})
        HOOKS.role = role
        status = exit_status(lambda: main(arguments, prog_name="gateway"))
    finally:
        os._exit(status)


def close_all_but(kept: set[int]) -> None:
    """Close every other file: a pipe that lived on here would keep others from seeing its end."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            with suppress(OSError):  # that of the list itself
                os.close(descriptor)


def exit_status(run: Callable[[], Any]) -> int:
    """The status with which a command ends."""
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # as Python itself would
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def start(order: dict[str, Any]) -> int:
    """Fork a supervisor in a directory of its own."""
    pid = os.fork()
    if pid:
        return pid
    os.chdir(order["directory"])
    log = os.open("serve.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    HOOKS.fuse = Fuse(Path(order["directory"]), [tuple(one) for one in order["crashes"]])
    with Path("processes").open("a") as processes:
        processes.write(json.dumps({"role": "supervisor", "pid": os.getpid()}) + "\n")
    begin(["serve", "-c", "gateway.toml"], "supervisor", os.open(os.devnull, os.O_RDONLY), ())
    raise AssertionError


def serve() -> None:
    """Carry out an order for each line that comes, until no more do; what still runs is then stopped."""
    for name in PRELOADED:
        import_module(name)
    install()
    poison.install()
    if len(sys.argv) > 1:
        getattr(import_module("crash.planted"), sys.argv[1])()
    asyncio.create_subprocess_exec = fork_instead
    alive = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "ended" in order:
            alive.discard(order["ended"])
            print(exit_code(order["ended"]), flush=True)
        else:
            alive.add(pid := start(order))
            print(pid, flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)  # and its children end by themselves


if __name__ == "__main__":
    serve()
