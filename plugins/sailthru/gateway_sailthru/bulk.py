"""Bulk: waiting memberships of many users as one job, asked after until it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gateway.sdk import JSON, Call, File, Pool, Reply, Verdict, delivered, rejected, retry
from gateway_sailthru import calls
from gateway_sailthru.merging import is_compatible, joined
from gateway_sailthru.replies import is_good, judge
from gateway_sailthru.settings import SailthruSettings

ROWS, ASKING = "rows", "asking"
BEGUN, ASKED = "job:begun", "job:asked"
LARGEST_FILE = 9_000_000
QUIET_S, LONGEST_S = 2.0, 60.0
FIRST_LOOK_S, LONGEST_LOOK_S = 5.0, 60.0
MAX_LOOKS = 360
"""Six hours, more or less: what takes longer is not waited for."""


def pools(settings: SailthruSettings) -> dict[str, Pool]:
    """Where memberships gather, and where those wait that ask after the same job; none unless jobs are wanted."""
    if not settings.bulk_from:
        return {}
    pool = Pool(most=settings.bulk_most, quiet_s=QUIET_S, longest_s=LONGEST_S)
    return {ROWS: pool, ASKING: pool}


def gathered(offered: Sequence[Call], settings: SailthruSettings) -> Iterator[Call]:
    """What many lanes have waiting: enough rows as jobs, questions after one job as one, the rest as it is."""
    rows: dict[str, Call] = {}
    others: list[Call] = []
    asked: dict[str, list[Call]] = {}
    for call in offered:
        if call.pool == ASKING:
            asked.setdefault(call.json["job_id"], []).append(call)
        elif call.pool != ROWS or "optout_email" in call.json:  # whose name in a file is not known
            others.append(call)
        elif (known := rows.get(call.json["id"])) is None:
            rows[call.json["id"]] = call
        elif is_compatible(known, call):
            rows[call.json["id"]] = joined(known, call)
        else:
            others.append(call)
    count = sum(len(call.covers or (call.id,)) for call in rows.values())
    if count >= settings.bulk_from > 0:
        yield from _jobs(rows.values())
    else:
        others = [call for call in offered if call.pool != ASKING]
    yield from others
    for same in asked.values():
        yield same[0] if len(same) == 1 else msgspec.structs.replace(same[0], covers=tuple(call.id for call in same))


def _jobs(rows: Iterable[Call]) -> Iterator[Call]:
    """Jobs for these rows, as few as the largest file allows."""
    lines: list[bytes] = []
    covered: list[str] = []
    size = 0
    for call in rows:
        line = msgspec.json.encode(row(call))
        if size + len(line) >= LARGEST_FILE:
            yield _job(lines, covered)
            lines, covered, size = [], [], 0
        lines.append(line)
        covered.extend(call.covers or (call.id,))
        size += len(line) + 1
    yield _job(lines, covered)


def row(call: Call) -> dict[str, JSON]:
    """An update of one profile as a line of a file: what a job does by itself need not be said."""
    return {name: value for name, value in call.json.items() if name != "keysconflict" or "keys" in call.json}


def _job(lines: Sequence[bytes], covered: Sequence[str]) -> Call:
    file = File(field="file", name="updates.json", content=b"\n".join(lines), type="text/plain")
    job = calls.upload("job", {"job": "update"}, file, memo={"step": BEGUN})
    return msgspec.structs.replace(job, id=covered[0], covers=tuple(covered))


def on_begun(call: Call, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """A job was to begin: ask after it in a while."""
    job_id = reply.json().get("job_id") if is_good(reply) else None
    if not isinstance(job_id, str):
        return rejected("no_job_id") if is_good(reply) else judge(call, reply, settings)
    asked = calls.request("GET", "job", {"job_id": job_id}, memo={"step": ASKED})
    return msgspec.structs.replace(asked, pool=ASKING, after_s=FIRST_LOOK_S)


def on_asked(call: Call, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """A job was asked after. Of one that failed, or hangs, every update is made by itself: they may be repeated."""
    if not is_good(reply):
        return judge(call, reply, settings)
    status = reply.json().get("status")
    if status == "completed":
        return delivered()
    if status == "error":
        return rejected("job_failed")
    if reply.attempt >= MAX_LOOKS:
        return rejected("job_hangs")
    return retry("job_pending", after_s=min(LONGEST_LOOK_S, FIRST_LOOK_S * 2 ** min(reply.attempt, 10)))
