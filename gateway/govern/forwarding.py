"""Forwarding rules: decide by user, input and event attributes what is sent, each with its reason and its setting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from gateway.govern.switches import make_setting_key
from gateway.mparticle import names
from gateway.mparticle.parts import user_key
from gateway.plugins.connections import Connection
from gateway.sdk import Batch, ConsentRecord, Event
from gateway.settings.filtering import ConsentRule

UNKNOWN = "unknown"


class SkipReason(NamedTuple):
    """Why something is not sent: the reason, and the setting that decided."""

    reason: str
    cause: str


Rule = Callable[[Batch], SkipReason | None]
"""Returns why nothing of a batch is sent, or None."""
EventRule = Callable[[Event], SkipReason | None]
"""Returns why an event is not sent, or None."""


def make_user_rules(connection: Connection, key: str) -> Iterator[Rule]:
    """Yield the rules about the user, which apply to memberships too."""
    configured, defaults = connection.configured, connection.plugin.destination.defaults
    login = defaults.login_identities if configured.login_identities is None else configured.login_identities
    if login:
        yield _require_login(
            frozenset(map(names.identity, login)), SkipReason("not_logged_in", f"{key}.login_identities")
        )
    if configured.sample_percent < 100:
        yield _sample(configured.sample_percent, SkipReason("not_sampled", f"{key}.sample_percent"))


def make_input_rules(connection: Connection, key: str) -> Iterator[Rule]:
    """Yield the rules about input and consent, which an audience message never states."""
    configured, supported = connection.configured, connection.plugin.destination.platforms
    yield from _make_history_rules(connection, key)
    if supported is not None:
        yield _require_supported(frozenset(supported), SkipReason("unsupported_platform", f"{key}.plugin"))
    if configured.platforms is not None:
        platforms = frozenset(names.platform(one, None) or UNKNOWN for one in configured.platforms)
        skip = SkipReason("other_platform", f"{key}.platforms")
        yield lambda batch: None if (batch.device.platform or UNKNOWN) in platforms else skip
    if configured.environments is not None:
        environments, other = configured.environments, SkipReason("other_environment", f"{key}.environments")
        yield lambda batch: None if (batch.environment or UNKNOWN) in environments else other
    if configured.min_app_version is not None:
        yield _require_version(configured.min_app_version, SkipReason("old_app_version", f"{key}.min_app_version"))
    for regulation, rules in (("gdpr", configured.consent.gdpr), ("ccpa", configured.consent.ccpa)):
        for purpose, rule in rules.items():
            skip = SkipReason("no_consent", make_setting_key(f"{key}.consent.{regulation}", purpose))
            yield _require_consent(regulation, _normalise(purpose), rule, skip)


def _make_history_rules(connection: Connection, key: str) -> Iterator[Rule]:
    configured, defaults = connection.configured, connection.plugin.destination.defaults
    if defaults.no_replayed if configured.no_replayed is None else configured.no_replayed:
        replayed = SkipReason("replayed", f"{key}.no_replayed")
        yield lambda batch: replayed if batch.is_replayed else None
    if defaults.no_historical if configured.no_historical is None else configured.no_historical:
        historical = SkipReason("historical", f"{key}.no_historical")
        yield lambda batch: historical if batch.is_historical else None


def make_event_rules(connection: Connection, key: str) -> Iterator[EventRule]:
    """Yield the rules about the attributes of an event."""
    for name, values in connection.configured.only_events_with.items():
        yield _match_attribute(
            name,
            values,
            wanted=True,
            skip=SkipReason("event_rule", make_setting_key(f"{key}.only_events_with", name)),
        )
    for name, values in connection.configured.no_events_with.items():
        yield _match_attribute(
            name,
            values,
            wanted=False,
            skip=SkipReason("event_rule", make_setting_key(f"{key}.no_events_with", name)),
        )


def _require_login(types: frozenset[str], skip: SkipReason) -> Rule:
    def rule(batch: Batch) -> SkipReason | None:
        known = (identity.type for identity in batch.user.identities if identity.value.strip())
        return skip if types.isdisjoint(known) else None

    return rule


def _require_supported(platforms: frozenset[str], skip: SkipReason) -> Rule:
    def rule(batch: Batch) -> SkipReason | None:
        platform = batch.device.platform
        return None if platform is None or platform in platforms else skip

    return rule


def _sample(percent: float, skip: SkipReason) -> Rule:
    """Return a rule that selects users by a hash: a user stays selected when the percentage grows."""
    bound = int(percent / 100 * 2**64)

    def rule(batch: Batch) -> SkipReason | None:
        key = user_key(batch.user, batch.device_stamp) or f"message:{batch.id}"
        share = int.from_bytes(blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest())
        return None if share < bound else skip

    return rule


def _require_version(least: str, skip: SkipReason) -> Rule:
    wanted = _parse_version(least)

    def rule(batch: Batch) -> SkipReason | None:
        version = batch.app.version
        found = _parse_version(version) if version else ()
        return skip if found and _pad(found, wanted) < _pad(wanted, found) else None

    return rule


def _parse_version(version: str) -> tuple[int, ...]:
    """Return the first numbers in a version: (4, 2, 1) of "4.2.1 (build 77)"."""
    found = re.search(r"\d+(?:\.\d+)*", version)
    return tuple(int(number[:18]) for number in found[0].split(".")) if found else ()


def _pad(version: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return version + (0,) * (len(other) - len(version))


def _require_consent(regulation: str, purpose: str, rule: ConsentRule, skip: SkipReason) -> Rule:
    wanted = rule.endswith("true")
    only_if = rule.startswith("only_if")

    def check(batch: Batch) -> SkipReason | None:
        records: Mapping[str, ConsentRecord] = getattr(batch.user.consent, regulation)
        consented = next((one.consented for name, one in records.items() if _normalise(name) == purpose), None)
        if consented is None and any(q.type == "message" and "consent_state" in q.id for q in batch.quarantined):
            return skip  # the user's decision cannot be read
        return None if (consented is wanted) is only_if else skip

    return check


def _normalise(purpose: str) -> str:
    return purpose.strip().casefold()


def _match_attribute(name: str, values: Sequence[Any], *, wanted: bool, skip: SkipReason) -> EventRule:
    texts = frozenset(text for value in values for text in (_text(value), str(value)))

    def rule(event: Event) -> SkipReason | None:
        has = name in event.attributes and _text(event.attributes[name]) in texts
        return None if has is wanted else skip

    return rule


def _text(value: Any) -> str:
    """Return a value as Firehose writes it: there numbers and booleans are text."""
    if isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false")):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
