"""The README tells every reason and every setting there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway_sailthru
from gateway_sailthru.reasons import REASONS
from gateway_sailthru.settings import SailthruSettings

README = Path(__file__).parent.parent / "README.md"
CODE = "\n".join(path.read_text() for path in sorted(Path(gateway_sailthru.__file__).parent.glob("*.py")))
MADE_UP = {"removed_email", "hashed_email", "invalid_email"}  # put together from words
pytestmark = pytest.mark.skipif(not README.exists(), reason="the README lies with the source")


def test_every_reason_to_skip_is_explained():
    reasons = set(re.findall(r'Skip\(reason="(\w+)"', CODE)) | MADE_UP
    section = README.read_text().partition("## What is not sent")[2].partition("\n## ")[0]
    table = "".join(line for line in section.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`([a-z]+_[a-z_]+|[a-z]+)`", table)) >= reasons
    assert len(reasons) > 15
    assert reasons | set(re.findall(r'rejected\("(\w+)"', CODE)) <= set(REASONS)


def test_every_setting_is_in_the_table_with_its_meaning():
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", README.read_text().partition("## Settings")[2], re.MULTILINE)
    assert rows == [(name, field.description) for name, field in SailthruSettings.model_fields.items()]
