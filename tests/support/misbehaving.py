"""A destination plugin that does whatever an event asks it to, however bad; installed where Python will find it.

Events whose names begin with ``shared`` are sent in one call for all users whose calls have gathered.
"""

PLUGIN = """
import collections, ctypes, itertools, os, socket, time
from pydantic import Field
from gateway.sdk import Call, Destination, Pool, Settings, delivered, hookimpl

class MySettings(Settings):
    base_url: str = Field(description="Where it is.")

def loops():
    while True:
        pass

def waits_for_a_socket():
    ours, theirs = socket.socketpair()
    ours.recv(1)

def takes_memory():
    taken = []
    while True:
        taken.append(bytearray(16 << 20))

DEEDS = {
    "loops": loops,
    "sleeps": lambda: time.sleep(60),
    "waits": waits_for_a_socket,
    "takes": takes_memory,
    "raises": lambda: [][1],
    "exits": lambda: os._exit(9),
    "segfaults": lambda: ctypes.string_at(0),
    "hangs": lambda: collections.deque(itertools.repeat(None), maxlen=0),
    "dawdles": lambda: time.sleep(0.4),
}

def do(text, where):
    for one in [text] if isinstance(text, str) else text:
        do_one(one.removeprefix("shared "), where)

def do_one(text, where):
    deed, _, place = text.partition("@")
    if place == where:
        DEEDS[deed]()

@hookimpl
def destination():
    return Destination(
        title="Misbehaving",
        settings=MySettings,
        base_url=lambda settings: settings.base_url,
        pools=lambda _: {"shared": Pool(most=8, quiet_s=1)},
    )

@hookimpl
def on_event(event):
    do(event.name, "plan")
    pool = "shared" if event.name.startswith("shared") else ""
    return Call(method="POST", path=f"events/{event.id}", json={"name": event.name}, memo=event.name, pool=pool)

@hookimpl
def coalesce(calls):
    for call in calls:
        do(call.memo, "coalesce")
    if all(call.pool for call in calls):
        named = {"path": "events/" + "+".join(call.path.removeprefix("events/") for call in calls)}
        memo = [call.memo for call in calls]
        return [Call(method="POST", id=calls[0].id, covers=tuple(call.id for call in calls), memo=memo, **named)]

@hookimpl
def sign(call):
    do(call.memo, "sign")
    return call

@hookimpl
def on_reply(call):
    do(call.memo, "on_reply")
"""
ENTRY_POINT = "[gateway.destinations]\nmisbehaving = gateway_misbehaving\n"
CONNECTION = """
[connections.bad]
plugin = "misbehaving"
login_identities = []
max_age_hours = 0
settings.base_url = "{url}"
filter.new_data_points = true
"""


def install(directory):
    """Install the plugin in a directory, which has to be on PYTHONPATH."""
    (directory / "gateway_misbehaving.py").write_text(PLUGIN)
    about = directory / "gateway_misbehaving-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gateway-misbehaving\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINT)
