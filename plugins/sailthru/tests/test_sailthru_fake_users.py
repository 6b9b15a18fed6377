"""The fake's users: created, found, changed, merged, deleted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_sailthru.fake import FakeSailthru

JO, MO = "jo@example.com", "mo@example.com"
SID = "5f0000000000000000000abc"


def error(status: int, code: int, message: str) -> tuple[int, dict]:
    return status, {"error": code, "errormsg": message}


def get(here, id: str = JO, **fields) -> dict:
    status, answer = here.ask("GET", "user", {"id": id, **fields})
    assert status == 200, answer
    return answer


def post(here, id: str = JO, **fields) -> dict:
    status, answer = here.ask("POST", "user", {"id": id, "key": "email", **fields})
    assert status == 200, answer
    return answer


@pytest.mark.parametrize(("method", "status"), [("GET", 400), ("DELETE", 404)])
@pytest.mark.parametrize(("key", "id"), [("email", "Jo@Example.com"), ("sid", SID), ("extid", "c-1")])
def test_nobody_is_told_with_the_id_as_it_was_sent(bench, method, status, key, id):
    assert bench().ask(method, "user", {"id": id, "key": key}) == error(status, 99, f"User not found with {key}: {id}")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_id_is_required_and_an_address_must_be_one(bench, method):
    here = bench()
    assert here.ask(method, "user") == error(400, 2, "Missing required parameter: id")
    assert here.ask(method, "user", {"id": "nonsense"}) == error(400, 11, "Invalid email: nonsense")
    assert here.ask(method, "user", {"id": JO, "key": "exid"}) == error(400, 99, "Invalid key: exid")


def test_a_new_user_has_a_sid_a_cookie_and_five_fields(bench):
    here = bench()
    assert post(here) == {"ok": True}
    answer = get(here)
    keys = answer.pop("keys")
    assert answer == {"vars": {}, "lists": None, "engagement": "new", "optout_email": "none"}
    assert (len(keys["sid"]), len(keys["cookie"]), keys["cookie"][32:56]) == (24, 88, keys["sid"])


def test_a_post_tells_the_fields_it_is_asked_for(bench):
    here = bench()
    answer = post(here, vars={"a": 1}, fields={"vars": 1, "lists": 1, "keys": 0})
    assert answer == {"ok": True, "vars": {"a": 1}, "lists": None}


@pytest.mark.parametrize("spelt", ["JO@example.com", " jo@example.com "])
def test_an_address_is_trimmed_and_in_lower_case(bench, spelt):
    here = bench()
    post(here, spelt)
    assert (here.emails(), get(here, spelt)["keys"]["email"]) == ([JO], JO)


def test_a_key_that_is_no_address_is_kept_as_it_is(bench):
    here = bench()
    post(here, keys={"extid": " C-1 "})
    assert get(here, "C-1", key="extid")["keys"]["extid"] == "C-1"
    assert here.ask("GET", "user", {"id": "c-1", "key": "extid"})[0] == 400


def test_a_var_may_have_a_name_of_32_characters(bench):
    here = bench()
    post(here, vars={"x" * 32: 1})
    assert get(here)["vars"] == {"x" * 32: 1}


def test_a_sid_is_recognised_without_being_named(bench):
    here = bench()
    post(here)
    assert get(here, here.sid(JO))["keys"]["email"] == JO


@pytest.mark.parametrize("key", ["sid", "cookie"])
def test_nobody_is_created_by_sid_or_cookie(bench, key):
    answer = bench().ask("POST", "user", {"id": SID, "key": key})
    assert answer == error(400, 99, f"User not found with {key}: {SID}")


def test_somebody_is_created_by_extid_with_an_address(bench):
    here = bench()
    assert here.ask("POST", "user", {"id": "c-1", "key": "extid", "keys": {"email": JO}})[0] == 200
    assert get(here)["keys"]["extid"] == "c-1"


def test_vars_are_set_one_by_one_and_null_is_kept_as_null(bench):
    here = bench()
    post(here, vars={"a": 1, "b": [1], "c": {"d": "ü"}})
    post(here, vars={"a": None})
    assert get(here)["vars"] == {"a": None, "b": [1], "c": {"d": "ü"}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vars": {"x" * 33: 1}}, "A var name may have 32 characters at most"),
        ({"lists": {"Big $penders": 1}}, "A list name may not contain $"),
        ({"optout_email": "some"}, "Invalid optout_email"),
    ],
)
def test_what_a_profile_cannot_take_is_refused_and_nothing_is_changed(bench, fields, message):
    here = bench()
    asked = {"id": JO, "vars": {"a": 1}, **fields}
    assert here.ask("POST", "user", asked) == error(400, 99, message)
    assert here.emails() == []
    here.steer("config", {"strict_var_names": False, "strict_list_names": False})
    assert here.ask("POST", "user", asked)[0] == (400 if "optout_email" in fields else 200)


def test_a_new_address_that_is_none_is_refused(bench):
    answer = bench().ask("POST", "user", {"id": JO, "keys": {"email": "nonsense"}})
    assert answer == error(400, 11, "Invalid email: nonsense")


@pytest.mark.parametrize(("sent", "kept"), [(None, "all"), ("none", "none"), ("basic", "basic"), ("blast", "blast")])
def test_an_optout_stays_unless_another_is_sent(bench, sent, kept):
    here = bench()
    post(here, optout_email="all")
    post(here, **({"optout_email": sent} if sent else {}))
    assert get(here)["optout_email"] == kept


def test_members_keep_the_date_on_which_they_joined(bench):
    here = bench(utc_offset_hours=-7)
    here.vendor.clock.set(1_633_218_419)
    post(here, lists={"Gold": 1})
    here.vendor.clock.advance(60)
    post(here, lists={"Gold": 1, "Silver": 1, "None": 0})
    assert get(here)["lists"] == {
        "Gold": "Sat, 02 Oct 2021 16:46:59 -0700",
        "Silver": "Sat, 02 Oct 2021 16:47:59 -0700",
    }
    here.steer("config", {"utc_offset_hours": 0})
    post(here, lists={"Gold": 0})
    post(here, lists={"Gold": 1})
    assert get(here)["lists"]["Gold"] == "Sat, 02 Oct 2021 23:47:59 +0000"
    post(here, lists={"Gold": 0, "Silver": "0"})
    assert get(here)["lists"] is None


def test_joining_a_list_starts_flows_and_being_on_it_does_not(bench):
    here = bench()
    for wanted in (1, 1, 0, 1):
        post(here, lists={"Gold": wanted})
    assert here.vendor.state()["flow_entries"] == [{"list": "Gold", "email": JO}] * 2


def test_names_of_lists_alone_mean_to_join(bench):
    here = bench()
    post(here, lists=["Gold"])
    assert list(get(here)["lists"]) == ["Gold"]


def test_a_new_address_keeps_the_sid_and_releases_the_old_one(bench):
    here = bench()
    post(here, vars={"a": 1}, lists={"Gold": 1})
    before = get(here)
    post(here, keys={"email": MO}, keysconflict="merge")
    after = get(here, MO)
    assert here.ask("GET", "user", {"id": JO})[1]["error"] == 99
    assert after["keys"]["cookie"][:56] == before["keys"]["cookie"][:56]
    assert after["keys"]["cookie"][56:] != before["keys"]["cookie"][56:]
    assert {**after, "keys": after["keys"]["sid"]} == {**before, "keys": before["keys"]["sid"]}


@pytest.mark.parametrize("conflict", [{}, {"keysconflict": "error"}])
def test_an_address_that_is_taken_is_a_conflict_unless_merging_is_asked_for(bench, conflict):
    here = bench()
    post(here)
    post(here, MO)
    answer = here.ask("POST", "user", {"id": JO, "keys": {"email": MO}, **conflict})
    assert answer == error(409, 99, "Another user has one of these keys")
    assert here.emails() == [JO, MO]


@pytest.mark.parametrize(
    ("mine", "theirs", "strictest"),
    [
        ("none", "all", "all"),
        ("all", "none", "all"),
        ("basic", "blast", "basic"),
        ("basic", "all", "all"),
        ("blast", "none", "blast"),
    ],
)
def test_merging_keeps_the_changed_profile_and_adds_what_the_other_had(bench, mine, theirs, strictest):
    here = bench()
    post(here, vars={"a": "mine", "b": 1}, lists={"Gold": 1}, optout_email=mine)
    post(here, MO, vars={"a": "theirs", "c": 2}, lists={"Silver": 1}, optout_email=theirs, keys={"extid": "c-1"})
    sid = here.sid(JO)
    post(here, keys={"email": MO}, keysconflict="merge")
    assert (here.emails(), here.sid(MO)) == ([MO], sid)
    assert here.user(MO) == {
        "keys": {"email": MO, "extid": "c-1"},
        "vars": {"a": "mine", "b": 1, "c": 2},
        "lists": ["Gold", "Silver"],
        "optout": strictest,
    }


def test_somebody_known_only_by_another_of_the_keys_is_the_one_who_is_changed(bench):
    here = bench()
    post(here, MO, keys={"extid": "c-1"})
    post(here, keys={"extid": "c-1", "email": JO}, vars={"a": 1})
    assert (here.emails(), here.user(JO)["keys"]) == ([JO], {"email": JO, "extid": "c-1"})


def test_a_deleted_user_comes_back_as_somebody_new(bench):
    here = bench()
    post(here, vars={"a": 1}, lists={"Gold": 1})
    sid = here.sid(JO)
    assert here.ask("DELETE", "user", {"id": JO}) == (200, {"ok": True})
    assert here.ask("GET", "user", {"id": sid, "key": "sid"})[0] == 400
    post(here)
    assert here.sid(JO) != sid
    assert here.user(JO) == {"keys": {"email": JO}, "vars": {}, "lists": [], "optout": "none"}


def test_reads_can_lag_behind_writes(bench):
    here = bench(read_lag_s=5)
    here.vendor.clock.set(1000)
    post(here, vars={"a": 1}, lists={"Gold": 1})
    assert here.ask("GET", "user", {"id": JO})[0] == 400
    assert here.ask("GET", "list", {"list": "Gold"})[0] == 404
    here.vendor.clock.advance(5)
    post(here, vars={"a": 2})
    assert get(here)["vars"] == {"a": 1}
    assert here.ask("GET", "list", {"list": "Gold"})[1]["count"] == 1
    here.vendor.clock.advance(5)
    assert get(here)["vars"] == {"a": 2}


emails = st.sampled_from([JO, MO, "no@example.com"])
changes = st.fixed_dictionaries(
    {"id": emails, "key": st.just("email"), "keysconflict": st.just("merge")},
    optional={
        "keys": st.fixed_dictionaries({}, optional={"email": emails, "extid": st.sampled_from(["1", "2"])}),
        "vars": st.dictionaries(st.sampled_from("ab"), st.integers(0, 2)),
    },
)


@given(st.lists(changes, max_size=8))
def test_no_key_ever_belongs_to_two_profiles_and_each_is_found_by_its_keys(posted):
    vendor = FakeSailthru()
    for change in posted:
        vendor.users.post(change, 0, vendor.options)
    profiles = list(vendor.users.profiles.values())
    pairs = [pair for profile in profiles for pair in profile.keys.items()]
    assert len(pairs) == len(set(pairs))
    assert [vendor.users.find(*pair).sid for pair in pairs] == [p.sid for p in profiles for _ in p.keys]
