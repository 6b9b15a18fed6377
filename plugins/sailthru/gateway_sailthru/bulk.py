"""Bulk: many users' membership changes as the lines of one job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gateway.sdk import Call, File, Reply, Verdict, delivered, path, retry
from gateway_sailthru import calls
from gateway_sailthru.merging import covered, is_update, merged
from gateway_sailthru.replies import is_good, judge
from gateway_sailthru.settings import SailthruSettings

START = "job:start"
POLL = "job:poll"
LARGEST_FILE = 9_000_000
LINE_FIELDS = ("id", "key", "vars", "lists")


def coalesced(offered: Iterable[Call], settings: SailthruSettings) -> list[Call]:
    """What waits, with fewer calls: one person's updates merged, and many people's in jobs where that is allowed."""
    by_lane: dict[str, list[Call]] = {}
    for call in offered:
        by_lane.setdefault(call.lane, []).append(call)
    lanes = [merged(lane) for lane in by_lane.values()]
    chosen = _chosen([lane[0] for lane in lanes], settings) if settings.bulk else []
    carried = {call.id for call in chosen}
    rest = [call for lane in lanes for call in lane if call.id not in carried]
    return [*_jobs(chosen), *rest]


def _chosen(heads: Sequence[Call], settings: SailthruSettings) -> list[Call]:
    """Of the calls that stand first in their lanes, the membership changes of lists that have very many."""
    changes = [call for call in heads if is_update(call) and "lists" in call.json and _fits_a_line(call)]
    users = Counter(name for call in changes for name in call.json["lists"])
    return [call for call in changes if any(users[name] > settings.bulk_threshold for name in call.json["lists"])]


def _fits_a_line(call: Call) -> bool:
    return set(call.json) <= {*LINE_FIELDS, "keysconflict"}


def _jobs(changes: Iterable[Call]) -> Iterator[Call]:
    lines: list[bytes] = []
    carried: list[Call] = []
    size = 0
    for call in changes:
        line = json.dumps({field: call.json[field] for field in LINE_FIELDS if field in call.json}).encode() + b"\n"
        if size + len(line) > LARGEST_FILE:
            yield _job(lines, carried)
            lines, carried, size = [], [], 0
        lines.append(line)
        carried.append(call)
        size += len(line)
    if carried:
        yield _job(lines, carried)


def _job(lines: list[bytes], carried: list[Call]) -> Call:
    return msgspec.structs.replace(
        carried[0],
        path=path("job"),
        json=None,
        form={"job": "update"},
        file=File(field="file", name="update.jsonl", content=b"".join(lines)),
        scope="POST job",
        memo={"step": START},
        covers=tuple(id for call in carried for id in covered(call)),
    )


def on_started(call: Call, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """A job was handed over: ask how it is doing."""
    if not is_good(reply):
        return judge(call, reply, settings)
    job = reply.json().get("job_id")
    if not isinstance(job, str):
        return retry("no_job_id")
    return calls.request("GET", "job", {"job_id": job}, memo={"step": POLL})


def on_polled(call: Call, reply: Reply, settings: SailthruSettings) -> Verdict | None:
    """A job's state: asked again ever more slowly until it ends; one that failed is handed over anew, whole.

    That is safe, because every line says what shall be and not what shall be done.
    """
    if reply.status == 404:
        return retry("job_unknown", restart=True)
    if not is_good(reply):
        return judge(call, reply, settings)
    status = reply.json().get("status")
    if status == "completed":
        return delivered("by_job")
    if status == "error":
        return retry("job_failed", restart=True)
    return retry("job_pending", after_s=min(60.0, 5.0 * 2 ** min(reply.attempt - 1, 10)))
