"""Forwarding rules: whose data is sent, from where, and which events; each refusal with its reason and its setting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from gateway.govern.names import make_setting_key
from gateway.mparticle import names
from gateway.mparticle.parts import user_key
from gateway.plugins.connections import Connection
from gateway.sdk import Batch, ConsentRecord, Event
from gateway.settings.filtering import ConsentRule

UNKNOWN = "unknown"


class SkipReason(NamedTuple):
    """Why something is not sent: one word, and the setting that says so."""

    reason: str
    cause: str


Rule = Callable[[Batch], SkipReason | None]
EventRule = Callable[[Event], SkipReason | None]


def make_user_rules(connection: Connection, key: str) -> Iterator[Rule]:
    """The rules about who somebody is, which audiences are held to as well."""
    configured, defaults = connection.configured, connection.plugin.destination.defaults
    login = defaults.login_identities if configured.login_identities is None else configured.login_identities
    if login:
        yield _logged_in(frozenset(map(names.identity, login)), SkipReason("not_logged_in", f"{key}.login_identities"))
    if configured.sample_percent < 100:
        yield _sampled(configured.sample_percent, SkipReason("not_sampled", f"{key}.sample_percent"))


def make_input_rules(connection: Connection, key: str) -> Iterator[Rule]:
    """The rules about where a batch comes from and what was consented to, which a message on audiences never says."""
    configured, supported = connection.configured, connection.plugin.destination.platforms
    if supported is not None:
        yield _supported(frozenset(supported), SkipReason("unsupported_platform", f"{key}.plugin"))
    if configured.platforms is not None:
        platforms = frozenset(names.platform(one, None) or UNKNOWN for one in configured.platforms)
        refusal = SkipReason("other_platform", f"{key}.platforms")
        yield lambda batch: None if (batch.device.platform or UNKNOWN) in platforms else refusal
    if configured.environments is not None:
        environments, other = configured.environments, SkipReason("other_environment", f"{key}.environments")
        yield lambda batch: None if (batch.environment or UNKNOWN) in environments else other
    if configured.min_app_version is not None:
        yield _new_enough(configured.min_app_version, SkipReason("old_app_version", f"{key}.min_app_version"))
    for regulation, rules in (("gdpr", configured.consent.gdpr), ("ccpa", configured.consent.ccpa)):
        for purpose, rule in rules.items():
            refusal = SkipReason("no_consent", make_setting_key(f"{key}.consent.{regulation}", purpose))
            yield _consented(regulation, _plain(purpose), rule, refusal)


def make_event_rules(connection: Connection, key: str) -> Iterator[EventRule]:
    """The rules about the attributes of an event."""
    for name, values in connection.configured.only_events_with.items():
        yield _with(
            name,
            values,
            wanted=True,
            refusal=SkipReason("event_rule", make_setting_key(f"{key}.only_events_with", name)),
        )
    for name, values in connection.configured.no_events_with.items():
        yield _with(
            name,
            values,
            wanted=False,
            refusal=SkipReason("event_rule", make_setting_key(f"{key}.no_events_with", name)),
        )


def _logged_in(types: frozenset[str], refusal: SkipReason) -> Rule:
    def rule(batch: Batch) -> SkipReason | None:
        known = (identity.type for identity in batch.user.identities if identity.value.strip())
        return refusal if types.isdisjoint(known) else None

    return rule


def _supported(platforms: frozenset[str], refusal: SkipReason) -> Rule:
    def rule(batch: Batch) -> SkipReason | None:
        platform = batch.device.platform
        return None if platform is None or platform in platforms else refusal

    return rule


def _sampled(percent: float, refusal: SkipReason) -> Rule:
    """By a hash of the user, so that whoever is sent is sent always, and stays so when the share grows."""
    bound = int(percent / 100 * 2**64)

    def rule(batch: Batch) -> SkipReason | None:
        key = user_key(batch.user, batch.device_stamp) or f"message:{batch.id}"
        share = int.from_bytes(blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest())
        return None if share < bound else refusal

    return rule


def _new_enough(least: str, refusal: SkipReason) -> Rule:
    wanted = _numbers(least)

    def rule(batch: Batch) -> SkipReason | None:
        told = batch.app.version
        found = _numbers(told) if told else ()
        return refusal if found and _padded(found, wanted) < _padded(wanted, found) else None

    return rule


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: (4, 2, 1) of "4.2.1 (build 77)"."""
    found = re.search(r"\d+(?:\.\d+)*", version)
    return tuple(int(number[:18]) for number in found[0].split(".")) if found else ()


def _padded(version: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return version + (0,) * (len(other) - len(version))


def _consented(regulation: str, purpose: str, rule: ConsentRule, refusal: SkipReason) -> Rule:
    wanted = rule.endswith("true")
    only_if = rule.startswith("only_if")

    def check(batch: Batch) -> SkipReason | None:
        records: Mapping[str, ConsentRecord] = getattr(batch.user.consent, regulation)
        said = next((record.consented for told, record in records.items() if _plain(told) == purpose), None)
        if said is None and any(q.type == "message" and "consent_state" in q.id for q in batch.quarantined):
            return refusal  # what was decided cannot be read
        return None if (said is wanted) is only_if else refusal

    return check


def _plain(purpose: str) -> str:
    return purpose.strip().casefold()


def _with(name: str, values: Sequence[Any], *, wanted: bool, refusal: SkipReason) -> EventRule:
    texts = frozenset(text for value in values for text in (_text(value), str(value)))

    def rule(event: Event) -> SkipReason | None:
        has = name in event.attributes and _text(event.attributes[name]) in texts
        return None if has is wanted else refusal

    return rule


def _text(value: Any) -> str:
    """A value as Firehose says it: there numbers and booleans are text."""
    if isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false")):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
