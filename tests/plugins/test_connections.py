"""Plugins are loaded by name and joined with settings, and every problem is named."""

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from gateway.plugins.connections import PluginError, connect, connect_all, load_plugin, make_plugin
from gateway.sdk import Destination, Settings, hookimpl
from gateway.settings import ConfigurationError, ConnectionSettings


class Keys(Settings):
    host: str = "https://api.example.com"
    api_key: SecretStr
    spare: list[SecretStr] = []


def plugin_of(**functions):
    def destination():
        return Destination(title="Post", settings=Keys, base_url=lambda s: f"{s.host}/{s.api_key.get_secret_value()}/")

    functions = {"destination": destination, **functions}
    return type("Plugin", (), {name: staticmethod(hookimpl(function)) for name, function in functions.items()})


def connected(**values):
    configured = ConnectionSettings(plugin="post", settings={"api_key": "test-key", **values})
    return connect("one", make_plugin("post", plugin_of(), version="1"), configured)


def test_a_connection_joins_plugin_and_settings():
    one = connected()
    assert (one.base_url, one.plugin.name, one.secrets) == ("https://api.example.com/test-key", "post", ("test-key",))


def test_secrets_are_masked_everywhere_the_longest_first():
    one = connected(spare=["test-key-2"])
    assert one.mask("a test-key-2 b test-key") == "a *** b ***"


@pytest.mark.parametrize(
    "text", ['k/y "1"', "https://x/k%2Fy%20%221%22/users", "https://x/k/y%20%221%22", '{"key": "k/y \\"1\\""}']
)
def test_a_secret_is_masked_however_it_is_spelt(text):
    assert "k" not in connected(api_key='k/y "1"').mask(text).replace("key", "")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"api_key": 7}, "connections.one.settings.api_key: Input should be a valid string"),
        ({"colour": "red"}, "connections.one.settings.colour: no such setting"),
        ({"host": "http://api.example.com"}, "connections.one.settings: the destination must be reached over https"),
        ({"host": "ftp://api.example.com"}, "connections.one.settings: the destination must be reached over https"),
        ({"host": "https://"}, "connections.one.settings: the destination must be reached over https"),
        ({"host": "https://x/a?b=c"}, "connections.one.settings: the destination's URL must have no query"),
        ({"host": "https://[x"}, "connections.one.settings: the destination must be reached over https"),
        ({"host": "https://x:port"}, "connections.one.settings: the destination must be reached over https"),
    ],
)
def test_a_problem_names_its_key(values, problem):
    with pytest.raises(ConfigurationError) as raised:
        connected(**values)
    assert [line.startswith(problem) for line in raised.value.problems] == [True]


@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost"])
def test_loopback_may_be_reached_without_tls(host):
    assert connected(host=host).base_url == f"{host}/test-key"


def test_a_misspelt_hook_is_an_error():
    with pytest.raises(PluginError, match="on_evnt"):
        make_plugin("post", plugin_of(on_evnt=lambda: None), version="1")


def test_a_plugin_without_a_destination_hook_is_an_error():
    with pytest.raises(PluginError, match="does not implement destination"):
        make_plugin("post", object(), version="1")
    with pytest.raises(PluginError, match="must return a Destination"):
        make_plugin("post", plugin_of(destination=lambda: None), version="1")


def test_a_plugin_that_is_not_installed_is_named_with_those_that_are():
    with pytest.raises(PluginError, match=r"no plugin named 'nope' is installed \(installed: .*sessionm"):
        load_plugin("nope")


def test_a_connection_that_cannot_be_used_does_not_affect_the_others():
    def loader(name):
        if name == "broken":
            raise PluginError("plugin 'broken' cannot be imported: ImportError: no")
        return make_plugin(name, plugin_of(), version="1")

    configured = {
        "a": ConnectionSettings(plugin="broken"),
        "b": ConnectionSettings(plugin="post", settings={"api_key": "test-key"}),
        "c": ConnectionSettings(plugin="post"),
    }
    usable, problems = connect_all(configured, loader)
    assert list(usable) == ["b"]
    assert problems == [
        "connections.a.plugin: plugin 'broken' cannot be imported: ImportError: no",
        "connections.c.settings.api_key: Field required",
    ]


def raising(*_):
    raise KeyError("test-key")


@pytest.mark.parametrize("member", ["base_url", "rates", "rate_headers"])
def test_a_plugin_that_fails_with_its_settings_affects_no_other_connection_and_shows_no_secret(member):
    def destination():
        fine = Destination(title="Post", settings=Keys, base_url=lambda s: s.host)
        return replace(fine, **{member: raising})

    configured = {name: ConnectionSettings(plugin=name, settings={"api_key": "test-key"}) for name in ("bad", "good")}
    plugins = {"bad": plugin_of(destination=destination), "good": plugin_of()}
    usable, problems = connect_all(configured, lambda name: make_plugin(name, plugins[name], version="1"))
    assert list(usable) == ["good"]
    assert problems == ["connections.bad.plugin: plugin 'bad' cannot use these settings: KeyError"]


def test_a_destination_hook_that_raises_is_an_error():
    with pytest.raises(PluginError, match=r"destination\(\) raised KeyError"):
        make_plugin("post", plugin_of(destination=raising), version="1")


def test_values_are_masked_before_they_are_encoded_and_names_never():
    one = connected(api_key="s")
    said = {"signs": ["is", {"s": "s"}, 7, None, True]}
    assert one.mask_values(said) == {"signs": ["i***", {"s": "***"}, 7, None, True]}


@pytest.mark.parametrize(("key", "short"), [("1234567", ["api_key"]), ("12345678", [])])
def test_a_secret_that_is_short_is_known(key, short):
    assert connected(api_key=key).list_short_secrets() == short
