"""Several machines, one journal: nodes that are killed, that stand still, whose database goes away."""

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.fast_vendor import fast_vendor
from support.postgres_server import QUOTED, PostgresServer, postgres_server
from support.posting import Poster, check

from gateway.testing.vendor import Action, Fault, Match

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]
USERS = 200


@pytest.fixture
def engine():
    return "postgresql"


@pytest.fixture
def pair(node):
    """Two nodes, started."""
    return node("a").start(), node("b").start()


def sent(vendor):
    return [entry["body"]["events"]["Signup"]["transaction_id"] for entry in vendor.events()]


def test_the_same_message_posted_to_both_at_once_is_stored_and_sent_once(pair, vendor, message):
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(node.post, message(n, user=100 + n)) for n in range(40) for node in pair]
        assert {post.result()[0] for post in posts} == {200}
    pair[0].wait(pair[0].drained)
    assert sorted(sent(vendor)) == sorted(f"e-{n}-0" for n in range(40))
    assert pair[1].facts()["loyalty", "received"] == 80


def test_both_nodes_deliver(pair, message):
    with fast_vendor() as vendor:
        for node in pair:
            node.stop()
            node.vendor = vendor.url
            node.start()
        posters = [Poster(pair, message, range(first, 100 + first), 3) for first in (1, 101)]
        for poster in posters:
            poster.start()
        for poster in posters:
            poster.join()
        pair[0].wait(pair[0].drained)
        check(vendor, 3 * USERS, 0)
    assert min(node.log.count('"event":"finished"') for node in pair) > 0


def test_a_cluster_survives_the_killing_of_either_node_under_load(node, message):
    pair, rounds = (node("a"), node("b")), 20
    with fast_vendor() as vendor:
        for one in pair:
            one.vendor = vendor.url
            one.start()
        posters = [
            Poster(pair if first % 2 else pair[::-1], message, range(first, USERS + 1, 4), rounds)
            for first in (1, 2, 3, 4)
        ]
        for poster in posters:
            poster.start()
        for one in pair:
            time.sleep(1.5)
            one.kill_all()
            time.sleep(1)
            one.start()
        for poster in posters:
            poster.join()
        assert sum(poster.acknowledged for poster in posters) == rounds * USERS
        pair[0].wait(pair[0].drained, seconds=120)
        check(vendor, rounds * USERS, 2)


def test_a_dispatcher_that_stands_still_loses_its_lanes_and_records_nothing_more_of_them(pair, server, vendor, message):
    vendor.configure({"latency_ms": 800})
    for n in range(4):
        assert pair[0].post(message(n, user=7))[0] == 200
    pair[0].wait(lambda: vendor.journal)
    owner = holder(pair, server)
    pid = owner.children()["dispatch"]
    os.kill(pid, signal.SIGSTOP)
    try:
        other = pair[pair[0] is owner]
        owner.wait(lambda: other.drained(), seconds=60)
    finally:
        os.kill(pid, signal.SIGCONT)
    owner.wait(lambda: "claim lost" in owner.log)
    facts = other.facts()
    assert (facts["loyalty", "received"], facts["loyalty", "delivered"]) == (8, 8)
    order = [id for at, id in enumerate(sent(vendor)) if id not in sent(vendor)[:at]]
    assert order == [f"e-{n}-0" for n in range(4)]
    assert len(vendor.journal) <= 9  # two calls a message, and the one that was under way once more


def holder(pair, server):
    """The node whose dispatcher has a lane in hand."""
    owner = server.sql("SELECT owner FROM lanes WHERE owner IS NOT NULL", f"test{server.databases}")
    return next(node for node in pair if f":{node.children()['dispatch']}:" in owner)


def test_what_a_partner_asks_of_one_node_all_of_them_do(pair, vendor, message):
    told = Action(status=429, headers={"Retry-After": "8"})
    vendor.faults.append(Fault(match=Match(path_regex="/events$"), times=1, action=told))
    pair[0].post(message(0, user=100))
    pair[0].wait(lambda: [one for one in vendor.journal if one["status"] == 429])
    time.sleep(2)
    calls = len(vendor.journal)
    for n in range(1, 21):
        assert pair[n % 2].post(message(n, user=100 + n))[0] == 200
    time.sleep(2)
    assert len(vendor.journal) == calls
    pair[0].wait(pair[0].drained, seconds=40)
    assert len(sent(vendor)) == 21


@pytest.mark.parametrize(
    "end", [lambda server: server.stop(signal.SIGQUIT), PostgresServer.kill], ids=["crash", "kill"]
)
def test_the_database_restarts_while_posts_arrive(node, vendor, message, end):
    with postgres_server() as server:
        gateway = node()
        gateway.start(journal=f'url = "{server.url(server.new_database())}"\nlease_s = 2')
        assert gateway.post(message(0))[0] == 200
        gateway.wait(gateway.drained)
        end(server)
        status, answer = gateway.post(message(1))
        assert (status, answer) == (503, {"error": "the message cannot be stored now; try again"})
        assert gateway.get("/healthz")[0] == 200
        assert gateway.get("/readyz")[0] == 503
        server.start()
        gateway.wait(lambda: gateway.post(message(1))[0] == 200)
        gateway.wait(lambda: sent(vendor) == ["e-0-0", "e-1-0"])
        gateway.wait(gateway.drained)
        assert gateway.children().keys() == {"ingest", "dispatch"}
        assert gateway.stop() == 0
        assert re.search("journal unavailable", gateway.log)
        assert QUOTED not in gateway.log


def test_roles_may_run_on_machines_of_their_own(node, vendor, message):
    takes, delivers = node("a"), node("b")
    takes.start(role="ingest")
    assert takes.post(message(1))[0] == 200
    delivers.start(role="dispatch")
    takes.wait(takes.drained)
    assert sent(vendor) == ["e-1-0"]
