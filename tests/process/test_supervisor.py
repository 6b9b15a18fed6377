"""The supervisor: addresses that are taken, and roles that cannot be started."""

import asyncio
import socket
import sys
import threading

import pytest

from gateway.process.supervisor import Child, address, bind_all
from gateway.settings import ConfigurationError

pytestmark = pytest.mark.anyio


def test_an_address_that_another_listens_on_is_refused():
    first = bind_all("127.0.0.1:0", 2)
    taken = "{}:{}".format(*first[0].getsockname())
    with pytest.raises(ConfigurationError, match=f"ingress.bind: {taken}: Address already in use"):
        bind_all(taken, 1, patience_s=0)
    for listener in first:
        listener.close()


def test_an_address_that_is_about_to_be_free_is_waited_for():
    (before,) = bind_all("127.0.0.1:0", 1)
    leaving = threading.Timer(0.2, before.close)
    leaving.start()
    (after,) = bind_all("{}:{}".format(*before.getsockname()), 1)
    after.close()
    leaving.join()


@pytest.mark.parametrize(("bind", "family"), [("127.0.0.1:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)])
def test_several_processes_share_one_address(bind, family):
    listeners = bind_all(bind, 3)
    assert len({address(listener) for listener in listeners}) == 1
    assert {listener.family for listener in listeners} == {family}
    for listener in listeners:
        listener.close()


async def test_a_role_that_cannot_be_started_is_tried_again(tmp_path):
    program = tmp_path / "role"
    child = Child("ingest", [str(program)])
    keeping = asyncio.create_task(child.keep())
    await asyncio.sleep(0.05)
    assert (keeping.done(), child.process) == (False, None)
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    program.chmod(0o755)
    while child.process is None:
        await asyncio.sleep(0.01)
    child.stop()
    await asyncio.wait_for(keeping, 10)
