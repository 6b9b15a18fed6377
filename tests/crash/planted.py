"""Bugs to plant in the gateway, so that the harness can be seen to find them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from gateway.deliver.lane_worker import LaneRun, LaneWorker
from gateway.ingest.endpoint import Endpoint
from gateway.journal.sqlite import group_commit, settle
from gateway.journal.sqlite.journal import SqliteJournal
from gateway.journal.types import Settlement
from gateway.log import logger


def answers_before_storing() -> None:
    """The endpoint acknowledges what is not durable yet."""
    store: Callable[..., Awaitable[int]] = SqliteJournal.accept

    async def accept(self: SqliteJournal, new: Sequence[Any], connections: Sequence[str], *more: Any) -> int:
        tasks.append(asyncio.ensure_future(store(self, new, connections, *more)))
        return len(new)

    tasks: list[Any] = []
    SqliteJournal.accept = accept


def records_at_the_end_only() -> None:
    """The outcomes of a lane's calls are recorded when all of them have been made."""
    record = LaneWorker._record

    async def late(self: LaneWorker, settlement: Settlement) -> None:
        if settlement.release:
            await record(self, settlement)
        else:
            self.kept.extend(settlement.finished)

    settlement = LaneRun.settlement

    def whole(self: LaneRun, **given: Any) -> Settlement:
        for item in self.work:
            item.is_finished = False
        return settlement(self, **given)

    LaneWorker.kept = []
    LaneWorker._record = late
    LaneRun.settlement = whole


def counts_twice() -> None:
    """What is settled is counted once more than it should be."""
    counted = settle.count_outcomes
    settle.count_outcomes = lambda finished: [*counted(known := list(finished)), *counted(known)]


def logs_credentials() -> None:
    """The endpoint writes the Authorization header into the log."""
    answer = Endpoint._answer

    async def loud(self: Endpoint, scope: Any, receive: Any) -> Any:
        logger.info("asked", headers=[value.decode() for _, value in scope["headers"]])
        return await answer(self, scope, receive)

    Endpoint._answer = loud


def forgets_the_order() -> None:
    """A lane's calls are made in the wrong order."""
    calls = LaneWorker._calls
    LaneWorker._calls = lambda self, *given: list(reversed(calls(self, *given)))


def swallows_other_content() -> None:
    """A message whose id was used before counts as a repeat, whatever it holds."""

    async def conflicting(self: SqliteJournal, entries: Sequence[Any]) -> list[Any]:
        return []

    SqliteJournal.conflicting = conflicting


def fails_as_a_group() -> None:
    """An operation that cannot be carried out fails the others of its commit too."""

    def commit(self: group_commit.Committer, group: group_commit.Group) -> Callable[[], None]:
        futures = [future for _, future in group]
        try:
            with self._turn:
                return partial(group_commit._resolve, futures, self._transact([operation for operation, _ in group]))
        except Exception as error:  # noqa: BLE001  # as in the code before
            return partial(group_commit._fail, futures, error)

    group_commit.Committer._commit = commit
