"""The fake as a program: ``python -m gateway_sailthru.fake --port N --api-key K --api-secret S``."""

from gateway.testing import main
from gateway_sailthru.fake.server import FakeSailthru

if __name__ == "__main__":
    main(FakeSailthru)
