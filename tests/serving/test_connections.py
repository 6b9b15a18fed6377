"""Connections of clients: many short ones, and ones that say nothing."""

import json
import socket
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest


def address(gateway):
    parts = urlsplit(gateway.url)
    return parts.hostname, parts.port


def descriptors(gateway):
    return len(list(Path(f"/proc/{gateway.children()['ingest']}/fd").iterdir()))


def test_a_connection_that_was_closed_leaves_no_descriptor(gateway, vendor, message):
    gateway.start()
    before = descriptors(gateway)
    for number in range(1_500):  # more than the 1,024 that many systems start a process with
        wire = HTTPConnection(*address(gateway), timeout=10)
        wire.request("GET", "/healthz")
        assert wire.getresponse().status == 200
        wire.close()
        if number % 3 == 0:
            socket.create_connection(address(gateway), timeout=10).close()  # as a load balancer looks for a listener
    gateway.wait(lambda: descriptors(gateway) <= before + 5, seconds=3)
    assert gateway.post(message(1))[0] == 200
    assert b"gateway_connections_open 1.0" in gateway.get("/metrics")[1]


def test_a_stop_closes_idle_connections_at_once(gateway, vendor):
    gateway.start()
    wire = HTTPConnection(*address(gateway), timeout=10)
    with closing(wire), socket.create_connection(address(gateway), timeout=10) as silent:
        wire.request("GET", "/healthz")
        wire.getresponse().read()
        assert gateway.stop() == 0
        assert silent.recv(1) == b""


def said(gateway, request):
    """Whatever comes back for these bytes, until the gateway closes."""
    with socket.create_connection(address(gateway), timeout=10) as wire:
        wire.sendall(request)
        return b"".join(iter(lambda: wire.recv(65_536), b""))


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
UPGRADE = (
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_errors_of_http_itself_are_json_and_are_logged_and_counted(gateway, vendor):
    gateway.start()
    for request, status, problem in (
        (b"nonsense\r\n\r\n", 400, "Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", 431, "Request Header Fields Too Large"),
        (PREFACE, 505, "HTTP Version Not Supported"),
    ):
        head, _, body = said(gateway, request).partition(b"\r\n\r\n")
        assert (int(head.split()[1]), json.loads(body)) == (status, {"error": problem})
        assert f'"status":{status},' in gateway.log
        assert f'gateway_answers_total{{status="{status}"}} 1.0'.encode() in gateway.get("/metrics")[1]


@pytest.mark.parametrize("engine", ["sqlite"])
def test_an_upgrade_to_http_2_in_clear_is_not_taken(gateway, vendor):
    gateway.start()
    answer = said(gateway, UPGRADE % b"Upgrade, HTTP2-Settings, close")
    assert answer.startswith(b"HTTP/1.1 200 ")
