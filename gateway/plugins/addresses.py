"""Addresses that a customer may name: only public ones, so that nobody can reach the gateway's own network.

A name is checked in the form in which it is resolved (IDNA), and the addresses that it leads to again when they are
dialled: who owns the name decides about them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

PORT = 443
INTERNAL = (
    ".localhost",
    ".local",
    ".internal",
    ".intranet",
    ".lan",
    ".home",
    ".corp",
    ".private",
    ".svc",
    ".home.arpa",
    ".in-addr.arpa",
    ".ip6.arpa",
    ".onion",
)
"""Ends of names that no public server has."""
NAT64 = IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
COMPATIBLE = IPv6Network("::/96")


def find_obstacle(url: str, *, ours: Iterable[str]) -> str:
    """Return why an account may not name this https URL, or nothing. The servers of ``ours`` may be named anyway.

    ``ours`` are texts of the configuration; those that are no URL or host match nothing.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        return "the destination's URL must hold no user name and no password"
    if names_server(url, ours):
        return ""
    if not _is_public_host(normalise_host(parts.hostname or "")):
        return "the destination must be a public address"
    if parts.port not in (None, PORT):
        return f"the destination must be reached on port {PORT}"
    return ""


def names_server(url: str, ours: Iterable[str]) -> bool:
    """Return whether a URL is of one of the servers of ``ours``, with the same port."""
    server = _find_server(url)
    return any(server == _find_server(one) for one in ours)


def normalise_host(host: str) -> str:
    """Return a host as it is resolved: in ASCII and lower case, without a dot at its end; nothing if it is no name."""
    try:
        return host.encode("idna").decode().lower().rstrip(".") if ":" not in host else host.lower()
    except UnicodeError:
        return ""


def is_public_address(address: str) -> bool:
    """Return whether an IP address is public, and every IPv4 address that it embeds too."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    embedded = _list_embedded(parsed) if isinstance(parsed, IPv6Address) else []
    return all(one.is_global and not one.is_multicast for one in (embedded or [parsed]))


def _list_embedded(address: IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the IPv4 addresses to which an IPv6 address leads; ``::1`` for one of a local translation."""
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in NAT64 or address in COMPATIBLE:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    return [IPv6Address("::1")] if address in LOCAL_NAT64 else []


def _is_public_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        last = host.rpartition(".")[2]  # digits: an IP address in an old notation
        return "." in host and not last[:1].isdigit() and not host.endswith(INTERNAL)
    return is_public_address(host)


def _find_server(text: str) -> tuple[str, int | None] | None:
    try:
        parts: SplitResult = urlsplit(text if "://" in text else f"https://{text}")
        return (normalise_host(parts.hostname), parts.port) if parts.hostname else None
    except ValueError:
        return None
