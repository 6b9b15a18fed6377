"""Settings: the configuration of a Sailthru connection."""

from __future__ import annotations

from string import Formatter
from typing import Literal, TypeAlias

from pydantic import Field, SecretStr, field_validator

from gateway.sdk import PURPOSE, Settings

AppEvent: TypeAlias = Literal[
    "custom_event",
    "commerce_event",
    "screen_view",
    "attribution",
    "application_state_transition",
    "push_message",
]
URL_FIELDS = frozenset({"id", "name", "brand", "category", "variant"})


class SailthruSettings(Settings):
    """Settings of a Sailthru connection."""

    api_key: SecretStr = Field(min_length=1, description="API key that Sailthru issued for this integration alone.")
    api_secret: SecretStr = Field(min_length=1, description="Secret that belongs to the key; signs every call.")
    base_url: str = Field("https://api.sailthru.com", description="Address of Sailthru's API.")
    integration: str = Field("", description="Label added to every call, so that Sailthru can tell our traffic apart.")
    rate_share: float = Field(
        0.5, gt=0, le=1, description="Part of the account's rate limits to use; others share the account."
    )
    at_least_once: bool = Field(
        default=True,
        description="Send an event or purchase again when it is unknown whether Sailthru took it. Off: a dead letter.",
    )
    create_before_events: bool = Field(
        default=False,
        description="Create profiles of users without attributes ahead of the first events seen for an e-mail address.",
    )
    customer_id_as_extid: bool = Field(
        default=False,
        description="Set mParticle's customer_id as the key extid, which Sailthru must have enabled for the account.",
    )
    optout_attribute: str = Field(
        "",
        description="User attribute that holds none, basic, all or blast, sent as optout_email. Empty: never sent.",
    )
    email_consent: str = Field(
        "",
        pattern=PURPOSE,
        description="Purpose, such as gdpr:email, whose withdrawal is sent as optout_email. Empty: never sent.",
    )
    email_optout: Literal["basic", "all", "blast"] = Field(
        "all", description="Value of optout_email to send if that consent is withdrawn."
    )
    pixel_consent: str = Field(
        "",
        pattern=PURPOSE,
        description="Purpose, such as gdpr:tracking, that is sent as pixel_tracking_consent. Empty: never sent.",
    )
    removed_value: Literal["null", "empty"] = Field(
        "null", description="Value to send for a removed attribute: null, or an empty string."
    )
    array_mode: Literal["join", "keep", "both"] = Field(
        "join",
        description="Arrays become comma-separated text (searchable), stay arrays, or both (the array in name_list).",
    )
    preferred_name: Literal["reserved", "custom"] = Field(
        "reserved", description="The attribute that is sent when a user has both $City and City."
    )
    unicode_names: bool = Field(
        default=False, description="Keep letters beyond ASCII in names of vars instead of replacing them."
    )
    app_events: tuple[AppEvent, ...] = Field(
        ("custom_event", "commerce_event"), description="Kinds of mParticle events sent as events."
    )
    reserved_event_names: Literal["rename", "skip"] = Field(
        "rename", description="Events named as Sailthru's own (send, open, …) get the prefix mp_, or are skipped."
    )
    time_var: str = Field(
        "mp_timestamp",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,31})?$",
        description="Event var for the original time, in Unix seconds. Empty: not sent.",
    )
    skip_sailthru_events: bool = Field(
        default=True, description="Do not echo events that Sailthru itself fed into mParticle."
    )
    purchases: Literal["event", "purchase", "both"] = Field(
        "event", description="A purchase is sent as the event mp_purchase, to Sailthru's purchase API, or both."
    )
    item_url: str = Field(
        "",
        description="URL of items without an attribute url; may hold {id}, {name}, {brand}, {category}, {variant}.",
    )
    bulk_from: int = Field(
        0,
        ge=0,
        description="Minimum of waiting membership changes for which one job is made, which starts no flows. 0: never.",
    )
    bulk_most: int = Field(10_000, ge=2, le=50_000, description="Changes of memberships in one job at the most.")
    removed_audience: Literal["keep", "delete"] = Field(
        "keep", description="Keep or delete the list when mParticle takes the audience away."
    )
    look_again_s: float = Field(
        10.0, ge=0, le=3600, description="Seconds until an erasure looks again whether the profile is gone."
    )

    @field_validator("item_url")
    @classmethod
    def _knows_its_fields(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        names = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(value) if name is not None]
        if any(name not in URL_FIELDS or spec or conversion for name, spec, conversion in names):
            raise ValueError(f"may hold only {', '.join(sorted(URL_FIELDS))} in braces")
        return value
