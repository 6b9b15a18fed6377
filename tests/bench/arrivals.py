"""A partner that notes when each call arrived: ``arrivals.py PORT``.

It answers as SessionM does where all is well: at once, or after the delay that ``GET /delay/SECONDS`` has set.
``GET /seen`` answers with the number in the id of each event that came since the last time, and when, by the clock that
all processes of a machine share.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.fast_vendor import FastVendor, listen

NUMBER = re.compile(rb"0000-4000-[89]000-([0-9a-f]{12})")


class Arrivals(FastVendor):
    """Who came when. What is asked about that is answered at once, however long everybody else has to wait."""

    calls_wait_s = 0.0

    def take(self, target, body):
        """One request; returns the body to answer with."""
        self.delay_s = 0.0
        if target == b"/seen":
            seen, self.seen = self.seen, []
            return json.dumps(seen).encode()
        if target.startswith(b"/delay/"):
            self.calls_wait_s = float(target[7:])
            return b"{}"
        self.delay_s = self.calls_wait_s
        if found := NUMBER.search(target) or NUMBER.search(body):
            self.seen.append((int(found[1], 16), time.monotonic()))
        return super().take(target, body)


async def serve(port):
    server, port = await listen(Arrivals(keep=False), port)
    print(port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
