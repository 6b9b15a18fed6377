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
    assert said[1].startswith("  connections.loyalty.filter.user_identities.custmer_id: taken for a partner's, for")
    assert "; there are alias, customer_id, email, " in said[1]
