"""The README is true: every reason is explained, and what it shows can be used."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import gateway_sessionm
from gateway.settings import ConnectionSettings
from gateway.testing import connection
from gateway_sessionm.fake import FakeSessionM
from gateway_sessionm.names import RESERVED

README = (Path(__file__).parents[1] / "README.md").read_text()
SOURCE = [path.read_text() for path in Path(gateway_sessionm.__file__).parent.glob("*.py")]
EXPLAINED = {
    word for row in re.findall(r"^\| (`[^|]*) \|", README, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)
}


DECLARED = set(gateway_sessionm.destination().reasons)
REASONS = re.compile(r"""(?:Skip\(|rejected\(|return|reason=|else) ?"([a-z]+_[a-z_]+)\"|"([a-z]+_[a-z_]+)" if""")


def test_every_reason_that_the_plugin_gives_is_explained():
    given = {word for text in SOURCE for pair in REASONS.findall(text) for word in pair if word}
    assert {"no_mpid", "identity_conflict", "key_collision", "user_tag", "already_known"} < given
    assert given - EXPLAINED == set()
    assert given - DECLARED == set()


def test_every_reason_that_the_plugin_declares_is_explained():
    assert DECLARED <= EXPLAINED


def test_the_reserved_attributes_are_those_of_the_code():
    listed = re.findall(r"`(\$[A-Z]\w+)`", README)
    assert [name for name in listed if name in RESERVED] == list(RESERVED)


def test_the_configuration_that_it_shows_can_be_used():
    shown = tomllib.loads(re.search(r"```toml\n(.*?)```", README, re.DOTALL)[1])["connections"]["loyalty"]
    configured = ConnectionSettings.model_validate(shown)
    made = connection(gateway_sessionm, {}, configured=configured)
    assert made.settings.event_mappings == {"Reward Claimed": "reward_claimed"}


def test_the_options_of_the_fake_that_it_shows_exist():
    options = json.loads(re.search(r'`(\{"events": \["reward_claimed"\][^`]*)`', README)[1])
    assert FakeSessionM(**options).options.error_transport == "all200"
