"""Connections of clients: many short ones, and ones that say nothing."""

import socket
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit


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
