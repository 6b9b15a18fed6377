"""Failures: a partner that is down, credentials that are wrong, processes that are killed, a stop while busy."""

import os
import random
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.fast_vendor import fast_vendor
from support.posting import Poster, check, per_user

from gateway.testing.vendor import Action, Fault, Match


def sent(vendor):
    return [entry["body"]["events"]["Signup"]["transaction_id"] for entry in vendor.events()]


def test_a_partner_that_is_down_gets_everything_in_order_once_it_is_back(gateway, message):
    with fast_vendor() as vendor:
        port = urlsplit(vendor.url).port
        gateway.vendor = vendor.url
        gateway.start()
    for number in range(40):
        assert gateway.post(message(number, user=100 + number % 4))[0] == 200
    assert gateway.facts()["loyalty", "in_flight"] == 80
    gateway.wait(lambda: "connection unreachable" in gateway.log)
    with fast_vendor(port) as vendor:
        gateway.wait(gateway.drained, seconds=40)
        events = per_user(vendor)
    assert gateway.log.count("connection works again") >= 1
    assert events == {str(100 + user): [str(n) for n in range(user, 40, 4)] for user in range(4)}


def test_wrong_credentials_pause_the_connection_and_lose_nothing(gateway, vendor, message):
    gateway.start(secret="test-wrong")
    gateway.post(message(1))
    gateway.wait(lambda: vendor.journal)
    time.sleep(1)
    assert (sent(vendor), gateway.drained()) == ([], False)
    assert "refused" in gateway.explain(message(1)["id"])[0]["reason"]
    assert gateway.stop() == 0
    gateway.start(secret="test-secret")
    gateway.wait(gateway.drained)
    assert sent(vendor) == ["e-1-0"]
    assert ("loyalty", "dead") not in gateway.facts()


def test_a_503_is_tried_again_and_what_stands_behind_it_waits(gateway, vendor, message):
    vendor.faults.append(Fault(match=Match(path_regex="/events$"), times=2, action=Action(status=503)))
    gateway.start()
    for number in range(3):
        gateway.post(message(number))
    gateway.wait(gateway.drained)
    assert sent(vendor) == ["e-0-0", "e-1-0", "e-2-0"]


def test_a_stop_while_busy_finishes_in_time_with_status_0_and_loses_nothing(gateway, vendor, message):
    vendor.configure({"latency_ms": 300})
    gateway.start()
    for number in range(30):
        gateway.post(message(number, user=100 + number))
    before = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - before < 14
    vendor.configure({"latency_ms": 0})
    gateway.start()
    gateway.wait(gateway.drained)
    assert sorted(sent(vendor)) == sorted(f"e-{number}-0" for number in range(30))


@pytest.mark.parametrize("role", ["ingest", "dispatch"])
def test_a_role_that_is_killed_is_started_again(gateway, vendor, message, role):
    gateway.start()
    first = gateway.children()[role]
    os.kill(first, signal.SIGKILL)
    gateway.wait(lambda: gateway.children().get(role, first) != first)
    gateway.wait(gateway.answers)
    gateway.post(message(1))
    gateway.wait(gateway.drained)
    assert sent(vendor) == ["e-1-0"]


def test_the_roles_end_when_their_supervisor_is_killed(gateway, message):
    gateway.start()
    children = gateway.children()
    gateway.process.kill()
    gateway.wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children.values()))


def killing(gateway, message, vendor, *, batches, kills, seed):
    """Post so many batches while killing processes at random moments; returns how often each role was killed."""
    chance = random.Random(seed)
    users, posters = 200, 4
    threads = [
        Poster([gateway], message, range(1 + first, 1 + users, posters), batches // users) for first in range(posters)
    ]
    for thread in threads:
        thread.start()
    killed = {"ingest": 0, "dispatch": 0, "supervisor": 0}
    while sum(killed.values()) < kills and any(thread.is_alive() for thread in threads):
        time.sleep(chance.uniform(0.02, 0.4))
        role = chance.choice(["ingest", "dispatch", "dispatch", "supervisor"])
        if role == "supervisor":
            gateway.process.kill()
            gateway.process.wait()
            gateway.start()
        elif role in (children := gateway.children()):
            os.kill(children[role], signal.SIGKILL)
        killed[role] += 1
    for thread in threads:
        thread.join()
    gateway.wait(gateway.answers)
    gateway.wait(gateway.drained, seconds=120)
    assert sum(thread.acknowledged for thread in threads) == batches
    return killed


def test_killing_processes_loses_nothing_and_never_swaps_two_calls(gateway, message):
    with fast_vendor() as vendor:
        gateway.vendor = vendor.url
        gateway.start()
        killed = killing(gateway, message, vendor, batches=1_000, kills=4, seed=1)
        check(vendor, 1_000, sum(killed.values()))


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_killing_processes_a_few_dozen_times_loses_nothing_and_never_swaps_two_calls(gateway, message):
    with fast_vendor() as vendor:
        gateway.vendor = vendor.url
        gateway.start()
        killed = killing(gateway, message, vendor, batches=10_000, kills=40, seed=2)
        repeats = check(vendor, 10_000, sum(killed.values()))
    print(f"{killed} killed, {repeats} calls repeated")
    assert sum(killed.values()) >= 24


def test_where_the_processor_is_short_answers_go_before_deliveries_and_nobody_waits_for_the_writers_lock(
    gateway, engine
):
    gateway.start()

    def niceness(role):
        """That of each of its threads, the first of which is the main one."""
        tasks = sorted(int(task.name) for task in Path(f"/proc/{gateway.children()[role]}/task").iterdir())
        return [os.getpriority(os.PRIO_PROCESS, task) for task in tasks]

    own = os.getpriority(os.PRIO_PROCESS, 0)
    writers = 3 if engine == "sqlite" else 0  # they write, fold the log, and put ids on shelves
    gateway.wait(lambda: niceness("dispatch")[0] == max(4, own) and len(niceness("dispatch")) > writers)
    assert niceness("dispatch")[1 : 1 + writers] == [own] * writers
    assert set(niceness("ingest")) == {own}
