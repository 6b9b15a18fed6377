"""Settings: the configuration of a SessionM connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gateway.sdk import PURPOSE, BadPath, Settings, path

HOST_EXAMPLE = "a host name or an https URL without a path, for example https://api-acme.ent-sessionm.com"
MAPPING_EXAMPLE = "a JSON object that maps names to names, for example "
EXAMPLES = {
    "event_mappings": '{"Reward Claimed": "reward_claimed"}',
    "identity_types": '{"customer_id": "loyalty_card"}',
}
HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")


def _check_host(value: str) -> str:
    text = value.strip()
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        is_plain = bool(parts.hostname) and parts.port != 0 and _is_plain(parts)
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ValueError(f"host must be {HOST_EXAMPLE}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise ValueError(f"host must be reached over https (http is for loopback alone): give {HOST_EXAMPLE}")
    return f"{parts.scheme}://{parts.netloc}"


def _is_plain(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if "[" not in parts.netloc and not set(host) <= HOST_CHARACTERS:
        return False
    return "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_credential(value: SecretStr, name: str) -> SecretStr:
    text = value.get_secret_value()
    if not text.strip():
        raise ValueError(f"{name} must not be blank: copy it from SessionM's Digital Properties, server-only property")
    if text != text.strip():
        raise ValueError(f"{name} must not begin or end with a space or a line break")
    return value


def _check_api_key(value: SecretStr) -> SecretStr:
    text = _check_credential(value, "api_key").get_secret_value()
    if ":" in text:
        raise ValueError("api_key must not hold a colon: Basic authentication ends the user name there")
    try:
        path(text)
    except BadPath:
        raise ValueError("api_key must be the application's key, not a dot or two") from None
    return value


def _check_api_secret(value: SecretStr) -> SecretStr:
    return _check_credential(value, "api_secret")


def _read_names(value: Any, setting: str) -> dict[str, str]:
    """Read a mapping of names, given as a table or as JSON text.

    Raises ValueError that names the setting and the key, never a value.
    """
    pairs = _read_pairs(value, setting)
    seen: set[str] = set()
    for name, target in pairs:
        if name in seen:
            raise ValueError(f"{setting} has the name {name!r} twice")
        if not name.strip():
            raise ValueError(f"{setting} has a blank name; it must be {MAPPING_EXAMPLE}{EXAMPLES[setting]}")
        if not isinstance(target, str) or not target.strip():
            raise ValueError(f"{setting} must map {name!r} to a name that is not blank")
        seen.add(name)
    return dict(pairs)


def _read_pairs(value: Any, setting: str) -> list[tuple[str, Any]]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            raise ValueError(f"{setting} is not JSON; it must be {MAPPING_EXAMPLE}{EXAMPLES[setting]}") from None
    if isinstance(value, _Pairs):
        return list(value)
    if isinstance(value, Mapping):
        return list(value.items())
    hint = (
        " (mParticle's kits keep a list of hashed names, which cannot be used here)" if isinstance(value, list) else ""
    )
    raise ValueError(f"{setting} must be {MAPPING_EXAMPLE}{EXAMPLES[setting]}{hint}")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object whose repeated names are still visible."""


def _read_event_mappings(value: Any) -> dict[str, str]:
    return _read_names(value, "event_mappings")


def _read_identity_types(value: Any) -> dict[str, str]:
    names = _read_names(value, "identity_types")
    if "email" in names:
        raise ValueError("identity_types cannot rename email: it is a profile field, not an external id")
    return names


def _split_types(value: Any) -> Any:
    return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value


def _check_erasure_identities(value: tuple[str, ...]) -> tuple[str, ...]:
    if "email" in value:
        raise ValueError('erasure_identities cannot hold email, which is not an external id; give ["customer_id"], say')
    return value


def _check_external_id_type(value: str) -> str:
    if not value.strip():
        raise ValueError("external_id_type must not be blank, for example mparticle_mpid")
    return value


class SessionMSettings(Settings):
    """The settings of a SessionM connection."""

    host: Annotated[str, AfterValidator(_check_host)] = Field(
        title="Host Name",
        description="The address of SessionM's API: a host name or an https URL, without a path.",
    )
    api_key: Annotated[SecretStr, AfterValidator(_check_api_key)] = Field(
        title="API Key", description="The key of the server-only application; it is also part of every URL."
    )
    api_secret: Annotated[SecretStr, AfterValidator(_check_api_secret)] = Field(
        title="API Secret", description="The secret that belongs to the key."
    )
    event_mappings: Annotated[dict[str, str], BeforeValidator(_read_event_mappings)] = Field(
        default={},
        title="mParticle to SessionM Event Mappings",
        description="Names of events and screens at mParticle, each with its name at SessionM; others keep theirs.",
    )
    external_id_type: Annotated[str, AfterValidator(_check_external_id_type)] = Field(
        default="mparticle_mpid", description="The external id type under which SessionM keeps the MPID."
    )
    identity_types: Annotated[dict[str, str], BeforeValidator(_read_identity_types)] = Field(
        default={},
        description="Identity types at mParticle, each with its external id type at SessionM; others keep theirs.",
    )
    user_tag_value: str = Field(
        default="true", description="Value to send for an attribute without one; blank sends no such attribute."
    )
    on_unknown_user: Literal["create", "skip"] = Field(
        default="create",
        description="Treatment of a user whom SessionM does not know under any id: `create` or `skip`.",
    )
    erasure_identities: Annotated[
        tuple[str, ...], BeforeValidator(_split_types), AfterValidator(_check_erasure_identities)
    ] = Field(
        default=("customer_id",),
        description="Identity types under which a user who asks to be forgotten is deleted, besides the MPID.",
    )
    audience_attributes: bool = Field(
        default=False,
        description="Send memberships of audiences: each as the custom attribute `audience_<id>`, `true` or `false`.",
    )
    opted_in_consent: str = Field(
        default="",
        pattern=PURPOSE,
        description="Purpose that decides about `opted_in`, such as `gdpr:loyalty`; empty never sends `opted_in`.",
    )
    requests_per_second: float | None = Field(
        default=5.0, ge=0, allow_inf_nan=False, description="Calls started per second at most; 0 sets no limit."
    )
    requests_in_flight: int | None = Field(
        default=4, ge=0, description="Calls that wait for their answer at once, at most; 0 sets no limit."
    )
