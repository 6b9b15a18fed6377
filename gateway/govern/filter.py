"""The data filter: which data points a connection sends, by mParticle's own names."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from gateway.govern.governed import KeptBackNames
from gateway.govern.kinds import TYPES, change_attributes, find_kind, list_attributes
from gateway.govern.names import KindSwitches, Switches
from gateway.mparticle import names
from gateway.sdk import Audience, Batch, Event, Membership
from gateway.settings.filtering import Filter

COMMERCE = "commerce_event"


class Decision(NamedTuple):
    """Whether a data point is sent, by which setting, and whether that speaks of it at all and is no default."""

    is_sent: bool
    is_decided: bool
    cause: str


class DataFilter:
    """A connection's filter, ready to be applied. ``key`` is what the settings that it names begin with.

    A name is on or off as its own switch says, else as ``"*"`` says, else as ``new_data_points`` does. An
    event type that is off takes its events with it, an event that is off its attributes.
    """

    def __init__(self, configured: Filter, *, new_data_points: bool, key: str = "filter") -> None:
        default = configured.new_data_points if configured.new_data_points is not None else new_data_points
        self.default = default
        rest = (default, f"{key}.new_data_points")
        self.passes_all = default and not any(configured.model_dump(exclude={"new_data_points"}).values())
        self.types, self.named_types = self._types(configured, key, rest)
        sales = (self.types.is_on(COMMERCE), self.types.cause(COMMERCE))
        of = configured
        actions = {names.action(name): on for name, on in of.commerce.items()}
        of_actions = {names.action(name): each for name, each in of.commerce_attributes.items()}
        self.kinds = {
            "events": KindSwitches(
                Switches(f"{key}.events", of.events, rest), f"{key}.event_attributes", of.event_attributes, rest
            ),
            "screens": KindSwitches(
                Switches(f"{key}.screens", of.screens, rest), f"{key}.screen_attributes", of.screen_attributes, rest
            ),
            "commerce": KindSwitches(
                Switches(f"{key}.commerce", actions, sales), f"{key}.commerce_attributes", of_actions, rest
            ),
            "event_types": KindSwitches(self.types, f"{key}.event_attributes", of.event_attributes, rest),
        }
        self.attributes = Switches(f"{key}.user_attributes", of.user_attributes, rest)
        identities = {names.identity(type): on for type, on in of.user_identities.items()}
        self.identities = Switches(f"{key}.user_identities", identities, rest)
        self.audiences = Switches(f"{key}.audiences", of.audiences, rest)
        self.others = {
            "user_attributes": self.attributes,
            "user_identities": self.identities,
            "audiences": self.audiences,
        }

    @staticmethod
    def _types(configured: Filter, key: str, rest: tuple[bool, str]) -> tuple[Switches, Switches]:
        """The switches of types whose events have no names, and of those whose events have."""
        types = {names.event(type): on for type, on in configured.event_types.items()}
        table = f"{key}.event_types"
        return Switches(table, types, rest), Switches(table, types, (True, table))

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

    def off(self, event: Event) -> str:
        """The setting by which the event as a whole is off; empty where it is on."""
        table, name = find_kind(event)
        if table != "event_types" and not self.named_types.is_on(event.type):
            return self.named_types.cause(event.type)
        names = self.kinds[table].names
        return "" if names.is_on(name) else names.cause(name)

    def event(self, event: Event) -> tuple[Event, KeptBackNames]:
        """An event that is on with only those attributes that are, and the names of the others."""
        table, name = find_kind(event)
        switches = self.kinds[table].attributes(name)
        if table == "commerce":
            off = switches.kept_back(attribute for attribute, _ in list_attributes(event))
            return (change_attributes(event, switches.kept), off) if off else (event, ())
        off = switches.kept_back(event.attributes)
        return (replace(event, attributes=switches.kept(event.attributes)), off) if off else (event, ())

    def decide(self, table: str, name: str, attribute: str = "") -> Decision:
        """What happens to a data point: an attribute of something, or without one that itself."""
        if table in self.others:
            return _decision(self.others[table], name)
        type = TYPES.get(table)
        if type is not None and not self.named_types.is_on(type):
            return _decision(self.named_types, type)
        kind = self.kinds[table]
        whole = _decision(kind.names, name)
        if table == "commerce" and self.types.is_decided(COMMERCE):
            whole = whole._replace(is_decided=True)
        return _decision(kind.attributes(name), attribute) if attribute and whole.is_sent else whole

    def audience_off(self, said: Audience | Membership) -> str:
        """The setting by which an audience is off, its memberships with it; empty where it is on."""
        name = said.name if isinstance(said, Audience) else said.audience_name
        return "" if self.audiences.is_on(name) else self.audiences.cause(name)

    def membership(self, membership: Membership) -> tuple[Membership, KeptBackNames]:
        """A membership with only those attributes that are on, and the names of the others."""
        off = self.attributes.kept_back(attribute.name for attribute in membership.attributes)
        if not off:
            return membership, ()
        on = tuple(attribute for attribute in membership.attributes if self.attributes.is_on(attribute.name))
        return replace(membership, attributes=on), off

    def identities_off(self, batch: Batch) -> KeptBackNames:
        """The types of a batch's identities that are off."""
        known = (identity.type for identity in (*batch.user.identities, *batch.user.partner_identities))
        return self.identities.kept_back((*known, *(change.type for change in batch.identity_changes)))

    def attributes_off(self, batch: Batch) -> KeptBackNames:
        """The names of a batch's user attributes that are off."""
        changed = (change.name for change in batch.attribute_changes)
        return self.attributes.kept_back((*batch.user.attributes, *batch.user.removed_attributes, *changed))


def _decision(names: Switches, name: str) -> Decision:
    return Decision(names.is_on(name), names.is_decided(name), names.cause(name))
