"""The data filter: which data points a connection sends, by mParticle's own names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from gateway.sdk import Attribution, Batch, CustomEvent, Event, ScreenView
from gateway.settings import Filter, Switches

EVERY = "*"
V = TypeVar("V")


class DataFilter:
    """A connection's filter, ready to be applied.

    A name is on or off as its own switch says, else as ``"*"`` says, else as ``new_data_points`` does. An
    event type that is off takes its events with it, an event that is off its attributes.
    """

    def __init__(self, configured: Filter, *, new_data_points: bool) -> None:
        self._switches = configured
        self._default = configured.new_data_points if configured.new_data_points is not None else new_data_points
        named = configured.model_dump(exclude={"new_data_points"})
        self.passes_all = self._default and not any(named.values())

    def user(self, batch: Batch) -> Batch:
        """The batch with only those identities and user attributes that are on."""
        user = batch.user
        on = self._switches
        return msgspec.structs.replace(
            batch,
            user=msgspec.structs.replace(
                user,
                identities=tuple(item for item in user.identities if self._on(on.user_identities, item.type)),
                attributes=self._kept(on.user_attributes, user.attributes),
                removed_attributes=tuple(n for n in user.removed_attributes if self._on(on.user_attributes, n)),
            ),
            identity_changes=tuple(c for c in batch.identity_changes if self._on(on.user_identities, c.type)),
            attribute_changes=tuple(c for c in batch.attribute_changes if self._on(on.user_attributes, c.name)),
        )

    def event(self, event: Event) -> Event | None:
        """The event with only those attributes that are on; None where the event itself is off."""
        on = self._switches
        if isinstance(event, (CustomEvent, Attribution)):
            return self._named(event, event.name or "", on.events, on.event_attributes)
        if isinstance(event, ScreenView):
            return self._named(event, event.name, on.screens, on.screen_attributes)
        return event if self._on(on.event_types, event.type) else None

    def _named(self, event: Event, name: str, names: Switches, attributes: Mapping[str, Switches]) -> Event | None:
        types = self._switches.event_types
        if not types.get(event.type, types.get(EVERY, True)) or not self._on(names, name):
            return None
        switches = attributes.get(name, attributes.get(EVERY, {}))
        return msgspec.structs.replace(event, attributes=self._kept(switches, event.attributes))

    def _on(self, switches: Switches, name: str) -> bool:
        return switches.get(name, switches.get(EVERY, self._default))

    def _kept(self, switches: Switches, values: Mapping[str, V]) -> dict[str, V]:
        return {name: value for name, value in values.items() if self._on(switches, name)}
