"""Choices: what a connection's configuration says of what may be sent, and how it is changed on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.mparticle import names


class Section(BaseModel):
    """A table of the configuration file; a key it does not know is an error that names the key."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


EVERY = "*"


def _known(
    what: str, known: Collection[str], canonical: Callable[[str], str], also: str | None = None
) -> AfterValidator:
    """That a name, however it is spelt, is one of mParticle's own."""

    def validate(name: str) -> str:
        if name != also and canonical(name) not in known:
            raise ValueError(f"is no {what}; there are {', '.join(sorted(known))}")
        return name

    return AfterValidator(validate)


IDENTITIES = names.USER_IDENTITIES | names.DEVICE_IDENTITIES
IdentityType = Annotated[str, _known("identity type", IDENTITIES, names.identity)]
EventType = Annotated[str, _known("event type", names.EVENTS, names.event, EVERY)]
Action = Annotated[str, _known("commerce action", names.COMMERCE, names.action, EVERY)]


def _switch(given: object) -> bool:
    """On or off; the environment and secret files give text alone."""
    said = {"true": True, "false": False}.get(given.lower()) if isinstance(given, str) else given
    if not isinstance(said, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # pydantic takes no TypeError
    return said


Switch = Annotated[bool, BeforeValidator(_switch)]
Switches = dict[str, Switch]


class Filter(Section):
    """``[connections.NAME.filter]``: which data points are sent. Names are mParticle's original ones."""

    new_data_points: Switch | None = Field(
        None, description="Whether names not listed here are sent; left out: the plugin's default."
    )
    event_types: dict[EventType, Switch] = Field(
        {}, description="Event types; a type that is off takes its events with it."
    )
    events: Switches = Field({}, description="Custom events by name.")
    event_attributes: dict[str, Switches] = Field(
        {}, description="Attributes of a custom event, by event name; of what has no name, by event type."
    )
    screens: Switches = Field({}, description="Screen views by screen name.")
    screen_attributes: dict[str, Switches] = Field({}, description="Attributes of a screen view, by screen name.")
    commerce: dict[Action, Switch] = Field(
        {}, description="Commerce events by action; those not listed are on as `event_types` says of `commerce_event`."
    )
    commerce_attributes: dict[Action, Switches] = Field(
        {}, description="Attributes of a commerce event and of its products, by action."
    )
    user_attributes: Switches = Field({}, description="User attributes by name.")
    user_identities: Switches = Field({}, description="User identities by type, and partner identities.")
    audiences: Switches = Field({}, description="Audiences by name, with their memberships.")

    @property
    def partners(self) -> tuple[str, ...]:
        """Those of ``user_identities`` that mParticle has no type for: a partner's own words, or slips of the pen."""
        return tuple(name for name in self.user_identities if name != EVERY and names.identity(name) not in IDENTITIES)


ConsentRule = Literal["only_if_true", "only_if_false", "unless_true", "unless_false"]


class ConsentRules(Section):
    """``[connections.NAME.consent]``: whose data is sent, by what they decided about a purpose."""

    gdpr: dict[str, ConsentRule] = Field({}, description="By purpose; true means consented.")
    ccpa: dict[str, ConsentRule] = Field({}, description="By purpose, `data_sale_opt_out`; true means opted out.")


def _values(given: object) -> object:
    return given if isinstance(given, (list, tuple)) else (given,)


def _version(value: str) -> str:
    if not re.search(r"\d", value):
        raise ValueError("has no number in it; a version looks like 4.2 or 4.2.1")
    return value


Scalar = str | bool | int | float


class Split(Section):
    """A rule that splits the text of an attribute."""

    by: str = Field(min_length=1, description="What stands between the parts.")
    into: tuple[str, ...] = Field((), description="The attributes that the parts become; without any, a list.")


class Change(Section):
    """``[[connections.NAME.changes]]``: one change of names or values, made after the filter."""

    of: Literal[
        "user_attributes", "events", "event_attributes", "screens", "screen_attributes", "commerce_attributes"
    ] = Field("user_attributes", description="What is changed, called as in the filter.")
    only: tuple[str, ...] = Field((), description="Only attributes of these events, screens or actions.")
    rename: dict[str, str] = Field({}, description="Old names and new ones.")
    spell: tuple[str, ...] = Field(
        (), description="Names as they are to be spelt, whatever the case in which they are posted."
    )
    case: Literal["lower", "upper"] | None = Field(None, description="The case of all names.")
    set: dict[str, Scalar] = Field({}, description="Attributes and the values that they get, posted or not.")
    drop: tuple[str, ...] = Field((), description="Names of what is not sent.")
    split: dict[str, Split] = Field({}, description="Attributes that are taken apart.")

    @property
    def verb(self) -> str:
        """The one thing that is done."""
        (verb,) = self._verbs()
        return verb

    def _verbs(self) -> list[str]:
        return [verb for verb in VERBS if getattr(self, verb)]

    @model_validator(mode="after")
    def _one_thing(self) -> Change:
        if len(self._verbs()) != 1:
            raise ValueError(f"must do one thing, one of {', '.join(VERBS)}; later changes are entries of their own")
        if self.of in ("events", "screens") and self.verb in ("set", "split"):
            raise ValueError(f"{self.of} have names alone, which cannot be {self.verb}")
        if self.only and self.of in ("user_attributes", "events", "screens"):
            raise ValueError("only is for the attributes of events, screens or actions")
        if len({name.casefold() for name in self.spell}) < len(self.spell):
            raise ValueError("spell has a name twice that differs in its case alone")
        return self


VERBS = ("rename", "spell", "case", "set", "drop", "split")


AttributeValues = dict[str, Annotated[tuple[Scalar, ...], BeforeValidator(_values)]]


def _platform(value: str) -> str:
    known = {*names.PLATFORMS, *names.PLATFORMS.values()}
    if value.lower() not in known:
        raise ValueError(f"is no platform; there are {', '.join(sorted(known))}")
    return value


Platform = Annotated[str, AfterValidator(_platform)]
Version = Annotated[str, AfterValidator(_version)]
Percent = Annotated[float, Field(ge=0, le=100)]
