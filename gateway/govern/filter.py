"""The data filter: which data points a connection sends, by mParticle's own names."""

from __future__ import annotations

from typing import TypeAlias

from msgspec.structs import replace

from gateway.choices import Filter
from gateway.govern.names import Kind, Names
from gateway.govern.sales import action_of, products, with_attributes
from gateway.journal.port import KeptBack
from gateway.mparticle import names
from gateway.sdk import Attribution, Audience, Batch, CustomEvent, Event, Membership, ScreenView

COMMERCE = "commerce_event"
Off: TypeAlias = tuple[KeptBack, ...]


class DataFilter:
    """A connection's filter, ready to be applied. ``key`` is what the settings that it names begin with.

    A name is on or off as its own switch says, else as ``"*"`` says, else as ``new_data_points`` does. An
    event type that is off takes its events with it, an event that is off its attributes.
    """

    def __init__(self, configured: Filter, *, new_data_points: bool, key: str = "filter") -> None:
        default = configured.new_data_points if configured.new_data_points is not None else new_data_points
        rest = (default, f"{key}.new_data_points")
        self.passes_all = default and not any(configured.model_dump(exclude={"new_data_points"}).values())
        self.types, self.named_types = self._types(configured, key, rest)
        sales = (self.types.is_on(COMMERCE), self.types.cause(COMMERCE))
        of = configured
        self.events = Kind(
            Names(f"{key}.events", of.events, rest), f"{key}.event_attributes", of.event_attributes, rest
        )
        self.screens = Kind(
            Names(f"{key}.screens", of.screens, rest), f"{key}.screen_attributes", of.screen_attributes, rest
        )
        self.commerce = Kind(
            Names(f"{key}.commerce", of.commerce, sales), f"{key}.commerce_attributes", of.commerce_attributes, rest
        )
        self.nameless = Kind(self.types, f"{key}.event_attributes", of.event_attributes, rest)
        self.attributes = Names(f"{key}.user_attributes", of.user_attributes, rest)
        identities = {names.identity(type): on for type, on in of.user_identities.items()}
        self.identities = Names(f"{key}.user_identities", identities, rest)
        self.audiences = Names(f"{key}.audiences", of.audiences, rest)

    @staticmethod
    def _types(configured: Filter, key: str, rest: tuple[bool, str]) -> tuple[Names, Names]:
        """The switches of types whose events have no names, and of those whose events have."""
        types = {names.FIREHOSE_EVENTS.get(type, type): on for type, on in configured.event_types.items()}
        table = f"{key}.event_types"
        return Names(table, types, rest), Names(table, types, (True, table))

    def user(self, batch: Batch) -> Batch:
        """The batch with only those identities and user attributes that are on."""
        user, identities, attributes = batch.user, self.identities.is_on, self.attributes.is_on
        return replace(
            batch,
            user=replace(
                user,
                identities=tuple(item for item in user.identities if identities(item.type)),
                partner_identities=tuple(item for item in user.partner_identities if identities(item.type)),
                attributes=self.attributes.kept(user.attributes),
                removed_attributes=tuple(name for name in user.removed_attributes if attributes(name)),
            ),
            identity_changes=tuple(change for change in batch.identity_changes if identities(change.type)),
            attribute_changes=tuple(change for change in batch.attribute_changes if attributes(change.name)),
        )

    def kind(self, event: Event) -> tuple[Kind, str]:
        """The kind of an event, and its name: that of its type where it has none."""
        if isinstance(event, (CustomEvent, Attribution)):
            return self.events, event.name or ""
        if isinstance(event, ScreenView):
            return self.screens, event.name
        action = action_of(event)
        return (self.nameless, event.type) if action is None else (self.commerce, action)

    def off(self, event: Event) -> str:
        """The setting by which the event as a whole is off; empty where it is on."""
        kind, name = self.kind(event)
        if kind is not self.nameless and not self.named_types.is_on(event.type):
            return self.named_types.cause(event.type)
        return "" if kind.names.is_on(name) else kind.names.cause(name)

    def event(self, event: Event) -> tuple[Event, Off]:
        """An event that is on with only those attributes that are, and the names of the others."""
        kind, name = self.kind(event)
        switches = kind.attributes(name)
        told = [*event.attributes, *(name for product in products(event) for name in product.attributes)]
        off = switches.kept_back(told)
        if not off:
            return event, ()
        return with_attributes(replace(event, attributes=switches.kept(event.attributes)), switches.kept), off

    def audience_off(self, said: Audience | Membership) -> str:
        """The setting by which an audience is off, its memberships with it; empty where it is on."""
        name = said.name if isinstance(said, Audience) else said.audience_name
        return "" if self.audiences.is_on(name) else self.audiences.cause(name)

    def membership(self, membership: Membership) -> tuple[Membership, Off]:
        """A membership with only those attributes that are on, and the names of the others."""
        off = self.attributes.kept_back(attribute.name for attribute in membership.attributes)
        if not off:
            return membership, ()
        on = tuple(attribute for attribute in membership.attributes if self.attributes.is_on(attribute.name))
        return replace(membership, attributes=on), off

    def identities_off(self, batch: Batch) -> Off:
        """The types of a batch's identities that are off."""
        known = (identity.type for identity in (*batch.user.identities, *batch.user.partner_identities))
        return self.identities.kept_back((*known, *(change.type for change in batch.identity_changes)))

    def attributes_off(self, batch: Batch) -> Off:
        """The names of a batch's user attributes that are off."""
        changed = (change.name for change in batch.attribute_changes)
        return self.attributes.kept_back((*batch.user.attributes, *batch.user.removed_attributes, *changed))
