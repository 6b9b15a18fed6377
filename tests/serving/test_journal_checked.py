"""``gateway check`` on the journal: what is wrong with a server, said without telling the password."""

import os
import subprocess
import sys

import pytest
from support.postgres_server import PASSWORD, QUOTED, free_port

CONFIG = """
[ingress]
authorization = ["Token test"]
[journal]
url = "{url}"
[connections.loyalty]
plugin = "sessionm"
[connections.loyalty.settings]
host = "http://127.0.0.1:1"
api_key = "test-key"
api_secret = "test-secret"
"""
CHECK = "from gateway.cli import main; main(['check', '-c', 'gateway.toml'])"


@pytest.fixture
def check(tmp_path):
    """What ``gateway check`` says of a journal's URL: its status, and its lines."""

    def run(url, *, program=CHECK, secrets=None, **environment):
        (tmp_path / "gateway.toml").write_text(CONFIG.format(url=url))
        if secrets:
            (tmp_path / "secrets").mkdir()
            (tmp_path / "secrets" / "journal__password").write_text(secrets)
            environment["GATEWAY_SECRETS_DIR"] = str(tmp_path / "secrets")
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, **environment}
        )
        said = done.stdout + done.stderr
        assert [secret for secret in (PASSWORD, QUOTED, "test-wrong") if secret in said] == []
        return done.returncode, said.splitlines()

    return run


@pytest.fixture
def url(server):
    return server.url(server.new_database(), password="")


@pytest.mark.postgres
def test_a_server_that_can_be_used_is_fine_and_gets_no_tables(check, server, url):
    assert check(url.replace("gateway@", f"gateway:{QUOTED}@")) == (0, ["loyalty: SessionM (sessionm 0.1.0)", "fine"])
    assert server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", url.rpartition("/")[2]) == "0"


@pytest.mark.postgres
def test_the_password_may_come_from_the_environment_or_a_secret_file(check, url):
    assert check(url, GATEWAY_JOURNAL__PASSWORD=PASSWORD)[0] == 0
    assert check(url, secrets=PASSWORD)[0] == 0


@pytest.mark.postgres
def test_what_the_server_objects_to_is_said(check, server, url):
    where = url.replace("gateway@", "")
    assert check(url, GATEWAY_JOURNAL__PASSWORD="test-wrong") == (
        1,
        [f'gateway: journal.url: {where}: password authentication failed for user "gateway"'],
    )
    assert check(f"{url}x", GATEWAY_JOURNAL__PASSWORD=PASSWORD) == (
        1,
        [f'gateway: journal.url: {where}x: database "{url.rpartition("/")[2]}x" does not exist'],
    )


@pytest.mark.postgres
def test_a_user_who_may_not_create_the_tables_is_told_so(check, server, url):
    database = url.rpartition("/")[2]
    server.sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC", database)
    try:
        status, lines = check(url.replace("gateway@", "guest@"), GATEWAY_JOURNAL__PASSWORD=PASSWORD)
    finally:
        server.sql("DROP ROLE guest", database)
    assert (status, "may not create tables" in lines[0]) == (1, True)


@pytest.mark.postgres
def test_a_server_that_is_not_there_is_named(check):
    port = free_port()
    status, lines = check(f"postgresql://gateway:{QUOTED}@127.0.0.1:{port}/gateway")
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith(f"gateway: journal.url: postgresql://127.0.0.1:{port}/gateway: ")


def test_a_driver_that_is_missing_is_named(check):
    hidden = f"import sys; sys.modules['asyncpg'] = None; {CHECK}"
    assert check("postgresql://gateway@127.0.0.1/gateway", program=hidden) == (
        1,
        [
            "gateway: journal.url: PostgreSQL needs a driver that is not installed: "
            "pip install 'mparticle-gateway[postgres]'"
        ],
    )
