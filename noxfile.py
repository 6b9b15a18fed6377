"""Every check, each in an environment of its own: ``nox -l`` lists them."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "plugins", "docs"]

PROJECT = nox.project.load_toml("pyproject.toml")
PLUGINS = sorted(path.parent for path in Path("plugins").glob("*/pyproject.toml"))


def install_editable(session: nox.Session, group: str) -> None:
    """Install the gateway and its plugins from the source tree, with a dependency group's tools."""
    session.install(*nox.project.dependency_groups(PROJECT, group))
    session.install("-e", ".", *(part for plugin in PLUGINS for part in ("-e", f"./{plugin}")))


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strictly."""
    install_editable(session, "types")
    session.run("mypy", "gateway", "tests/typing", *(str(plugin) for plugin in PLUGINS))


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite."""
    install_editable(session, "tests")
    session.run("pytest", *session.posargs)
