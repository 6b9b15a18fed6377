"""``gateway check``: every problem of a configuration, named at once."""

import pytest
from click.testing import CliRunner

from gateway.cli import main

GOOD = """\
[ingress]
authorization = ["Token test"]

[journal]
url = "sqlite:///{journal}"

[connections.loyalty]
plugin = "sessionm"
[connections.loyalty.settings]
host = "http://127.0.0.1:9901"
api_key = "test-key"
api_secret = "hush-hush"
[connections.loyalty.filter]
user_identities = {{ customer = true }}

[connections.email]
plugin = "sailthru"
[connections.email.settings]
api_key = "test-key"
api_secret = "hush-hush"
"""


@pytest.fixture
def check(tmp_path):
    """Check the good configuration with these replacements; returns the status and the lines said."""

    def check(*replacements):
        text = GOOD.format(journal=tmp_path / "gateway.db")
        for old, new in replacements:
            assert text.count(old) >= 1
            text = text.replace(old, new, 1)
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        done = CliRunner().invoke(main, ["check", "-c", str(path)])
        assert "hush-hush" not in done.output
        return done.exit_code, done.output.splitlines()

    return check


def test_a_good_configuration_is_fine(check):
    status, said = check()
    assert (status, said[-1], len(said)) == (0, "fine", 3)


def test_an_identity_that_mparticle_does_not_have_is_doubted_for_it_may_be_a_partners(check):
    status, said = check(("customer = true", 'custmer_id = true, CustomerId = true, ios_idfv = true, "*" = false'))
    assert (status, said[-1], len(said)) == (0, "fine", 4)
    assert said[1].startswith("  connections.loyalty.filter.user_identities.custmer_id: mParticle has no such identity")
    assert "; mParticle's are alias, customer_id, email, " in said[1]


BAD_HOST = ('host = "http://127.0.0.1:9901"', 'host = "http://127.0.0.1:9901"\nbaseurl = "x"')


@pytest.mark.parametrize(
    ("replacements", "keys"),
    [
        (
            [("[ingress]", '[ingress]\nbnd = "x"'), ('"sailthru"', '"sailtru"'), BAD_HOST],
            ["ingress.bnd", "connections.loyalty.settings.baseurl", "connections.email.plugin"],
        ),
        (
            [("{ customer = true }", "{ customer = true }\ncolour = 1"), BAD_HOST, ('"sailthru"', '"sailtru"')],
            [
                "connections.loyalty.filter.colour",
                "connections.loyalty.settings.baseurl",
                "connections.email.plugin",
            ],
        ),
        ([("[ingress]", "[ingres]"), BAD_HOST], ["ingress", "ingres", "connections.loyalty.settings.baseurl"]),
        (
            [("[ingress]", '[rules]\npackages = ["none"]\n[ingress]\nbnd = 1'), ("sqlite:///", "sqlite:////dev/null/")],
            ["ingress.bnd", "rules.packages", "journal.url"],
        ),
        (
            [
                ("[ingress]", "[ingress]\nbnd = 1"),
                ('plugin = "sailthru"', 'plugin = "sailthru"\ncredentials = "account"'),
            ],
            ["ingress.bnd", "accounts.sealing_keys"],
        ),
        # What hangs on something that is wrong is not said to be wrong as well:
        ([('plugin = "sailthru"', 'plugin = "sailthru"\ncredentials = "acount"')], ["connections.email.credentials"]),
        ([('plugin = "sailthru"\n', "")], ["connections.email.plugin"]),
        ([('url = "sqlite:///', 'url = "sqlit:///')], ["journal.url"]),
        (
            [
                ("[ingress]", "[accounts]\nsealing_keys = [1]\n[ingress]"),
                ('plugin = "sailthru"', 'plugin = "sailthru"\ncredentials = "account"'),
            ],
            ["accounts.sealing_keys.0"],
        ),
    ],
)
def test_every_problem_is_named_at_once(check, replacements, keys):
    status, said = check(*replacements)
    assert (status, [line.removeprefix("gateway: ").partition(": ")[0] for line in said]) == (1, keys)


def test_problems_of_the_environment_hide_no_others(check, monkeypatch):
    monkeypatch.setenv("GATEWAY_INGRES__BIND", "127.0.0.1:1")
    status, said = check(BAD_HOST)
    assert (status, [line.partition(": ")[2] for line in said]) == (
        1,
        [
            "GATEWAY_INGRES__BIND: no such setting",
            "connections.loyalty.settings.baseurl: no such setting",
        ],
    )


def test_secrets_that_are_easy_to_guess_are_doubted_and_never_shown(check):
    status, said = check(("Token test", "Token x"), ('api_secret = "hush-hush"', 'api_secret = "kind"'))
    doubts = [line.strip().partition(": ")[::2] for line in said if "has fewer than 8 characters" in line]
    assert (status, said[-1], [place for place, _ in doubts]) == (
        0,
        "fine",
        ["connections.loyalty.settings.api_secret", "ingress.authorization.0"],
    )
    assert not any("kind" in line for line in said)
