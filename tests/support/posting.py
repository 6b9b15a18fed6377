"""Posting under load while things break, and what must have arrived afterwards."""

import itertools
import json
import re
import threading
import time
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from urllib.parse import urlsplit


def per_user(vendor):
    """The ``n`` attributes of the events of each user, in the order in which they arrived."""
    seen = {}
    for target, body in vendor.seen:
        if target.endswith(b"/events"):
            user = re.search(rb"/users/(\d+)/", target)[1].decode()
            ((event,),) = [json.loads(body)["events"].values()]
            seen.setdefault(user, []).append(event["context"]["n"])
    return seen


class Poster(threading.Thread):
    """Posts its users' messages, each user's in order, every one until it is acknowledged by any of these gateways."""

    def __init__(self, gateways, message, users, rounds):
        super().__init__(daemon=True)  # or a gateway that never comes back would keep the tests from ending
        self.gateways, self.message, self.users, self.rounds = itertools.cycle(gateways), message, users, rounds
        self.acknowledged = 0
        self.wire = None

    def run(self):
        for number in range(self.rounds):
            for user in self.users:
                body = json.dumps(self.message(user * 100_000 + number, user=user, events=1)).replace(
                    f'"n": "{user * 100_000 + number}"', f'"n": "{number}"'
                )
                while not self.posted(body):
                    time.sleep(0.01)
                self.acknowledged += 1
        self.wire.close()

    def posted(self, body):
        try:
            if self.wire is None:
                parts = urlsplit(next(self.gateways).url)
                self.wire = HTTPConnection(parts.hostname, parts.port, timeout=10)
            self.wire.request("POST", "/mparticle", body, {"Authorization": "Token test"})
            answer = self.wire.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, HTTPException):
            if self.wire is not None:
                self.wire.close()
            self.wire = None
            return False


def check(vendor, batches, kills):
    """Everything arrived, in order; a call was repeated at most once for each kill, and only right away."""
    repeats = 0
    for user, numbers in per_user(vendor).items():
        order = [int(number) for number in numbers]
        steps = [after - before for before, after in pairwise(order)]
        assert order[0] == 0, user
        assert set(steps) <= {0, 1}, (user, order)
        repeats += steps.count(0)
        assert steps.count(0) <= kills, user
        assert order[-1] == batches // 200 - 1, user
    assert len(per_user(vendor)) == 200
    return repeats
