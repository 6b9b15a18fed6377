"""Choices: what a connection's configuration says of what may be sent, and how it is changed on the way."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A table of the configuration file; a key it does not know is an error that names the key."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Switches = dict[str, bool]


class Filter(Section):
    """``[connections.NAME.filter]``: which data points are sent. Names are mParticle's original ones."""

    new_data_points: bool | None = Field(
        None, description="Whether names not listed here are sent; left out: the plugin's default."
    )
    event_types: Switches = Field({}, description="Event types; a type that is off takes its events with it.")
    events: Switches = Field({}, description="Custom events by name.")
    event_attributes: dict[str, Switches] = Field(
        {}, description="Attributes of a custom event, by event name; of what has no name, by event type."
    )
    screens: Switches = Field({}, description="Screen views by screen name.")
    screen_attributes: dict[str, Switches] = Field({}, description="Attributes of a screen view, by screen name.")
    commerce: Switches = Field(
        {}, description="Commerce events by action; those not listed are on as `event_types` says of `commerce_event`."
    )
    commerce_attributes: dict[str, Switches] = Field(
        {}, description="Attributes of a commerce event and of its products, by action."
    )
    user_attributes: Switches = Field({}, description="User attributes by name.")
    user_identities: Switches = Field({}, description="User identities by type, and partner identities.")
    audiences: Switches = Field({}, description="Audiences by name, with their memberships.")


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


AttributeValues = dict[str, Annotated[tuple[str | bool | int | float, ...], BeforeValidator(_values)]]
Version = Annotated[str, AfterValidator(_version)]
Percent = Annotated[float, Field(ge=0, le=100)]
