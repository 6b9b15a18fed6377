"""Destination plugins that say what they were asked, installed for as long as a test lasts.

``witness_on`` sends new data points; ``witness_off`` does not, wants users with a customer_id, and takes iOS and web.
"""

WITNESS = """
from gateway.sdk import Call, Defaults, Destination, Settings, hookimpl, path

OFF = {off}


class WitnessSettings(Settings):
    url: str
    name: str


@hookimpl
def destination():
    return Destination(
        title="Witness",
        settings=WitnessSettings,
        base_url=lambda settings: settings.url,
        defaults=Defaults(new_data_points=not OFF, login_identities=("customer_id",) if OFF else ()),
        platforms=("ios", "web") if OFF else None,
    )


def told(values):
    return "".join(f" {{name}}={{values[name]}}" for name in sorted(values))


def say(settings, text):
    return Call(method="POST", path=path(settings.name), json=text)


@hookimpl
def on_identity(user, settings):
    return say(settings, "identities " + " ".join(sorted(one.type for one in user.identities)))


@hookimpl
def on_attributes(changes, user, settings):
    changed = "".join(f" -{{one.name}}" for one in changes if one.removed)
    return say(settings, "attributes" + told(user.attributes) + changed)


@hookimpl
def on_event(event, settings):
    name = getattr(event, "name", None) or getattr(event, "action", None)
    products = "".join(f" |{{told(one.attributes)}}" for one in getattr(event, "products", ()))
    return say(settings, f"{{event.type}}{{' ' + name if name else ''}}{{told(event.attributes)}}{{products}}")


@hookimpl
def on_session(session, settings):
    return say(settings, session.type + told(session.attributes))


@hookimpl
def on_audience(audience, settings):
    return say(settings, f"audience {{audience.name}} {{audience.action}}")


@hookimpl
def on_membership(membership, settings):
    attributes = {{one.name: one.value for one in membership.attributes}}
    return say(settings, f"membership {{membership.audience_name}} {{membership.action}}" + told(attributes))


@hookimpl
def on_erasure(user, settings):
    return say(settings, "erasure " + " ".join(sorted(one.type for one in user.identities)))
"""


def install(directory):
    """Make both plugins, as packages that are installed wherever ``directory`` is on the path."""
    about = directory / "witness-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1\n")
    points = "witness_on = witness_on\nwitness_off = witness_off\n"
    (about / "entry_points.txt").write_text(f"[gateway.destinations]\n{points}")
    for name in ("on", "off"):
        (directory / f"witness_{name}.py").write_text(WITNESS.format(off=name == "off"))
