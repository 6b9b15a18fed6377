"""Bulk: the waiting memberships of many users as one job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gateway.sdk import JSON, Call, Pool
from gateway_sailthru.calls import POLL_POOL, start_job
from gateway_sailthru.merging import is_compatible, join_updates, list_covered
from gateway_sailthru.settings import SailthruSettings

ROW_POOL = "rows"
"""The pool in which memberships gather."""
MAX_FILE_BYTES = 9_000_000
QUIET_S, LONGEST_S = 2.0, 60.0


BULK_UNKNOWN = frozenset({"optout_email", "pixel_tracking_consent"})
"""Fields of a profile whose name in a job's file is not known."""


def get_pools(settings: SailthruSettings) -> dict[str, Pool]:
    """Return the pools of memberships and of polls after the same job; none unless the settings allow jobs."""
    if not settings.bulk_from:
        return {}
    pool = Pool(most=settings.bulk_most, quiet_s=QUIET_S, longest_s=LONGEST_S)
    return {ROW_POOL: pool, POLL_POOL: pool}


def merge_pool(offered: Sequence[Call], settings: SailthruSettings) -> Iterator[Call]:
    """Merge what many lanes have waiting: enough rows become jobs, polls of one job become one, the rest stays."""
    rows: dict[str, Call] = {}
    others: list[Call] = []
    polls: dict[str, list[Call]] = {}
    for call in offered:
        if call.pool == POLL_POOL:
            polls.setdefault(call.json["job_id"], []).append(call)
        elif call.pool != ROW_POOL or not BULK_UNKNOWN.isdisjoint(call.json):
            others.append(call)
        elif (known := rows.get(call.json["id"])) is None:
            rows[call.json["id"]] = call
        elif is_compatible(known, call):
            rows[call.json["id"]] = join_updates(known, call)
        else:
            others.append(call)
    count = sum(len(list_covered(call)) for call in rows.values())
    if count >= settings.bulk_from > 0:
        yield from _make_jobs(rows.values())
    else:
        others = [call for call in offered if call.pool != POLL_POOL]
    yield from others
    for same in polls.values():
        yield same[0] if len(same) == 1 else msgspec.structs.replace(same[0], covers=tuple(call.id for call in same))


def _make_jobs(rows: Iterable[Call]) -> Iterator[Call]:
    """Yield jobs for these rows, as few as the largest file allows."""
    lines: list[bytes] = []
    covers: list[str] = []
    size = 0
    for call in rows:
        line = msgspec.json.encode(_make_row(call))
        if size + len(line) >= MAX_FILE_BYTES:
            yield start_job(lines, covers)
            lines, covers, size = [], [], 0
        lines.append(line)
        covers.extend(list_covered(call))
        size += len(line) + 1
    yield start_job(lines, covers)


def _make_row(call: Call) -> dict[str, JSON]:
    """Return an update of one profile as a line of a file; without new keys a line needs no ``keysconflict``."""
    return {name: value for name, value in call.json.items() if name != "keysconflict" or "keys" in call.json}
