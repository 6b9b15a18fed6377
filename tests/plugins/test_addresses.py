"""Addresses that customers name: public servers, in whatever spelling, and nothing inside the gateway's network."""

import pytest

from gateway.plugins.addresses import find_obstacle, is_public_address

PUBLIC = "the destination must be a public address"


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"],
)
def test_addresses_that_everybody_can_reach_are_public(address):
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.7",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe:0:0:5601:5601",
        "no address",
        "",
    ],
)
def test_addresses_of_networks_inside_are_not_public_whatever_embeds_them(address):
    assert not is_public_address(address)


@pytest.mark.parametrize(
    ("url", "obstacle"),
    [
        ("https://api.example.com", ""),
        ("https://api.example.com:443/v1", ""),
        ("https://bücher.example", ""),
        ("https://93.184.216.34", ""),
        ("https://api.example.com:8443", "the destination must be reached on port 443"),
        ("https://api.example.com:22", "the destination must be reached on port 443"),
        ("https://jo:secret@api.example.com", "the destination's URL must hold no user name and no password"),
        ("https://localhost", PUBLIC),
        ("https://vault", PUBLIC),
        ("https://vault.internal", PUBLIC),
        ("https://VAULT.Internal.", PUBLIC),
        ("https://metadata.google.internal\u3002", PUBLIC),
        ("https://metadata.google\uff0einternal", PUBLIC),
        ("https://db.svc", PUBLIC),
        ("https://router.home.arpa", PUBLIC),
        ("https://2130706433", PUBLIC),
        ("https://0x7f.1", PUBLIC),
        ("https://127.1", PUBLIC),
        ("https://[::127.0.0.1]", PUBLIC),
        ("https://[64:ff9b::a9fe:a9fe]", PUBLIC),
        ("https://" + "a" * 64 + ".example", PUBLIC),
    ],
)
def test_a_customer_may_name_public_servers_alone(url, obstacle):
    assert find_obstacle(url, ours=()) == obstacle


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://vault.internal", True),
        ("https://VAULT.internal./v1", True),
        ("https://vault.internal:8443", False),
        ("https://jo@vault.internal", False),
        ("http://127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", False),
    ],
)
def test_servers_that_the_configuration_names_are_allowed(url, is_allowed):
    ours = ("vault.internal", "http://127.0.0.1:8080", "http://[broken", "a text")
    assert (find_obstacle(url, ours=ours) == "") is is_allowed
