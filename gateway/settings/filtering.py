"""Filtering settings of a connection: the data that may be sent, and the changes made to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.mparticle import names


class Section(BaseModel):
    """A table of the configuration file. An unknown key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


EVERY = "*"


def _one_of(
    what: str, known: Collection[str], canonical: Callable[[str], str], also: str | None = None
) -> AfterValidator:
    """Return a validator: a name, in any of its spellings, must be one of mParticle's."""

    def validate(name: str) -> str:
        if name != also and canonical(name) not in known:
            raise ValueError(f"is no {what}; expected one of {', '.join(sorted(known))}")
        return name

    return AfterValidator(validate)


IDENTITIES = names.USER_IDENTITIES | names.DEVICE_IDENTITIES
IdentityType = Annotated[str, _one_of("identity type", IDENTITIES, names.identity)]
EventType = Annotated[str, _one_of("event type", names.EVENTS, names.event, EVERY)]
Action = Annotated[str, _one_of("commerce action", names.COMMERCE, names.action, EVERY)]


def _switch(given: object) -> bool:
    """Return a switch from a boolean, or from its text in a variable or secret file."""
    said = {"true": True, "false": False}.get(given.lower()) if isinstance(given, str) else given
    if not isinstance(said, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # pydantic takes no TypeError
    return said


Switch = Annotated[bool, BeforeValidator(_switch)]
Switches = dict[str, Switch]


class Filter(Section):
    """``[connections.NAME.filter]``: which data points are sent. Names are mParticle's original ones."""

    new_data_points: Switch | None = Field(
        None, description="true: send names that are not listed here; false: do not. Default: the plugin's."
    )
    event_types: dict[EventType, Switch] = Field(
        {}, description="Event types; switching a type off switches off all its events."
    )
    events: Switches = Field({}, description="Custom events by name.")
    event_attributes: dict[str, Switches] = Field(
        {}, description="Attributes of a custom event, by event name; of events without a name, by event type."
    )
    screens: Switches = Field({}, description="Screen views by screen name.")
    screen_attributes: dict[str, Switches] = Field({}, description="Attributes of a screen view, by screen name.")
    commerce: dict[Action, Switch] = Field(
        {}, description="Commerce events by action; those not listed follow `commerce_event` in `event_types`."
    )
    commerce_attributes: dict[Action, Switches] = Field(
        {}, description="Attributes of a commerce event and of its products, by action."
    )
    user_attributes: Switches = Field({}, description="User attributes by name.")
    user_identities: Switches = Field({}, description="User identities by type, and partner identities.")
    audiences: Switches = Field({}, description="Audiences by name, with their memberships.")

    @property
    def partners(self) -> tuple[str, ...]:
        """The names in ``user_identities`` that are no type of mParticle's: partner identities, or misspelt names."""
        return tuple(name for name in self.user_identities if name != EVERY and names.identity(name) not in IDENTITIES)


ConsentRule = Literal["only_if_true", "only_if_false", "unless_true", "unless_false"]


class ConsentRules(Section):
    """``[connections.NAME.consent]``: the consent that a user must have given for data to be sent."""

    gdpr: dict[str, ConsentRule] = Field({}, description="By purpose; true means consented.")
    ccpa: dict[str, ConsentRule] = Field({}, description="By purpose, `data_sale_opt_out`; true means opted out.")


def _values(given: object) -> object:
    return given if isinstance(given, (list, tuple)) else (given,)


def _version(value: str) -> str:
    if not re.search(r"\d", value):
        raise ValueError("is not a version; write it like 4.2 or 4.2.1")
    return value


Scalar = str | bool | int | float


class Split(Section):
    """A rule that splits the text of an attribute."""

    by: str = Field(min_length=1, description="The separator between the parts.")
    into: tuple[str, ...] = Field(
        (), description="Names of the attributes that receive the parts. Default: the attribute becomes a list."
    )


class Change(Section):
    """``[[connections.NAME.changes]]``: one change of names or values, made after the filter."""

    of: Literal[
        "user_attributes", "events", "event_attributes", "screens", "screen_attributes", "commerce_attributes"
    ] = Field("user_attributes", description="The data to change, named as in the filter.")
    only: tuple[str, ...] = Field((), description="Only attributes of these events, screens or actions.")
    rename: dict[str, str] = Field({}, description="Old names and their new names.")
    spell: tuple[str, ...] = Field((), description="Names in the spelling to send, for names posted in any case.")
    case: Literal["lower", "upper"] | None = Field(None, description="Put all names into this case.")
    set: dict[str, Scalar] = Field(
        {}, description="Attributes and the values to give them, also if they were not posted."
    )
    drop: tuple[str, ...] = Field((), description="Names not to send.")
    split: dict[str, Split] = Field({}, description="Attributes to split.")

    @property
    def verb(self) -> str:
        """The one kind of change that is set."""
        (verb,) = self._verbs()
        return verb

    def _verbs(self) -> list[str]:
        return [verb for verb in VERBS if getattr(self, verb)]

    @model_validator(mode="after")
    def _has_one_verb(self) -> Change:
        if len(self._verbs()) != 1:
            raise ValueError(
                f"must have exactly one of {', '.join(VERBS)}; write further changes as entries of their own"
            )
        if self.of in ("events", "screens") and self.verb in ("set", "split"):
            raise ValueError(f"{self.verb} changes attribute values; use it with user_attributes or event_attributes")
        if self.only and self.of in ("user_attributes", "events", "screens"):
            raise ValueError("only works with event_attributes, screen_attributes and commerce_attributes")
        if len({name.casefold() for name in self.spell}) < len(self.spell):
            raise ValueError("spell lists a name twice, in different case")
        return self


VERBS = ("rename", "spell", "case", "set", "drop", "split")


AttributeValues = dict[str, Annotated[tuple[Scalar, ...], BeforeValidator(_values)]]


def _platform(value: str) -> str:
    known = {*names.PLATFORMS, *names.PLATFORMS.values()}
    if value.lower() not in known:
        raise ValueError(f"is no platform; expected one of {', '.join(sorted(known))}")
    return value


Platform = Annotated[str, AfterValidator(_platform)]
Version = Annotated[str, AfterValidator(_version)]
Percent = Annotated[float, Field(ge=0, le=100)]
