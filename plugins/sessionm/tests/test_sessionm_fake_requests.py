"""Requests to the fake: the order of the checks, authentication, bodies, and the status of each error."""

from __future__ import annotations

from base64 import b64encode

import pytest

ME = "external/users/42"


def basic(user: str, secret: str) -> str:
    return f"Basic {b64encode(f'{user}:{secret}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/priv/v1/apps/test-key"),
        ("GET", "/priv/v1/apps/test-key/"),
        ("GET", "/priv/v2/apps/test-key/external/users/42"),
        ("GET", "/priv/v1/apps/test-key/nothing"),
        ("GET", "/priv/v1/apps/test-key/users"),
        ("PATCH", "/priv/v1/apps/test-key/external/users/42"),
        ("PUT", "/priv/v1/apps/test-key/external/users/42/events"),
        ("GET", "/priv/v1/apps/test-key/external/users/a/b"),
    ],
)
def test_an_unknown_path_is_answered_404_without_a_word_whoever_asks(fake, method, path):
    status, headers, body = fake().raw(method, path)
    assert (status, headers["content-type"], body) == (404, "text/html", b"")


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /w=="},
        {"Authorization": f"Basic {b64encode(b'test-key').decode()}"},
        {"Authorization": "Basic test-key:test-secret"},
        {"Authorization": f"Bearer {b64encode(b'test-key:test-secret').decode()}"},
        {"Authorization": basic("test-key", "")},
        {"Authorization": basic("test-key", "test-secreT")},
        {"Authorization": basic("other-key", "test-secret")},
        {"Authorization": basic("", "")},
    ],
)
@pytest.mark.parametrize("error_transport", ["documented", "all200", "strict"])
def test_credentials_that_are_not_right_are_answered_401(fake, header, error_transport):
    here = fake(error_transport=error_transport)
    status, _, body = here.raw("GET", f"/priv/v1/apps/test-key/{ME}", **header)
    assert (status, body["status"], body["errors"]["code"]) == (401, "error", "access_denied")


def test_the_scheme_may_be_spelt_in_any_casing(fake):
    header = basic("test-key", "test-secret").replace("Basic", "bAsIc")
    assert fake().error("GET", ME, Authorization=header) == (404, "user_not_found")


@pytest.mark.parametrize(("error_transport", "status"), [("documented", 200), ("all200", 200), ("strict", 401)])
def test_an_unknown_key_in_the_path_has_a_code_of_its_own(fake, error_transport, status):
    assert fake(error_transport=error_transport).error("GET", ME, key="other") == (status, "invalid_api_key")


def test_the_key_in_the_path_must_be_the_one_that_is_authenticated(fake):
    here = fake(apps={"test-key": "test-secret", "second": "test-secret"})
    assert here.error("GET", ME, key="second") == (401, "access_denied")
    assert here.error("GET", ME, key="second", Authorization=basic("second", "test-secret")) == (404, "user_not_found")


def test_a_key_that_needs_quoting_is_read_from_the_path(fake):
    here = fake(apps={"a/b c": "test-secret"})
    given = basic("a/b c", "test-secret")
    assert here.error("GET", ME, key="a%2Fb%20c", Authorization=given) == (404, "user_not_found")
    assert here.error("GET", ME, key="a%2Fb", Authorization=given) == (200, "invalid_api_key")


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"user": {}}', "text/plain"),
        (b'{"user": {}}', "application/x-www-form-urlencoded"),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'"user"', "application/json"),
        (b"\xff", "application/json"),
        (b'{"user": {"email": "a", "email": "b"}}', "application/json"),
        (b'{"events": {"A": 1, "A": 2}}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"user": {"email": "%s"}}' % (b"x" * 1_048_576), "application/json"),
    ],
)
def test_a_body_that_is_no_json_object_is_an_argument_error(fake, method, body, content_type):
    path = "users" if method == "POST" else ME
    assert fake().error(method, path, body, Content_Type=content_type) == (200, "argument_error")


def test_a_content_type_may_have_parameters_and_a_body_a_mebibyte(fake):
    rest = b'{"user": {"email": "", "external_id": "42"}}'
    body = rest.replace(b'""', b'"%s"' % (b"x" * (1_048_576 - len(rest))))
    assert len(body) == 1_048_576
    assert fake()("POST", "users", body, Content_Type="application/json; charset=utf-8")[0] == 200


def test_the_checks_come_in_the_order_that_is_written_down(fake):
    here = fake(rate={"per_second": 1, "burst": 1})
    here.steer("POST", "clock", {"now": 1000})
    wrong = {"Authorization": basic("test-key", "wrong"), "Content_Type": "text/plain"}
    here.steer("POST", "faults", {"action": {"status": 418}})
    assert here("PUT", "nowhere", b"{", **wrong)[0] == 418  # faults, before the limit: no token is taken
    assert here("PUT", "nowhere", b"{", **wrong) == (404, b"")  # the limit has room; then the path
    assert here.error("PUT", "nowhere", b"{", **wrong) == (429, "rate_limited")  # the limit, before the path
    here.steer("POST", "config", {"rate": None})
    assert here.error("PUT", ME, b"{", **wrong) == (401, "access_denied")  # authentication, before the body
    assert here.error("PUT", ME, b"{", Content_Type="text/plain") == (200, "argument_error")  # the body, then the user
    assert here.error("PUT", ME, {"user": {}}) == (404, "user_not_found")


def test_the_limit_is_a_bucket_for_each_key_that_fills_with_time(fake):
    here = fake(apps={"test-key": "test-secret", "second": "s"}, rate={"per_second": 0.5, "burst": 2})
    here.steer("POST", "clock", {"now": 1000})
    statuses = [here("GET", ME)[0] for _ in range(3)]
    assert (statuses, here.headers["retry-after"]) == ([404, 404, 429], "2")
    assert here("GET", ME, key="second", Authorization=basic("second", "s"))[0] == 404
    here.steer("POST", "clock", {"advance": 1.5})
    assert here("GET", ME)[0] == 429
    assert here.headers["retry-after"] == "1"
    here.steer("POST", "clock", {"advance": 0.5})
    assert [here("GET", ME)[0] for _ in range(2)] == [404, 429]


@pytest.mark.parametrize(
    ("code", "documented", "all200", "strict"),
    [
        ("user_not_found", 404, 200, 404),
        ("requires_registered_user", 404, 200, 404),
        ("access_denied", 401, 401, 401),
        ("invalid_api_key", 200, 200, 401),
        ("validation", 200, 200, 422),
        ("missing_data", 200, 200, 422),
        ("argument_error", 200, 200, 422),
        ("not_found", 200, 200, 422),
        ("internal_server_error", 500, 200, 500),
        ("rate_limited", 429, 429, 429),
        ("no_active_campaign_found", 200, 200, 200),
    ],
)
def test_each_error_has_its_status_by_transport(fake, code, documented, all200, strict):
    here = fake()
    for transport, status in {"documented": documented, "all200": all200, "strict": strict}.items():
        here.steer("POST", "config", {"error_transport": transport})
        here.steer("POST", "faults", {"action": {"error_code": code}})
        assert here.error("GET", ME) == (status, code)
        assert ("retry-after" in here.headers) == (code == "rate_limited")


@pytest.mark.parametrize(
    ("error_transport", "unknown", "invalid", "undefined"),
    [("documented", 404, 200, 200), ("all200", 200, 200, 200), ("strict", 404, 422, 422)],
)
def test_errors_of_its_own_have_the_same_statuses(fake, error_transport, unknown, invalid, undefined):
    here = fake(error_transport=error_transport)
    here.steer("POST", "seed", {"users": [{"external_id": "7"}]})
    assert here.error("GET", ME) == (unknown, "user_not_found")
    assert here.error("POST", "users", {"user": {}}) == (invalid, "missing_data")
    assert here.error("POST", "users", {"user": {"external_id": "7"}}) == (invalid, "validation")
    assert here.error("POST", "external/users/7/events", {"events": {"A": 1}}) == (undefined, "not_found")
