"""Plugins that misbehave: each costs its own batch, and nobody else anything that matters."""

import json
import re
import time

import pytest
from support.fast_vendor import fast_vendor
from support.misbehaving import CONNECTION, install

ON_A_FILE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def partner():
    with fast_vendor() as vendor:
        yield vendor


@pytest.fixture
def gateway(gateway, partner, tmp_path, monkeypatch):
    install(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("GATEWAY_JOURNAL__LEASE_S", "1")
    gateway.fields["more"] = CONNECTION.format(url=partner.url)
    return gateway


@pytest.fixture
def does(message):
    """A message with one event that has the plugin do something: ``does(1, "loops@plan", user=3)``."""

    def make(number, deed, user=42):
        made = message(number, user=user)
        made["events"][0]["name"] = deed
        return made

    return make


def taken(partner):
    """Which events arrived, in order, each once however often it was sent."""
    return list(dict.fromkeys(re.search(rb"events/(e-\d+-0)", target)[1].decode() for target, _ in partner.seen))


def word(gateway, number):
    (row,) = (row for row in gateway.explain(f"00000000-0000-4000-8000-{number:012d}") if row["connection"] == "bad")
    (fact,) = (fact for fact in row["facts"] if fact["fact"].startswith("e-"))
    return fact["word"], fact["reason"], fact["detail"]


CRASHES = [
    ("exits@plan", "misbehaving 1.0 plan: the process died of it 3 times", False),
    ("exits@sign", "misbehaving 1.0 sign: the process died of it 3 times", False),
    ("segfaults@on_reply", "misbehaving 1.0 on_reply: the process died of it 3 times", True),
]


@pytest.mark.parametrize(("deed", "detail", "is_sent"), CRASHES, ids=[deed for deed, *_ in CRASHES])
def test_what_kills_the_process_is_set_aside_alone(gateway, partner, does, deed, detail, is_sent):
    gateway.start()
    for number, name in enumerate(["Signup", deed, "Signup", "Signup"], 1):
        gateway.post(does(number, name, user=43 if number == 4 else 42))
    gateway.wait(lambda: gateway.drained("bad") and gateway.drained(), seconds=60)
    assert word(gateway, 2) == ("dead", "crashed", detail)
    assert set(taken(partner)) == {"e-1-0", "e-3-0", "e-4-0"} | ({"e-2-0"} if is_sent else set())
    order = [event for event in taken(partner) if event != "e-4-0"]
    assert order == sorted(order)
    assert gateway.facts()["bad", "dead"] == (2 if deed.endswith("@plan") else 1)  # no plan: all that it told
    assert gateway.log.count("a process died in a plugin") == 3


ALONE = """
[ingress]
bind = "127.0.0.1:0"
authorization = ["Token test"]
[journal]
url = "sqlite:///{directory}/gateway.db"
"""  # with one connection nobody rests for what a plugin costs the others


@ON_A_FILE
@pytest.mark.parametrize(("deed", "alone"), [("exits@sign", [1, 1, 1]), ("exits@coalesce", [])])
def test_whose_part_of_a_shared_call_kills_the_process_is_found_by_halves(gateway, partner, does, deed, alone):
    one_connection = ALONE.format(directory=gateway.directory) + CONNECTION.format(url=partner.url)
    gateway.config.write_text(one_connection)
    gateway.start_as_it_is()
    for number in range(1, 9):
        gateway.post(does(number, f"shared {deed if number == 6 else 'Signup'}", user=100 + number))
    gateway.wait(lambda: gateway.drained("bad"), seconds=90)
    sent = [event.decode() for target, _ in partner.seen for event in re.findall(rb"e-\d+-0", target)]
    poison = {6} if alone else set()
    assert sorted(sent) == sorted(f"e-{number}-0" for number in {*range(1, 9)} - poison)
    assert gateway.facts().get(("bad", "dead"), 0) == len(poison)
    deaths = [json.loads(line) for line in gateway.log.splitlines() if "a process died in a plugin" in line]
    assert [death["users"] for death in deaths] == [8, 4, 2, *alone]
    if alone:
        assert word(gateway, 6) == ("dead", "crashed", "misbehaving 1.0 sign: the process died of it 3 times")


@ON_A_FILE
def test_folding_that_kills_the_process_is_done_without(gateway, partner, does):
    gateway.start()
    for number in range(1, 4):
        gateway.post(does(number, "exits@coalesce"))
    gateway.wait(lambda: gateway.drained("bad"), seconds=60)
    assert taken(partner) == ["e-1-0", "e-2-0", "e-3-0"]
    assert ("bad", "dead") not in gateway.facts()


@ON_A_FILE
def test_what_cannot_be_interrupted_is_ended_by_the_supervisor(gateway, partner, does, monkeypatch):
    monkeypatch.setenv("GATEWAY_DELIVERY__HOOK_TIMEOUT_S", "0.3")
    gateway.start()
    gateway.post(does(1, "hangs@plan"))
    gateway.post(does(2, "Signup"))
    gateway.wait(lambda: gateway.drained("bad"), seconds=60)
    assert word(gateway, 1)[:2] == ("dead", "crashed")
    assert taken(partner) == ["e-2-0"]
    assert "a plugin cannot be interrupted" in gateway.log
    assert "gateway_misbehaving.py" in gateway.log


TWICE = r"misbehaving: planning took too long, twice; interrupted at gateway_misbehaving\.py:\d+ "
BRIEFLY = ("GATEWAY_DELIVERY__HOOK_TIMEOUT_S", "0.3")
IN_LITTLE = ("GATEWAY_DELIVERY__HOOK_MEMORY_BYTES", str(64 << 20))
CUT_OFF = [
    ("loops@plan", BRIEFLY, TWICE + "loops"),
    ("sleeps@plan", BRIEFLY, TWICE + "<lambda>"),
    ("waits@plan", BRIEFLY, TWICE + "waits_for_a_socket"),
    ("takes@plan", IN_LITTLE, r"misbehaving 1\.0 on_event: MemoryError at line \d+"),
    ("raises@plan", BRIEFLY, r"misbehaving 1\.0 on_event: IndexError at line \d+"),
    ("loops@sign", BRIEFLY, r"misbehaving 1\.0 sign: HookTimeout: interrupted at gateway_misbehaving\.py:\d+ loops"),
    ("takes@on_reply", IN_LITTLE, r"misbehaving 1\.0 on_reply: MemoryError at line \d+"),
]


@ON_A_FILE
@pytest.mark.parametrize(("deed", "bound", "detail"), CUT_OFF, ids=[deed for deed, *_ in CUT_OFF])
def test_a_hook_that_goes_too_far_is_cut_off_and_named(gateway, partner, does, monkeypatch, deed, bound, detail):
    monkeypatch.setenv(*bound)
    gateway.start()
    first = gateway.children()["dispatch"]
    gateway.post(does(1, deed))
    gateway.post(does(2, "Signup"))
    gateway.wait(lambda: gateway.drained("bad"))
    *said, why = word(gateway, 1)
    assert said == ["dead", "plugin_error"]
    assert re.fullmatch(detail, why)
    assert taken(partner)[-1] == "e-2-0"
    assert gateway.children()["dispatch"] == first


@ON_A_FILE
def test_a_plugin_that_is_always_slow_rests_while_the_others_go_on(gateway, does):
    gateway.start()
    for number in range(60):
        gateway.post(does(number, "dawdles@plan", user=100 + number))
    began = time.monotonic()
    gateway.wait(gateway.drained, seconds=60)
    assert time.monotonic() - began < 20
    gateway.wait(lambda: "plugin suspended" in gateway.log, seconds=30)
    assert not gateway.drained("bad")
    assert ("bad", "dead") not in gateway.facts()
