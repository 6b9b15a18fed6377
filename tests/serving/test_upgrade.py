"""The last release and this one on one journal: each takes over what the other left."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from support.fast_vendor import fast_vendor
from support.posting import per_user

pytestmark = pytest.mark.upgrade
USERS = range(100, 104)
ERASURE = {
    "type": "dsr_processing_request",
    "id": "00000000-0000-4000-9000-000000000001",
    "timestamp_ms": 1_714_565_696_789,
    "firehose_version": "3.2.0",
    "subject_request_id": "00000000-0000-4000-a000-000000000001",
    "subject_request_type": "erasure",
    "subject_identities": {"email": {"encoding": "raw", "value": "mara@example.com"}},
    "extensions": {"opendsr.mparticle.com": {"subject_identities": {"mpid": {"encoding": "raw", "value": "100"}}}},
}


@pytest.fixture
def last_release():
    """The interpreter of an environment with the last release in it."""
    return os.environ["LAST_RELEASE_PYTHON"]


def post(gateway, message, numbers):
    for number in numbers:
        assert gateway.post(message(number, user=USERS[number % 4]))[0] == 200


def killed_with_a_backlog(gateway, message, python):
    """Post 40 messages to a gateway whose partner is away, and kill its processes. Return the partner's port."""
    with fast_vendor() as vendor:
        port = urlsplit(vendor.url).port
        gateway.vendor = vendor.url
        gateway.python = python
        gateway.start()
    post(gateway, message, range(40))
    gateway.wait(lambda: "connection unreachable" in gateway.log)
    gateway.kill_all()
    return port


def in_order(numbers):
    """The attribute of the events of each user, in the order in which they were posted."""
    return {str(user): [str(number) for number in numbers if USERS[number % 4] == user] for user in USERS}


def test_a_backlog_of_the_last_release_is_delivered_once_and_in_order(gateway, message, last_release):
    port = killed_with_a_backlog(gateway, message, last_release)
    gateway.python = sys.executable
    gateway.start_as_it_is()
    post(gateway, message, range(50))  # mParticle repeats forty that were answered, and posts ten more
    with fast_vendor(port) as vendor:
        gateway.wait(gateway.drained, seconds=40)
        assert per_user(vendor) == in_order(range(50))


def test_a_user_whom_the_last_release_was_asked_to_forget_stays_forgotten(gateway, message, last_release):
    port = killed_with_a_backlog(gateway, message, last_release)
    gateway.start_as_it_is()
    assert gateway.post(ERASURE)[0] == 200
    gateway.kill_all()
    gateway.python = sys.executable
    gateway.start_as_it_is()
    with fast_vendor(port) as vendor:
        gateway.wait(gateway.drained, seconds=40)
        assert per_user(vendor) == {user: sent for user, sent in in_order(range(40)).items() if user != "100"}


def test_the_last_release_goes_on_with_this_ones_journal_or_says_that_it_cannot(gateway, message, last_release):
    port = killed_with_a_backlog(gateway, message, sys.executable)
    check = [last_release, "-m", "gateway", "check", "-c", str(gateway.config)]
    done = subprocess.run(check, capture_output=True, text=True, check=False, cwd=gateway.directory)
    if done.returncode:
        assert "a newer" in done.stdout + done.stderr
    else:
        gateway.python = last_release
    gateway.start_as_it_is()
    with fast_vendor(port) as vendor:
        gateway.wait(gateway.drained, seconds=40)
        assert per_user(vendor) == in_order(range(40))
