"""The chassis of fake vendors: the ways in which an answer can be spoilt, seen over a real socket."""

import socket
import time
from urllib.parse import urlsplit

import pytest

from gateway.testing import Answer, FakeVendor, running
from gateway.testing.vendor import Action, Fault

WHOLE = b"HTTP/1.1 200 \r\ncontent-length: 10\r\n\r\n0123456789"


class Counting(FakeVendor):
    """Counts the calls that took effect."""

    effects = 0

    def answer(self, request):
        self.effects += 1
        return Answer(body=b"0123456789")


@pytest.fixture
def vendor():
    made = Counting()
    with running(made) as url:
        made.port = urlsplit(url).port
        yield made


def call(vendor, **action):
    """Make a call that is spoilt in this way; the open connection."""
    vendor.faults.append(Fault(action=Action(**action)))
    wire = socket.create_connection(("127.0.0.1", vendor.port), timeout=10)
    wire.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
    return wire


def all_of(wire):
    received = b""
    while piece := wire.recv(4096):
        received += piece
    return received


@pytest.mark.parametrize(("after", "effects"), [(False, 0), (True, 1)])
def test_a_vendor_that_hangs_says_nothing_for_as_long_as_it_is_asked(vendor, after, effects):
    with call(vendor, hang=True, after=after) as wire:
        wire.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.recv(1)
    assert vendor.effects == effects


def test_a_half_closed_answer_breaks_off_and_the_vendor_goes_on_listening(vendor):
    with call(vendor, half_close=True) as wire:
        assert all_of(wire) == WHOLE[:-5]
        wire.sendall(b"more")
        wire.sendall(b"and more")
    assert vendor.effects == 1


def test_a_dripping_answer_is_fine_and_takes_its_time(vendor):
    began = time.monotonic()
    with call(vendor, drip_ms=2) as wire:
        wire.shutdown(socket.SHUT_WR)
        assert all_of(wire) == WHOLE
    assert time.monotonic() - began >= 0.002 * len(WHOLE)


def test_a_vendor_that_was_spoilt_answers_the_next_call_as_ever(vendor):
    for action in ({"hang": True}, {"half_close": True}, {"drip_ms": 1}):
        call(vendor, **action).close()
    with call(vendor, status=200, body="0123456789") as wire:
        wire.shutdown(socket.SHUT_WR)
        assert all_of(wire) == WHOLE
