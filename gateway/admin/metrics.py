"""Metrics in the text format of Prometheus.

The journal counts facts in the transaction that changes their state: these counts are exact, survive every crash, and
are the same in every process. Measurements of requests are those of this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Counted
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.journal.backlog import Backlog
from gateway.journal.types import Count
from gateway.journal.wait_reasons import RETRY
from gateway.plugins.reasons import OTHER, WORD

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_REASONS = 20
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_registry = CollectorRegistry()
_seconds = Histogram(
    "gateway_answer_seconds", "Time from the first byte of a post to its answer.", buckets=BUCKETS, registry=_registry
)
_answers = Counted("gateway_answers", "Posts answered, by status.", ["status"], registry=_registry)
_batches = Counted("gateway_batches", "Batches in accepted messages, by kind.", ["kind", "seen"], registry=_registry)

_readings = Counted(
    "gateway_posts_read",
    "Posts read, by whether one pass was enough (usual) or not (full).",
    ["reader"],
    registry=_registry,
)
_conflicts = Counted(
    "gateway_message_id_conflicts", "Batches whose message id was used before for other content.", registry=_registry
)

_connections = Gauge("gateway_connections_open", "Connections of clients that are open.", registry=_registry)


_child = cache(Counted.labels)  # the lookup costs more than the count


def count_answer(status: int, seconds: float) -> None:
    """Count an answered post."""
    _seconds.observe(seconds)
    _child(_answers, str(status)).inc()


def count_batches(kind: str, batches: int, new: int) -> None:
    """Count the batches of a stored message, and those that were new."""
    _child(_batches, kind, "first").inc(new)
    if new < batches:
        _child(_batches, kind, "again").inc(batches - new)


def count_reading(*, is_usual: bool) -> None:
    """Count a post that was read, in one pass if it was a usual one."""
    _child(_readings, "usual" if is_usual else "full").inc()


def count_conflicts(batches: int) -> None:
    """Count batches that were stored under another id, since theirs was used before for other content."""
    _conflicts.inc(batches)


def set_connections(open_: int) -> None:
    """Set the number of open client connections."""
    _connections.set(open_)


class _FactCollector:
    """Collector of the journal's counts, read for one answer."""

    def __init__(self, counts: Iterable[Count]) -> None:
        facts: Counter[tuple[str, str, str]] = Counter()
        for count in counts:  # an account counts as its connection
            facts[count.connection.partition("/")[0], count.state, count.reason] += count.facts
        self._counts = [Count(connection=c, state=w, reason=r, facts=n) for (c, w, r), n in facts.items()]

    def collect(self) -> Iterator[Metric]:
        received = CounterMetricFamily("gateway_facts_received", "Facts accepted.", labels=["connection"])
        done = CounterMetricFamily(
            "gateway_facts", "Finished facts by state and reason.", labels=["connection", "word", "reason"]
        )
        in_flight = GaugeMetricFamily("gateway_facts_in_flight", "Facts without an outcome yet.", labels=["connection"])
        left: Counter[str] = Counter()
        for count in self._counts:
            if count.state == "received":
                received.add_metric([count.connection], count.facts)
                left[count.connection] += count.facts
            else:
                done.add_metric([count.connection, count.state, count.reason], count.facts)
                left[count.connection] -= count.facts
        for connection, facts in left.items():
            in_flight.add_metric([connection], facts)
        yield from (received, done, in_flight)


class _BacklogCollector:
    """Collector of the backlog, read for one answer or shortly before."""

    def __init__(self, backlog: Iterable[Backlog], now_ms: int) -> None:
        self._backlog = list(backlog)
        self._now_ms = now_ms

    def collect(self) -> Iterator[Metric]:
        oldest = GaugeMetricFamily(
            "gateway_oldest_waiting_seconds", "Age of the oldest batch that waits.", labels=["connection"]
        )
        lanes = GaugeMetricFamily(
            "gateway_lanes_waiting", "Users with work, by what they wait for.", labels=["connection", "reason"]
        )
        by_connection: dict[str, list[Backlog]] = {}
        for one in self._backlog:  # an account counts as its connection
            by_connection.setdefault(one.connection.partition("/")[0], []).append(one)
        for connection, backlogs in by_connection.items():
            times = [one.oldest_ms for one in backlogs if one.batches]
            if times:
                oldest.add_metric([connection], max(0, self._now_ms - min(times)) / 1000)
            for reason, count in _by_reason(backlogs).items():
                lanes.add_metric([connection, reason], count)
        yield from (oldest, lanes)


def _by_reason(backlogs: Iterable[Backlog]) -> Counter[str]:
    """Return the lanes by the word of their reason. Texts, and rare reasons of plugins, are ``other``."""
    lanes: Counter[str] = Counter()
    for one in (waiting for backlog in backlogs for waiting in backlog.waiting):
        reason = "in_hand" if one.claimed else one.reason.detail if one.reason.code == RETRY else one.reason.code
        is_counted = reason in lanes or (len(lanes) < MAX_REASONS and WORD.fullmatch(reason))
        lanes[reason if is_counted else OTHER] += one.lanes
    return lanes


def render(counts: Iterable[Count], backlog: Iterable[Backlog], now_ms: int) -> bytes:
    """Return all metrics as text."""
    facts = CollectorRegistry()
    facts.register(_FactCollector(counts))
    facts.register(_BacklogCollector(backlog, now_ms))
    return generate_latest(_registry) + generate_latest(facts)
