"""``gateway filter``: switches set in the configuration file, and nothing else of it disturbed."""

import tomllib

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import main
from gateway.cli.filter_blocks import render_filter
from gateway.govern.filter import DataFilter
from gateway.journal.types import DataPoint
from gateway.settings.filtering import Filter

CONFIG = """\
# Ours, since 2024.
[ingress]
authorization = ["Token test"]  # one for now

[connections.loyalty]   # the loyalty programme
plugin = "sessionm"
[connections.loyalty.settings]
host = "http://127.0.0.1:9901"
api_key = "test-key"
api_secret = "test-secret"
# What leaves:
[connections.loyalty.filter]
events = { "Reward Claimed" = true }  # more soon
event_attributes."Reward Claimed" = { tier = true }

# And mail.
[connections.email]
plugin = "sailthru"
[connections.email.settings]
api_key = "test-key"
api_secret = "test-secret"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def run(file):
    """Run ``gateway filter`` with these words; returns the status and what was said."""

    def run(*words):
        done = CliRunner().invoke(main, ["filter", *words, "-c", str(file)])
        return done.exit_code, done.output

    return run


def filter_of(file, connection="loyalty"):
    return tomllib.loads(file.read_text())["connections"][connection].get("filter")


CLAIMED = {"events": {"Reward Claimed": True}, "event_attributes": {"Reward Claimed": {"tier": True}}}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["events", "Signup", "on"], {"events": {"Reward Claimed": True, "Signup": True}}),
        (["events", "Reward Claimed", "*", "off"], {"events": {"Reward Claimed": False, "*": False}}),
        (["new_data_points", "off"], {"new_data_points": False}),
        (["screens", "Home", "on"], {"screens": {"Home": True}}),
        (["user_identities", "email", "customer_id", "on"], {"user_identities": {"email": True, "customer_id": True}}),
        (
            ["event_attributes", "Reward Claimed", "shop", "on"],
            {"event_attributes": {"Reward Claimed": {"tier": True, "shop": True}}},
        ),
        (
            ["event_attributes", 'A "new" one.', "a", "b.c", "on"],
            {"event_attributes": {"Reward Claimed": {"tier": True}, 'A "new" one.': {"a": True, "b.c": True}}},
        ),
    ],
)
def test_what_is_set_is_set_and_the_rest_stays_as_it_is(run, file, words, expected):
    assert run("set", "loyalty", *words)[0] == 0
    assert filter_of(file) == {**CLAIMED, **expected}
    before, after = CONFIG.splitlines(), file.read_text().splitlines()
    kept = [line for line in before if not line.startswith(("events =", "event_attributes"))]
    assert [line for line in after if line in kept and line] == [line for line in kept if line]
    assert "# more soon" in file.read_text()


def test_a_connection_without_a_filter_gets_one(run, file):
    assert run("set", "email", "events", "Signup", "off")[0] == 0
    assert (filter_of(file, "email"), filter_of(file)) == ({"events": {"Signup": False}}, CLAIMED)
    assert file.read_text().startswith(CONFIG)


def test_what_is_unset_is_no_longer_there(run, file):
    assert run("unset", "loyalty", "event_attributes", "Reward Claimed", "tier")[0] == 0
    assert filter_of(file) == {**CLAIMED, "event_attributes": {"Reward Claimed": {}}}


def test_a_filter_is_copied_in_the_place_of_another(run, file):
    run("set", "email", "screens", "Home", "off")
    assert run("copy", "loyalty", "email")[0] == 0
    assert filter_of(file) == CLAIMED
    assert filter_of(file, "email") == {**CLAIMED, "new_data_points": False}  # which is SessionM's default alone


def test_a_switch_that_is_text_is_copied_as_what_it_says(run, file):
    file.write_text(CONFIG.replace('"Reward Claimed" = true', '"Reward Claimed" = "false"'))
    assert run("copy", "loyalty", "email")[0] == 0
    assert filter_of(file, "email")["events"] == {"Reward Claimed": False}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["set", "nobody", "events", "Signup", "on"], 1, "connections.nobody is not in the file"),
        (["unset", "loyalty", "events", "Signup"], 1, "connections.loyalty.filter.events.Signup is not set"),
        (["unset", "email", "events", "Signup"], 1, "connections.email.filter.events.Signup is not set"),
        (["copy", "nobody", "email"], 1, "connections.nobody is not in the file"),
        (["set", "loyalty", "events", "on"], 2, "events needs at least one name"),
        (["set", "loyalty", "event_attributes", "Signup", "on"], 2, "then names of its attributes"),
        (["set", "loyalty", "new_data_points", "x", "on"], 2, "new_data_points takes no names"),
        (["set", "loyalty", "nonsense", "x", "on"], 2, "'nonsense' is not one of"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(run, file, words, status, said):
    code, output = run(*words)
    assert (code, said in output, file.read_text()) == (status, True, CONFIG)


def test_a_file_that_is_no_configuration_is_left_alone(run, file):
    broken = CONFIG.replace("authorization", "autorisation")
    file.write_text(broken)
    code, output = run("set", "loyalty", "events", "Signup", "on")
    assert (code, "ingress.autorisation: no such setting" in output) == (1, True)
    assert (file.read_text(), list(file.parent.iterdir())) == (broken, [file])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["event_types", "custom_evnt"],
            "filter.event_types.custom_evnt: is no event type; expected one of application_",
        ),
        (["commerce", "purchas"], "filter.commerce.purchas: is no commerce action; expected one of add_to_cart, "),
        (
            ["commerce_attributes", "purchas", "sku"],
            "filter.commerce_attributes.purchas: is no commerce action; expected ",
        ),
    ],
)
def test_a_name_that_mparticle_does_not_have_is_refused(run, file, words, said):
    code, output = run("set", "loyalty", *words, "on")
    assert (code, said in output, file.read_text()) == (1, True, CONFIG)


def test_an_identity_that_mparticle_does_not_have_is_taken_for_a_partners_and_doubted(run, file):
    code, output = run(
        "set", "loyalty", "user_identities", "custmer_id", "customer", "CustomerId", "ios_idfv", "*", "on"
    )
    doubts = [line for line in output.splitlines() if "taken for a partner's" in line]
    assert (code, len(doubts)) == (0, 1)
    assert doubts[0].startswith(
        "gateway: connections.loyalty.filter.user_identities.custmer_id: mParticle has no such identity"
    )
    assert "; mParticle's are alias, customer_id, email, " in doubts[0]


def test_a_block_has_what_may_not_stand_in_a_filter_as_a_comment():
    seen = [("event_types", "stamp_card"), ("event_types", "opt_out"), ("commerce", "gift\n"), ("commerce", "refund")]
    points = [DataPoint("loyalty", "ios", kind, name, "", "", 0, 0, 1) for kind, name in seen]
    points.append(DataPoint("loyalty", "ios", "commerce", "gift\n", "sku", "string", 0, 0, 1))
    text = render_filter("loyalty", Filter(), points, DataFilter(Filter(), new_data_points=True))
    said = tomllib.loads(text)["connections"]["loyalty"]["filter"]
    assert said == {"new_data_points": True, "event_types": {"opt_out": True}, "commerce": {"refund": True}}
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        '# commerce has no entry for "gift\\n", which the gateway does not know',
        "# event_types has no entry for stamp_card, which the gateway does not know",
    ]


def test_permissions_and_links_stay(run, file):
    real = file.rename(file.parent / "real.toml")
    real.chmod(0o640)
    file.symlink_to(real)
    assert run("set", "loyalty", "events", "Signup", "on")[0] == 0
    assert (file.is_symlink(), real.stat().st_mode & 0o777) == (True, 0o640)
    assert filter_of(real)["events"] == {"Reward Claimed": True, "Signup": True}


def test_line_endings_stay(run, file):
    file.write_bytes(CONFIG.replace("\n", "\r\n").encode())
    assert run("set", "loyalty", "events", "Größe", "on")[0] == 0
    assert run("set", "email", "new_data_points", "off")[0] == 0
    after = file.read_bytes().decode()
    assert "# more soon\r\n" in after
    assert filter_of(file)["events"] == {"Reward Claimed": True, "Größe": True}


NAMES = st.text(min_size=1, max_size=12).filter(lambda name: "\0" not in name)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.booleans())), st.booleans())
def test_a_block_says_what_is_so_whatever_the_names(seen, new):
    configured = Filter(events=dict.fromkeys(list(seen)[::2], True), user_attributes={"old": False})
    filter = DataFilter(configured, new_data_points=new)
    names = [(name, attribute) for name, attributes in seen.items() for attribute in ("", *attributes)]
    points = [DataPoint("loyalty", "ios", "events", name, attribute, "", 0, 0, 1) for name, attribute in names]
    said = tomllib.loads(render_filter("loyalty", configured, points, filter))["connections"]["loyalty"]["filter"]
    again = DataFilter(Filter.model_validate(said), new_data_points=not new)
    assert [again.decide("events", *one).is_sent for one in names] == [
        filter.decide("events", *one).is_sent for one in names
    ]
    assert (said["new_data_points"], said["user_attributes"]) == (new, {"old": False})
    assert all(again.decide("events", *one).is_decided for one in names)
