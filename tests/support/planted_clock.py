"""A gateway whose clock can be set while it runs, without touching the machine's."""

HOUR_S = 3600
PLANTED = """
import os, sys, time

really = time.time_ns

def time_ns():
    with open(os.environ["TEST_CLOCK"]) as file:
        return really() + int(file.read() or 0) * 1_000_000_000

time.time_ns = time_ns
if "dispatch" in sys.orig_argv:
    from gateway.dispatch import role as dispatch
    dispatch.PRUNE_EVERY_S = 0.2
"""


class PlantedClock:
    """The clock of every gateway that is started from now on. It prunes often, too."""

    def __init__(self, directory, monkeypatch):
        self._file = directory / "clock"
        self.set(0)
        (directory / "sitecustomize.py").write_text(PLANTED)
        monkeypatch.setenv("PYTHONPATH", str(directory))
        monkeypatch.setenv("TEST_CLOCK", str(self._file))

    def set(self, hours):
        """Have it be ahead by so many hours, or behind."""
        new = self._file.with_suffix(".new")
        new.write_text(str(int(hours * HOUR_S)))
        new.replace(self._file)
