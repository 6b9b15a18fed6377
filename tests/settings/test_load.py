"""The configuration: one file, overridden by secret files and the environment, every problem named."""

import pytest

from gateway.settings import ConfigurationError, load
from gateway.settings.filtering import Filter

GOOD = """
[ingress]
authorization = ["Token s3cret"]

[connections.loyalty]
plugin = "sessionm"
login_identities = ["customer_id"]
[connections.loyalty.settings]
host = "https://api.example.com"
[connections.loyalty.filter]
new_data_points = false
event_types = { commerce_event = false }
events = { "Purchase Completed" = true }
event_attributes."Purchase Completed" = { sku = true }
screens = { Home = true }
screen_attributes.Home = { "*" = true }
user_attributes = { "$FirstName" = true }
user_identities = { customer_id = true }
"""
EVENT_TYPES = (
    "application_state_transition, breadcrumb, commerce_event, crash_report, custom_event, first_run, "
    "network_performance, opt_out, pre_attribution, profile, push_message, push_reaction, push_registration, "
    "screen_view, session_end, session_start, uninstall, unknown, user_attribute_change, user_identity_change, "
    "validation_result"
)
ACTIONS = (
    "add_to_cart, add_to_wishlist, checkout, checkout_option, click, impression, promotion_click, promotion_unknown, "
    "promotion_view, purchase, refund, remove_from_cart, remove_from_wishlist, unknown, view_detail"
)
IDENTITIES = (
    "alias, amp_id, android_advertising_id, android_uuid, apple_push_notification_token, customer_id, email, facebook, "
    "facebook_custom_audience_id, fire_advertising_id, google, google_cloud_messaging_token, ios_advertising_id, "
    "ios_idfv, microsoft, microsoft_advertising_id, microsoft_publisher_id, mobile_number, other, other_id_10, "
    "other_id_2, other_id_3, other_id_4, other_id_5, other_id_6, other_id_7, other_id_8, other_id_9, phone_number_2, "
    "phone_number_3, push_token, roku_advertising_id, roku_publisher_id, twitter, yahoo"
)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    monkeypatch.delenv("GATEWAY_SECRETS_DIR", raising=False)


def problems(path):
    with pytest.raises(ConfigurationError) as raised:
        load(path)
    return raised.value.problems


def test_a_file_is_read_whole(file):
    connection = load(file(GOOD)).connections["loyalty"]
    assert (connection.plugin, connection.login_identities) == ("sessionm", ("customer_id",))
    assert connection.filter == Filter(
        new_data_points=False,
        event_types={"commerce_event": False},
        events={"Purchase Completed": True},
        event_attributes={"Purchase Completed": {"sku": True}},
        screens={"Home": True},
        screen_attributes={"Home": {"*": True}},
        user_attributes={"$FirstName": True},
        user_identities={"customer_id": True},
    )


def test_the_environment_overrides_the_file_and_reaches_plugin_settings(file, monkeypatch):
    monkeypatch.setenv("GATEWAY_INGRESS__BIND", "0.0.0.0:9000")
    monkeypatch.setenv("GATEWAY_INGRESS__AUTHORIZATION", '["Token new", "Token old"]')
    monkeypatch.setenv("GATEWAY_CONNECTIONS__LOYALTY__SETTINGS__API_SECRET", "test-secret")
    settings = load(file(GOOD))
    assert settings.ingress.bind == "0.0.0.0:9000"
    assert [value.get_secret_value() for value in settings.ingress.authorization] == ["Token new", "Token old"]
    assert settings.connections["loyalty"].settings == {
        "host": "https://api.example.com",
        "api_secret": "test-secret",
    }


def test_secret_files_override_the_file_and_the_environment_overrides_them(file, monkeypatch, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "connections__loyalty__settings__api_key").write_text("key-from-file")
    (secrets / "connections__loyalty__settings__api_secret").write_text("secret-from-file")
    monkeypatch.setenv("GATEWAY_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("GATEWAY_CONNECTIONS__LOYALTY__SETTINGS__API_SECRET", "from-environment")
    values = load(file(GOOD)).connections["loyalty"].settings
    assert (values["api_key"], values["api_secret"]) == ("key-from-file", "from-environment")


def test_everything_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("GATEWAY_INGRESS__ANONYMOUS", "true")
    assert load(None).ingress.anonymous is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["ingress: Field required"]),
        ("[ingress]\n", ["ingress: authorization is empty: give at least one value, or set anonymous = true"]),
        ('[ingress]\nauthorization = [" "]\n', ["ingress: authorization has a blank value"]),
        (
            '[ingress]\nauthorization = ["Token a", "Token\\u00a0b"]\n',
            ["ingress: authorization value 1 can match no header: it may hold visible ASCII and spaces only"],
        ),
        (
            '[ingress]\nauthorization = ["Token a\\n"]\n',
            ["ingress: authorization value 0 can match no header: it may hold visible ASCII and spaces only"],
        ),
        (GOOD + "\n[jurnal]\n", ["jurnal: no such setting"]),
        (
            GOOD.replace("host =", "host_name =") + "\ncolour = 1",
            ["connections.loyalty.filter.colour: no such setting"],
        ),
        (GOOD.replace('plugin = "sessionm"', ""), ["connections.loyalty.plugin: Field required"]),
        (
            '[ingress]\nanonymous = true\n[connections.Loyalty-1]\nplugin = "sessionm"',
            [
                "connections.Loyalty-1: must be at most 40 lower-case letters, digits and underscores, "
                "and begin with a letter"
            ],
        ),
        (
            GOOD.replace("[ingress]", '[ingress]\nbind = "127.0.0.1:99999"'),
            ["ingress.bind: the port is out of range: the highest is 65535"],
        ),
        (
            GOOD.replace('["Token s3cret"]', '"Token s3cret"'),
            ['ingress.authorization: must be a list, for example ["…"]'],
        ),
        (
            GOOD.replace('"Purchase Completed" = { sku = true }', "tier = true"),
            ["connections.loyalty.filter.event_attributes.tier: must be a table, for example { … = … }"],
        ),
        (
            '[ingress]\nanonymous = true\n[connections]\nloyalty = "sessionm"',
            ["connections.loyalty: must be a table, for example { … = … }"],
        ),
        (
            GOOD.replace('Completed" = true', 'Completed" = "yes"').replace("{ Home = true }", "{ Home = 1 }"),
            [
                "connections.loyalty.filter.events.Purchase Completed: must be true or false",
                "connections.loyalty.filter.screens.Home: must be true or false",
            ],
        ),
        (
            GOOD.replace("new_data_points = false", "new_data_points = 0"),
            ["connections.loyalty.filter.new_data_points: must be true or false"],
        ),
        (
            GOOD.replace("[ingress]", '[ingress]\nbind = "8080"'),
            ["ingress.bind: must be HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080"],
        ),
        (
            GOOD + '\n[journal]\nurl = "mysql://x"',
            [
                "journal.url: must name a file, for example sqlite:///gateway.db, or a server, for example "
                "postgresql://user@host/database"
            ],
        ),
        (GOOD + '\n[journal]\nurl = "sqlite:///"', ["journal.url: names no file"]),
        (
            GOOD.replace('plugin = "sessionm"', 'plugin = "sessionm"\nplatforms = ["Android", "iphone"]'),
            [
                "connections.loyalty.platforms.1: is no platform; expected one of alexa, android, desktop, fire_tv, "
                "firetv, ios, mobileweb, out_of_band, outofband, roku, smart_tv, smarttv, tvos, unityandroid, "
                "unityios, unknown, web, windowsphone, xbox"
            ],
        ),
        (
            GOOD.replace("{ commerce_event = false }", '{ custom_evnt = true, Screen_View = true, "*" = true }'),
            [
                f"connections.loyalty.filter.event_types.{name}: is no event type; expected one of {EVENT_TYPES}"
                for name in ("custom_evnt", "Screen_View")
            ],
        ),
        (
            GOOD + "commerce = { purchas = true }\ncommerce_attributes.buy = { sku = true }",
            [
                f"connections.loyalty.filter.{name}: is no commerce action; expected one of {ACTIONS}"
                for name in ("commerce.purchas", "commerce_attributes.buy")
            ],
        ),
        (
            GOOD.replace('["customer_id"]', '["customer_id", "custmer_id", "*"]'),
            [
                f"connections.loyalty.login_identities.{place}: is no identity type; expected one of {IDENTITIES}"
                for place in (1, 2)
            ],
        ),
        (GOOD + "\n[delivery]\nin_flight = 0", ["delivery.in_flight: Input should be greater than or equal to 1"]),
    ],
)
def test_every_problem_names_its_key(file, text, expected):
    found = problems(file(text))
    assert found == expected


def test_mparticles_own_names_may_be_spelt_as_either_dialect_or_the_servers_spell_them(file):
    logins = ["customer", "CustomerID", "customer_id", "other2", "other1", "ios_idfv", "IOS_Vendor_Id", "alias"]
    types = ["error", "crash_report", "product_action", "uninstall", "session_start", "*"]
    actions = ["purchase", "remove_from_wish_list", "remove_from_wishlist", "promotion_view", "impression", "*"]
    switched = "\n".join(
        f'{table}."{name}" = true' for table, known in (("types", types), ("sales", actions)) for name in known
    )
    switched = switched.replace("types.", "event_types.").replace("sales.", "commerce.")
    text = GOOD.replace('["customer_id"]', str(logins)).replace("event_types = { commerce_event = false }", switched)
    connection = load(file(text)).connections["loyalty"]
    assert connection.login_identities == tuple(logins)
    assert connection.filter.event_types == dict.fromkeys(types, True)
    assert connection.filter.commerce == dict.fromkeys(actions, True)


def test_several_problems_are_all_named(file):
    found = problems(file(GOOD + "\n[log]\nlevel = 'loud'\n[delivery]\npause_s = 0"))
    assert [line.partition(":")[0] for line in found] == ["delivery.pause_s", "log.level"]


def test_what_is_no_toml_says_where(file):
    (line,) = problems(file("[ingress\n"))
    assert "gateway.toml" in line
    assert "line 1" in line


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    assert problems(tmp_path / "none.toml") == [f"{tmp_path / 'none.toml'}: no such file"]


def test_a_secret_never_shows_in_a_problem_or_a_representation(file):
    text = GOOD.replace("host =", 'api_secret = "hush-hush"\nhost =')
    assert "hush-hush" not in repr(load(file(text)))
    assert "s3cret" not in repr(load(file(text)))
    broken = text.replace('authorization = ["Token s3cret"]', 'authorization = [{ token = "s3cret" }]')
    assert "s3cret" not in str(problems(file(broken)))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GATEWAY_INGRES__BIND", "1", ["GATEWAY_INGRES__BIND: no such setting"]),
        ("GATEWAY_SECRETS_DIR", "nowhere", ["GATEWAY_SECRETS_DIR: nowhere is not a directory"]),
    ],
)
def test_a_variable_that_cannot_be_meant_is_a_problem(file, monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    assert problems(file(GOOD)) == expected


def test_a_variable_that_another_program_set_is_left_alone(file, monkeypatch):
    monkeypatch.setenv("GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080")
    assert load(file(GOOD)).ingress.processes == 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("INGRESS__AUTHORIZATION", "Token hush", 'ingress.authorization: must be a list; {} ["…"]'),
        ("INGRESS__AUTHORIZATION", '["Token hush"', 'ingress.authorization: must be a list; {} ["…"]'),
        ("RULES", "hush", 'rules: must be a table; {} {{"…": …}}'),
        (
            "CONNECTIONS__LOYALTY__FILTER__EVENTS",
            "hush",
            'connections.loyalty.filter.events: must be a table; {} {{"…": …}}',
        ),
    ],
)
def test_what_has_to_be_json_and_is_not_is_told_with_the_variable_or_file_beside_what_else_is_wrong(
    file, monkeypatch, tmp_path, name, value, expected
):
    given = file(GOOD + "\n[journal]\ncolour = 1")
    with monkeypatch.context() as environment:
        environment.setenv(f"GATEWAY_{name}", value)
        told = f"GATEWAY_{name} must give it as JSON, for example"
        assert sorted(problems(given)) == sorted([expected.format(told), "journal.colour: no such setting"])
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / name.lower()).write_text(value)
    monkeypatch.setenv("GATEWAY_SECRETS_DIR", str(secrets))
    told = f"{secrets / name.lower()} must give it as JSON, for example"
    assert sorted(problems(given)) == sorted([expected.format(told), "journal.colour: no such setting"])


def test_a_switch_may_come_from_the_environment(file, monkeypatch):
    monkeypatch.setenv("GATEWAY_CONNECTIONS__LOYALTY__FILTER__NEW_DATA_POINTS", "True")
    monkeypatch.setenv("GATEWAY_CONNECTIONS__LOYALTY__FILTER__EVENT_TYPES__COMMERCE_EVENT", "true")
    monkeypatch.setenv("GATEWAY_CONNECTIONS__LOYALTY__FILTER__COMMERCE", '{"purchase": false}')
    filter = load(file(GOOD)).connections["loyalty"].filter
    assert (filter.new_data_points, filter.event_types, filter.commerce) == (
        True,
        {"commerce_event": True},
        {"purchase": False},
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://gateway:hush%40@db.internal:5432/gateway?sslmode=require", None),
        ("postgres://a,b:5433/gateway?target_session_attrs=primary", None),
        ("postgresql://[::1]:5432/gateway", None),
        ("postgresql:///gateway?host=/run/postgresql", None),
        ("postgresql://gateway:hush@/gateway?host=/run/postgresql&port=5433", None),
        (
            "postgresql:///gateway",
            "names no host, for example postgresql://user@host/database, "
            "or postgresql://user@/database?host=/run/postgresql",
        ),
        (
            "postgresql:///gateway?host=relative",
            "names no host, for example postgresql://user@host/database, "
            "or postgresql://user@/database?host=/run/postgresql",
        ),
        ("postgresql://gateway:hush@db.internal", "names no database, for example postgresql://user@host/database"),
        ("postgresql://gateway:hu/sh@db/gateway", "in a user or password, write @ / ? # as %40 %2F %3F %23"),
        ("postgresql://gateway:hu#sh@db/gateway", "in a user or password, write @ / ? # as %40 %2F %3F %23"),
        ("postgresql://gateway:hu@sh@db/gateway", "in a user or password, write @ / ? # as %40 %2F %3F %23"),
        (
            "postgresql://gateway:hush/gateway",
            "a port is not a number; in a user or password, write : / ? # @ as %3A %2F %3F %23 %40",
        ),
    ],
)
def test_what_is_wrong_with_a_servers_url_is_said_without_repeating_it(file, url, problem):
    given = file(f'{GOOD}\n[journal]\nurl = "{url}"')
    if problem is None:
        assert load(given).journal.url == url
    else:
        assert problems(given) == [f"journal.url: {problem}"]


def test_no_representation_of_the_settings_has_the_journals_password(file):
    text = f'{GOOD}\n[journal]\nurl = "postgresql://gateway:hush@db/gateway"\npassword = "hush"'
    assert "hush" not in repr(load(file(text)))
