"""The parts of the documentation that are made from the code. ``python tests/written.py`` writes them."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

from floors import FLOORS
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gateway import settings
from gateway.sdk.hooks import Hooks

ROOT = Path(__file__).parent.parent
MARK = re.compile(r"(<!-- (settings|hooks|floors):? ?([\w.]*) -->\n)(.*?)(?=\n## |\n<!-- end -->|\Z)", re.DOTALL)


def shown(value):
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None or value == {} or isinstance(value, BaseModel):
        return ""
    return f"`{list(value) if isinstance(value, tuple) else value!r}`".replace("'", '"')


def settings_table(name):
    """A table of a settings model's fields; a plugin's model is named with its module."""
    module, _, model = name.rpartition(".")
    fields = getattr(import_module(module) if module else settings, model).model_fields
    rows = [f"| `{key}` | {shown(field.default)} | {field.description} |" for key, field in fields.items()]
    return "\n".join(["", "| key | default | meaning |", "| --- | --- | --- |", *rows, ""])


def hooks_list(_):
    """Every hook under its signature, with the sentence that its specification has."""
    parts = []
    for name, hook in vars(Hooks).items():
        if not name.startswith("_"):
            arguments = [argument for argument in inspect.signature(hook).parameters if argument != "self"]
            parts.append(f"\n### `{name}({', '.join(arguments)})`\n\n{inspect.getdoc(hook)}\n")
    return "".join(parts)


def floors_table(_):
    """The packages and modules of the gateway by floor, with the first sentence of each."""
    rows = []
    for module, number in sorted(FLOORS.items(), key=lambda one: (-one[1], one[0])):
        if module.endswith("__"):
            continue
        sentence = inspect.getdoc(import_module(module)).partition("\n")[0].partition(": ")[2]
        rows.append(f"| {number} | `{module.removeprefix('gateway.')}` | {sentence or module} |")
    return "\n".join(["", "| floor | room | what it is for |", "| --- | --- | --- |", *rows, ""])


def written(text):
    """A page with its made parts as they should be."""
    made = {"settings": settings_table, "hooks": hooks_list, "floors": floors_table}
    return MARK.sub(lambda found: found[1] + made[found[2]](found[3]), text)


PAGES = [
    ROOT / "docs" / "architecture.md",
    ROOT / "docs" / "configuration.md",
    ROOT / "docs" / "plugins.md",
    *sorted(ROOT.glob("plugins/*/README.md")),
]

if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
    sys.exit(0)
