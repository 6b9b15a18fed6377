"""``gateway preview`` with secrets that are words of JSON, or one letter."""

import json

import pytest
from click.testing import CliRunner

from gateway.cli import main

CONFIGURATION = """\
[ingress]
anonymous = true
[journal]
url = "sqlite:///{journal}"
[connections.email]
plugin = "sailthru"
[connections.email.settings]
api_key = "json"
api_secret = "{secret}"
"""
MESSAGE = {
    "message_id": "m-1",
    "mpid": "7",
    "user_identities": {"email": "jo@example.com"},
    "user_attributes": {"kindness": "of a kind", "s": "yes"},
    "events": [],
}


@pytest.mark.parametrize(("secret", "shown"), [("kind", "of a ***"), ("s", "ye***")])
def test_a_short_secret_is_masked_in_values_alone(tmp_path, secret, shown):
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIGURATION.format(journal=tmp_path / "gateway.db", secret=secret))
    done = CliRunner().invoke(main, ["preview", "-", "--json", "-c", str(config)], input=json.dumps(MESSAGE))
    assert done.exit_code == 0, done.output
    (call,) = [row for row in map(json.loads, done.output.splitlines()) if row["kind"] == "call"]
    assert (call["connection"], call["method"], set(call["json"])) == (
        "email",
        "POST",
        {"id", "key", "keysconflict", "vars"},
    )
    assert shown in call["json"]["vars"].values()
