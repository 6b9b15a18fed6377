"""The fake as a program; the environment variable FAKE_SESSIONM may hold its options as a JSON object."""

import json
import os

from gateway.testing import main
from gateway_sessionm.fake import FakeSessionM

if __name__ == "__main__":
    options = json.loads(os.environ.get("FAKE_SESSIONM", "{}"))
    main(lambda api_key, api_secret: FakeSessionM(**{"apps": {api_key: api_secret}, **options}))
