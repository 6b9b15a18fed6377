"""Every check, each in an environment of its own: ``nox -l`` lists them."""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "plugins", "docs"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
EVERYWHERE = ("-m", "not reference and not crash and not postgres", "tests", "plugins")
AT_ONCE = ("-n", "auto", "--maxprocesses", "8", "--dist", "worksteal")  # most of a test's time is waiting
PLUGINS = sorted(path.parent for path in Path("plugins").glob("*/pyproject.toml"))


def group(name: str) -> list[str]:
    """What a dependency group asks for."""
    return list(nox.project.dependency_groups(PROJECT, name))


def install_all(session: nox.Session, *groups: str) -> None:
    """Install the gateway and its plugins from the source tree, and the tools of these groups."""
    sources = [argument for path in (".", *(f"./{plugin}" for plugin in PLUGINS)) for argument in ("-e", path)]
    session.install(*sources, *(requirement for name in groups for requirement in group(name)))


def build_wheels(session: nox.Session) -> Path:
    """Build every distribution; returns the directory of the wheels."""
    wheels = Path(session.create_tmp()) / "wheels"
    for path in (Path(), *PLUGINS):
        session.run("python", "-m", "build", "--wheel", "--outdir", str(wheels.resolve()), str(path), silent=True)
    return wheels


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strictly; and the SDK as a plugin's author types it."""
    install_all(session, "types")
    session.run(
        "mypy", "gateway", "tests/typing", *(str(path) for plugin in PLUGINS for path in plugin.glob("gateway_*"))
    )


@nox.session
def tests(session: nox.Session) -> None:
    """The gateway's tests and its plugins', from the source tree."""
    install_all(session, "tests")
    session.run("pytest", *(session.posargs or (*AT_ONCE, *EVERYWHERE)))


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """The same on every supported Python that is at hand."""
    install_all(session, "tests")
    session.run("pytest", "-q", *AT_ONCE, *EVERYWHERE)


@nox.session
def reference(session: nox.Session) -> None:
    """Tests against the reference payloads that lie beside this repository."""
    install_all(session, "tests")
    session.run("pytest", "-m", "reference", "tests", "plugins", *session.posargs)


@nox.session
def crash(session: nox.Session) -> None:
    """Processes killed at every failpoint: a fast slice, or as many schedules as asked for (``-- --help``)."""
    install_all(session, "postgres")
    session.run("python", "-m", "crash", *session.posargs, env={"PYTHONPATH": "tests"})
    if not session.posargs:
        session.run("pytest", "-m", "crash and not postgres", "-rP", "tests")


@nox.session
def postgres(session: nox.Session) -> None:
    """Whatever has to do with PostgreSQL, on servers that are brought along; kills included."""
    install_all(session, "postgres")
    session.run("pytest", "-rP", "-m", "postgres", "tests", *(session.posargs or AT_ONCE))


@nox.session
def plugins(session: nox.Session) -> None:
    """Each plugin from its built wheel, the source tree out of reach."""
    session.install("build", *group("tests"))
    wheels = build_wheels(session)
    session.install("--force-reinstall", *(str(wheel) for wheel in wheels.glob("*.whl")))
    away = Path(session.create_tmp()) / "away"
    away.mkdir(exist_ok=True)
    found = (
        "from gateway.plugins.connections import installed, load; "
        "print(sorted(load(name).name for name in installed()))"
    )
    for plugin in PLUGINS:
        tests = (plugin / "tests").resolve()
        with session.chdir(away):
            session.run("python", "-c", found)
            session.run(
                "pytest",
                "-q",
                "-m",
                "not reference",
                "--rootdir",
                str(tests.parent),
                "-c",
                str(tests.parent / "pyproject.toml"),
                str(tests),
            )


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation is true, and what it shows runs."""
    install_all(session, "tests")
    session.run("pytest", "-q", "tests/test_docs.py")


@nox.session
def build(session: nox.Session) -> None:
    """Source distributions and wheels of everything, in dist/."""
    session.install("build")
    for path in (Path(), *PLUGINS):
        session.run("python", "-m", "build", "--outdir", "dist", str(path))


@nox.session
def demo(session: nox.Session) -> None:
    """Run everything against fake partners and show what arrives."""
    install_all(session)
    session.run("gateway", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: one table, in ratios where it can; or what another program of tests/bench does (``-- fairness``)."""
    install_all(session, "bench", "postgres")
    is_named = session.posargs[:1] and not session.posargs[0].startswith("-")
    name, *options = session.posargs if is_named else ("run", *session.posargs)
    session.run("python", f"tests/bench/{name}.py", *options)
