"""The settings of a SessionM connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gateway.sdk import BadPath, Rate, Settings, path

HOST = "a host name or an https URL without a path, for example https://api-acme.ent-sessionm.com"
MAPPING = "a JSON object that maps names to names, for example "
EXAMPLES = {
    "event_mappings": '{"Reward Claimed": "reward_claimed"}',
    "identity_types": '{"customer_id": "loyalty_card"}',
}
BARE_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")


def _host(value: str) -> str:
    text = value.strip()
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        fine = bool(parts.hostname) and parts.port != 0 and _is_plain(parts)
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(f"host must be {HOST}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise ValueError(f"host must be reached over https (http is for loopback alone): give {HOST}")
    return f"{parts.scheme}://{parts.netloc}"


def _is_plain(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if "[" not in parts.netloc and not set(host) <= BARE_HOST:
        return False
    return "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _credential(value: SecretStr, name: str) -> SecretStr:
    text = value.get_secret_value()
    if not text.strip():
        raise ValueError(f"{name} must not be blank: copy it from SessionM's Digital Properties, server-only property")
    if text != text.strip():
        raise ValueError(f"{name} must not begin or end with a space or a line break")
    return value


def _api_key(value: SecretStr) -> SecretStr:
    text = _credential(value, "api_key").get_secret_value()
    if ":" in text:
        raise ValueError("api_key must not hold a colon: Basic authentication ends the user name there")
    try:
        path(text)
    except BadPath:
        raise ValueError("api_key must be the application's key, not a dot or two") from None
    return value


def _api_secret(value: SecretStr) -> SecretStr:
    return _credential(value, "api_secret")


def _names(value: Any, setting: str) -> dict[str, str]:
    """A mapping of names, given as one or as JSON text. Raises ValueError naming setting and key, never a value."""
    pairs = _pairs(value, setting)
    seen: set[str] = set()
    for name, target in pairs:
        if name in seen:
            raise ValueError(f"{setting} has the name {name!r} twice")
        if not name.strip():
            raise ValueError(f"{setting} has a blank name; it must be {MAPPING}{EXAMPLES[setting]}")
        if not isinstance(target, str) or not target.strip():
            raise ValueError(f"{setting} must map {name!r} to a name that is not blank")
        seen.add(name)
    return dict(pairs)


def _pairs(value: Any, setting: str) -> list[tuple[str, Any]]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            raise ValueError(f"{setting} is not JSON; it must be {MAPPING}{EXAMPLES[setting]}") from None
    if isinstance(value, _Pairs):
        return list(value)
    if isinstance(value, Mapping):
        return list(value.items())
    hint = " (the list of hashed names that mParticle's kits keep is of no use here)" if isinstance(value, list) else ""
    raise ValueError(f"{setting} must be {MAPPING}{EXAMPLES[setting]}{hint}")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with repeated names still visible."""


def _event_mappings(value: Any) -> dict[str, str]:
    return _names(value, "event_mappings")


def _identity_types(value: Any) -> dict[str, str]:
    names = _names(value, "identity_types")
    if "email" in names:
        raise ValueError("identity_types cannot rename email: it is a profile field, not an external id")
    return names


def _types(value: Any) -> Any:
    return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value


def _erasure_identities(value: tuple[str, ...]) -> tuple[str, ...]:
    if "email" in value:
        raise ValueError('erasure_identities cannot hold email, which is not an external id; give ["customer_id"], say')
    return value


def _external_id_type(value: str) -> str:
    if not value.strip():
        raise ValueError("external_id_type must not be blank, for example mparticle_mpid")
    return value


class SessionMSettings(Settings):
    """How a connection reaches SessionM, and what it calls things there."""

    host: Annotated[str, AfterValidator(_host)] = Field(
        title="Host Name",
        description="Where SessionM answers: a host name or an https URL, without a path.",
    )
    api_key: Annotated[SecretStr, AfterValidator(_api_key)] = Field(
        title="API Key", description="The key of the server-only application; it is also part of every address."
    )
    api_secret: Annotated[SecretStr, AfterValidator(_api_secret)] = Field(
        title="API Secret", description="The secret that belongs to the key."
    )
    event_mappings: Annotated[dict[str, str], BeforeValidator(_event_mappings)] = Field(
        default={},
        title="mParticle to SessionM Event Mappings",
        description="Names of events and screens at mParticle, each with its name at SessionM; others keep their own.",
    )
    external_id_type: Annotated[str, AfterValidator(_external_id_type)] = Field(
        default="mparticle_mpid", description="What an MPID is called among a customer's external ids."
    )
    identity_types: Annotated[dict[str, str], BeforeValidator(_identity_types)] = Field(
        default={},
        description="Identity types at mParticle, each with its external id type at SessionM; others keep their own.",
    )
    user_tag_value: str = Field(
        default="true", description="What is sent for an attribute without a value; blank sends no such attribute."
    )
    on_unknown_user: Literal["create", "skip"] = Field(
        default="create",
        description="What to do about a user whom SessionM does not know under any id: `create` or `skip`.",
    )
    erasure_identities: Annotated[tuple[str, ...], BeforeValidator(_types), AfterValidator(_erasure_identities)] = (
        Field(
            default=("customer_id",),
            description="Identity types under which, besides the MPID, a user who asks to be forgotten is deleted.",
        )
    )
    requests_per_second: float | None = Field(
        default=5.0, ge=0, allow_inf_nan=False, description="Calls started each second; 0 sets no limit."
    )
    requests_in_flight: int | None = Field(
        default=4, ge=0, description="Calls waiting for their answer at once; 0 sets no limit."
    )


def base_url(settings: SessionMSettings) -> str:
    """The absolute URL that every call's path is relative to. It holds the key."""
    return f"{settings.host}/priv/v1/apps/{path(settings.api_key.get_secret_value())}"


def rates(settings: SessionMSettings) -> dict[str, Rate]:
    """The one limit, which all calls draw on."""
    return {
        "": Rate(per_second=settings.requests_per_second or None, in_flight=settings.requests_in_flight or None),
    }
