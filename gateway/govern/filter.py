"""The data filter: switches data points on and off for a connection, by mParticle's own names."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from gateway.govern.decisions import KeptBackNames
from gateway.govern.kinds import TYPES, change_attributes, find_kind, list_attributes
from gateway.govern.switches import KindSwitches, Switches
from gateway.mparticle import names
from gateway.sdk import AttributeChange, Audience, Batch, Event, IdentityChange, Membership
from gateway.settings.filtering import Filter

COMMERCE = "commerce_event"
StatedChange = TypeVar("StatedChange", AttributeChange, IdentityChange)


class Decision(NamedTuple):
    """A decision on a data point. ``is_decided``: ``cause``, the setting that decided, names it and is no default."""

    is_sent: bool
    is_decided: bool
    cause: str


class DataFilter:
    """A connection's data filter. The settings that it names begin with ``key``.

    A name's own switch decides, else the switch ``"*"``, else ``new_data_points``. If an event type is off, so are its
    events; if an event is off, so are its attributes.
    """

    def __init__(self, configured: Filter, *, new_data_points: bool, key: str = "filter") -> None:
        default = configured.new_data_points if configured.new_data_points is not None else new_data_points
        self.default = default
        rest = (default, f"{key}.new_data_points")
        self.passes_all = default and not any(configured.model_dump(exclude={"new_data_points"}).values())
        self.types, self.named_types = self._make_types(configured, key, rest)
        commerce = (self.types.is_on(COMMERCE), self.types.find_setting(COMMERCE))
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
                Switches(f"{key}.commerce", actions, commerce), f"{key}.commerce_attributes", of_actions, rest
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
    def _make_types(configured: Filter, key: str, rest: tuple[bool, str]) -> tuple[Switches, Switches]:
        """Return the switches of types whose events have no names, and of those whose events have names."""
        types = {names.event(type): on for type, on in configured.event_types.items()}
        table = f"{key}.event_types"
        return Switches(table, types, rest), Switches(table, types, (True, table))

    def filter_user(self, batch: Batch) -> Batch:
        """Return the batch with only the identities and user attributes that are on."""
        user, identities, attributes = batch.user, self.identities.is_on, self.attributes.is_on
        return replace(
            batch,
            user=replace(
                user,
                identities=tuple(item for item in user.identities if identities(item.type)),
                partner_identities=tuple(item for item in user.partner_identities if identities(item.type)),
                attributes=self.attributes.keep(user.attributes),
                removed_attributes=tuple(name for name in user.removed_attributes if attributes(name)),
            ),
            identity_changes=tuple(
                self._filter_change(change) for change in batch.identity_changes if identities(change.type)
            ),
            attribute_changes=tuple(
                self._filter_change(change) for change in batch.attribute_changes if attributes(change.name)
            ),
        )

    def _filter_change(self, change: StatedChange) -> StatedChange:
        """Return the change with its event filtered, or without it if events of its type are off."""
        if change.event is None:
            return change
        event = None if self.find_off_setting(change.event) else self.filter_event(change.event)[0]
        return replace(change, event=event)

    def find_off_setting(self, event: Event) -> str:
        """Return the setting that switches the whole event off, or nothing."""
        table, name = find_kind(event)
        if table != "event_types" and not self.named_types.is_on(event.type):
            return self.named_types.find_setting(event.type)
        names = self.kinds[table].names
        return "" if names.is_on(name) else names.find_setting(name)

    def filter_event(self, event: Event) -> tuple[Event, KeptBackNames]:
        """Return the event with only the attributes that are on, and the names of the others."""
        table, name = find_kind(event)
        switches = self.kinds[table].find_attributes(name)
        if table == "commerce":
            off = switches.list_off(attribute for attribute, _ in list_attributes(event))
            return (change_attributes(event, switches.keep), off) if off else (event, ())
        off = switches.list_off(event.attributes)
        return (replace(event, attributes=switches.keep(event.attributes)), off) if off else (event, ())

    def decide(self, table: str, name: str, attribute: str = "") -> Decision:
        """Return the decision on a data point: on an attribute if one is given, else on the name itself."""
        if table in self.others:
            return _make_decision(self.others[table], name)
        type = TYPES.get(table)
        if type is not None and not self.named_types.is_on(type):
            return _make_decision(self.named_types, type)
        kind = self.kinds[table]
        whole = _make_decision(kind.names, name)
        if table == "commerce" and self.types.is_decided(COMMERCE):
            whole = whole._replace(is_decided=True)
        return _make_decision(kind.find_attributes(name), attribute) if attribute and whole.is_sent else whole

    def find_audience_off_setting(self, one: Audience | Membership) -> str:
        """Return the setting that switches an audience and its memberships off, or nothing."""
        name = one.name if isinstance(one, Audience) else one.audience_name
        return "" if self.audiences.is_on(name) else self.audiences.find_setting(name)

    def filter_membership(self, membership: Membership) -> tuple[Membership, KeptBackNames]:
        """Return the membership with only the attributes that are on, and the names of the others."""
        off = self.attributes.list_off(attribute.name for attribute in membership.attributes)
        if not off:
            return membership, ()
        on = tuple(attribute for attribute in membership.attributes if self.attributes.is_on(attribute.name))
        return replace(membership, attributes=on), off

    def list_identities_off(self, batch: Batch) -> KeptBackNames:
        """Return the types of a batch's identities that are off."""
        known = (identity.type for identity in (*batch.user.identities, *batch.user.partner_identities))
        return self.identities.list_off((*known, *(change.type for change in batch.identity_changes)))

    def list_attributes_off(self, batch: Batch) -> KeptBackNames:
        """Return the names of a batch's user attributes that are off."""
        changed = (change.name for change in batch.attribute_changes)
        return self.attributes.list_off((*batch.user.attributes, *batch.user.removed_attributes, *changed))


def _make_decision(names: Switches, name: str) -> Decision:
    return Decision(names.is_on(name), names.is_decided(name), names.find_setting(name))
