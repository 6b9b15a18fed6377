"""What is sent: facts and configurations, exactly what the plugin is asked then, and why the rest is not sent.

``asked`` are the lines of the witness. ``told`` are lines of the ledger: ``FACT REASON SETTING`` for what is
skipped, ``FACT - NAMES SETTING`` for what is taken out of a fact. Facts are ``identities``, ``attributes``, and
the numbers of events. Settings are without the connection's name, ``all`` stands for ``filter.new_data_points``.
"""

from dataclasses import dataclass

from support.sayings import Saying


@dataclass(frozen=True)
class Case:
    """A message on a connection of a witness with this configuration."""

    name: str
    said: Saying
    config: str
    asked: tuple
    told: tuple = ()
    plugin: str = "witness_on"


SAID = Saying(
    events=(
        ("custom_event", "Purchase", {"sku": "1", "price": "9"}),
        ("custom_event", "Signup", {"plan": "gold"}),
        ("screen_view", "Home", {"tab": "1"}),
        ("session_start", None, {}),
        ("commerce_event", "purchase", {"till": "7"}),
    )
)
IDS = "identities customer_id email"
KNOWN = "attributes $FirstName=Jo Colour=red"
BUY, SIGNUP = "custom_event Purchase price=9 sku=1", "custom_event Signup plan=gold"
HOME, START, SALE = "screen_view Home tab=1", "session_start", "commerce_event purchase till=7 | size=L"
ALL = (IDS, KNOWN, BUY, SIGNUP, HOME, START, SALE)
FACTS = ("identities", "attributes", "1", "2", "3", "4", "5")
NO_IDS, NO_KNOWN = "identities - customer_id email all", "attributes - $FirstName Colour all"
OFF = (*(f"{fact} filtered all" for fact in FACTS), NO_IDS, NO_KNOWN)


def but(lines, *others):
    """All lines but these."""
    assert set(others) <= set(lines)
    return tuple(line for line in lines if line not in others)


def off(*on, also=()):
    """What is told where new data points are off, but for these facts."""
    gone = {f"{fact} filtered all" for fact in on}
    return (*but(OFF, *gone, *(note for fact, note in NOTES.items() if fact in on)), *also)


NOTES = {"identities": NO_IDS, "attributes": NO_KNOWN}


def refused(reason, setting, facts=FACTS):
    """What is told where a rule keeps everything back."""
    return tuple(f"{fact} {reason} {setting}" for fact in facts)


def one(event, **fields):
    """A saying of one event alone."""
    return Saying(events=(event,), identities={}, attributes={}, **fields)


def nobody(kind="custom_event", name="Signup", **attributes):
    return one((kind, name, attributes))


FILTER = "[connections.NAME.filter]\n"
EVENT = 'event_rule only_events_with."channel"'

FILTERS = (
    Case("all_on", SAID, "", ALL),
    Case("all_off", SAID, "", (), OFF, plugin="witness_off"),
    Case("off_by_setting", SAID, FILTER + "new_data_points = false", (), OFF),
    Case("on_by_setting", SAID, FILTER + "new_data_points = true", ALL, plugin="witness_off"),
    Case(
        "event_off",
        SAID,
        FILTER + 'events = { "Purchase" = false }',
        but(ALL, BUY),
        ('1 filtered filter.events."Purchase"',),
    ),
    Case("event_name_is_exact", SAID, FILTER + 'events = { "purchase" = false }', ALL),
    Case(
        "all_events_off_but_one",
        SAID,
        FILTER + 'events = { "*" = false, "Signup" = true }',
        but(ALL, BUY),
        ('1 filtered filter.events."*"',),
    ),
    Case(
        "event_on",
        SAID,
        FILTER + 'events = { "Purchase" = true }',
        ("custom_event Purchase",),
        off("1", also=("1 - sku price all",)),
        plugin="witness_off",
    ),
    Case(
        "all_events_on",
        SAID,
        FILTER + 'events = { "*" = true }\nevent_attributes."*" = { "*" = true }',
        (BUY, SIGNUP),
        off("1", "2"),
        plugin="witness_off",
    ),
    Case(
        "event_and_attribute_on",
        SAID,
        FILTER + 'events = { "Purchase" = true }\nevent_attributes."Purchase" = { sku = true }',
        ("custom_event Purchase sku=1",),
        off("1", also=("1 - price all",)),
        plugin="witness_off",
    ),
    Case(
        "attribute_of_an_event_that_is_off",
        SAID,
        FILTER + 'event_attributes."Purchase" = { sku = true }',
        (),
        OFF,
        plugin="witness_off",
    ),
    Case(
        "attribute_off",
        SAID,
        FILTER + 'event_attributes."Purchase" = { price = false }',
        (*but(ALL, BUY), "custom_event Purchase sku=1"),
        ('1 - price filter.event_attributes."Purchase"',),
    ),
    Case(
        "attribute_off_everywhere",
        SAID,
        FILTER + 'event_attributes."*" = { price = false, plan = false }',
        (*but(ALL, BUY, SIGNUP), "custom_event Purchase sku=1", "custom_event Signup"),
        ('1 - price filter.event_attributes."*"', '2 - plan filter.event_attributes."*"'),
    ),
    Case(
        "an_events_own_attributes_come_first",
        SAID,
        FILTER + 'event_attributes = { "*" = { "*" = false }, "Purchase" = { "*" = true } }',
        (*but(ALL, SIGNUP), "custom_event Signup"),
        ('2 - plan filter.event_attributes."*"',),
    ),
    Case(
        "type_off",
        SAID,
        FILTER + "event_types = { custom_event = false }",
        but(ALL, BUY, SIGNUP),
        tuple(f'{number} filtered filter.event_types."custom_event"' for number in (1, 2)),
    ),
    Case(
        "type_off_takes_names_with_it",
        SAID,
        FILTER + 'event_types = { custom_event = false }\nevents = { "Signup" = true }',
        but(ALL, BUY, SIGNUP),
        tuple(f'{number} filtered filter.event_types."custom_event"' for number in (1, 2)),
    ),
    Case(
        "all_types_off_but_one",
        SAID,
        FILTER + 'event_types = { "*" = false, screen_view = true }',
        (IDS, KNOWN, HOME),
        tuple(f'{number} filtered filter.event_types."*"' for number in (1, 2, 4, 5)),
    ),
    Case("type_on", SAID, FILTER + "event_types = { session_start = true }", (START,), off("4"), plugin="witness_off"),
    Case(
        "type_off_of_what_has_no_names",
        SAID,
        FILTER + "event_types = { session_start = false }",
        but(ALL, START),
        ('4 filtered filter.event_types."session_start"',),
    ),
    Case(
        "screen_off", SAID, FILTER + "screens = { Home = false }", but(ALL, HOME), ('3 filtered filter.screens."Home"',)
    ),
    Case(
        "screen_on",
        SAID,
        FILTER + "screens = { Home = true }\nscreen_attributes.Home = { tab = true }",
        (HOME,),
        off("3"),
        plugin="witness_off",
    ),
    Case(
        "screen_attribute_off",
        SAID,
        FILTER + 'screen_attributes = { "*" = { tab = false } }',
        (*but(ALL, HOME), "screen_view Home"),
        ('3 - tab filter.screen_attributes."*"',),
    ),
    Case(
        "commerce_off_by_type",
        SAID,
        FILTER + "event_types = { commerce_event = false }",
        but(ALL, SALE),
        ('5 filtered filter.event_types."commerce_event"',),
    ),
    Case(
        "commerce_off_by_action",
        SAID,
        FILTER + "commerce = { purchase = false }",
        but(ALL, SALE),
        ('5 filtered filter.commerce."purchase"',),
    ),
    Case(
        "commerce_of_another_action",
        SAID,
        FILTER + 'commerce = { purchase = true, "*" = false }',
        ALL,
    ),
    Case(
        "commerce_on_by_type",
        SAID,
        FILTER + "event_types = { commerce_event = true }",
        ("commerce_event purchase |",),
        off("5", also=("5 - till size all",)),
        plugin="witness_off",
    ),
    Case(
        "commerce_on_by_action_with_attributes_of_products",
        SAID,
        FILTER + "commerce = { purchase = true }\ncommerce_attributes.purchase = { size = true }",
        ("commerce_event purchase | size=L",),
        off("5", also=("5 - till all",)),
        plugin="witness_off",
    ),
    Case(
        "commerce_attribute_off",
        SAID,
        FILTER + "commerce_attributes.purchase = { size = false }",
        (*but(ALL, SALE), "commerce_event purchase till=7 |"),
        ('5 - size filter.commerce_attributes."purchase"',),
    ),
    Case(
        "user_attribute_off",
        SAID,
        FILTER + "user_attributes = { Colour = false }",
        (*but(ALL, KNOWN), "attributes $FirstName=Jo"),
        ("attributes - Colour filter.user_attributes",),
    ),
    Case(
        "user_attribute_on",
        SAID,
        FILTER + 'user_attributes = { "$FirstName" = true }',
        ("attributes $FirstName=Jo",),
        (*off("attributes"), "attributes - Colour all"),
        plugin="witness_off",
    ),
    Case(
        "all_user_attributes_off",
        SAID,
        FILTER + 'user_attributes = { "*" = false }',
        but(ALL, KNOWN),
        ("attributes filtered filter.user_attributes", "attributes - $FirstName Colour filter.user_attributes"),
    ),
    Case(
        "removed_attributes",
        SAID.but(events=(), removed=("Old", "Older")),
        FILTER + "user_attributes = { Older = false }",
        (IDS, KNOWN + " -Old"),
        ("attributes - Older filter.user_attributes",),
    ),
    Case(
        "identity_off",
        SAID,
        FILTER + "user_identities = { email = false }",
        (*but(ALL, IDS), "identities customer_id"),
        ("identities - email filter.user_identities",),
    ),
    Case(
        "identity_by_its_other_name",
        SAID,
        FILTER + "user_identities = { customer = false }",
        (*but(ALL, IDS), "identities email"),
        ("identities - customer_id filter.user_identities",),
    ),
    Case(
        "identity_on",
        SAID,
        FILTER + "user_identities = { customer_id = true }",
        ("identities customer_id",),
        (*off("identities"), "identities - email all"),
        plugin="witness_off",
    ),
    Case(
        "three_events_of_two_attributes",
        Saying(events=tuple(("custom_event", name, {"a": "1", "b": "2", "c": "3"}) for name in "XYZW")),
        FILTER
        + "events = { X = true, Y = true, Z = true }\n"
        + "".join(f"event_attributes.{name} = {{ a = true, b = true }}\n" for name in "XYZ"),
        tuple(f"custom_event {name} a=1 b=2" for name in "XYZ"),
        (
            *(f"{fact} filtered all" for fact in ("identities", "attributes", "4")),
            NO_IDS,
            NO_KNOWN,
            *(f"{number} - c all" for number in (1, 2, 3)),
        ),
        plugin="witness_off",
    ),
    Case(
        "many_names",
        nobody(**{f"a{n:02}": "1" for n in range(13)}),
        FILTER + 'event_attributes."*" = { "*" = false }',
        ("custom_event Signup",),
        ("1 - " + " ".join(f"a{n:02}" for n in range(10)) + ' +3 filter.event_attributes."*"',),
    ),
)

RULES = (
    Case("logged_in", SAID, 'login_identities = ["customer_id"]', ALL),
    Case(
        "not_logged_in",
        SAID.but(identities={"email": "jo@example.com"}),
        'login_identities = ["customer_id"]',
        (),
        refused("not_logged_in", "login_identities"),
    ),
    Case(
        "not_logged_in_by_default",
        SAID.but(identities={"email": "jo@example.com"}),
        FILTER + "new_data_points = true",
        (),
        refused("not_logged_in", "login_identities"),
        plugin="witness_off",
    ),
    Case(
        "login_switched_off",
        SAID.but(identities={"email": "jo@example.com"}),
        "login_identities = []\n" + FILTER + "new_data_points = true",
        ("identities email", *but(ALL, IDS)),
        plugin="witness_off",
    ),
    Case(
        "logged_in_by_another_id",
        SAID.but(identities={"other_id_2": "x"}),
        'login_identities = ["other2"]',
        ("identities other_id_2", *but(ALL, IDS)),
    ),
    Case("platform_taken", SAID, 'platforms = ["ios", "android"]', ALL),
    Case(
        "platform_not_taken",
        SAID.but(platform="web"),
        'platforms = ["ios"]',
        (),
        refused("other_platform", "platforms"),
    ),
    Case("platform_by_its_other_name", SAID.but(platform="web"), 'platforms = ["MobileWeb"]', ALL),
    Case(
        "platform_unknown", SAID.but(platform=None), 'platforms = ["ios"]', (), refused("other_platform", "platforms")
    ),
    Case("platform_unknown_taken", SAID.but(platform=None), 'platforms = ["ios", "unknown"]', ALL),
    Case(
        "platform_that_the_destination_does_not_support",
        SAID.but(platform="roku"),
        FILTER + "new_data_points = true",
        (),
        refused("unsupported_platform", "plugin"),
        plugin="witness_off",
    ),
    Case("production", SAID, 'environments = ["production"]', ALL),
    Case(
        "development",
        SAID.but(environment="development"),
        'environments = ["production"]',
        (),
        refused("other_environment", "environments"),
    ),
    Case("development_alone", SAID, 'environments = ["development"]', (), refused("other_environment", "environments")),
    Case("app_new_enough", SAID, 'min_app_version = "4.2"', ALL),
    Case("app_too_old", SAID, 'min_app_version = "4.10"', (), refused("old_app_version", "min_app_version")),
    Case("app_without_a_version", SAID.but(app_version=None), 'min_app_version = "4.10"', ALL),
    Case("gdpr_given", SAID.but(gdpr={"marketing": True}), 'consent.gdpr = { marketing = "only_if_true" }', ALL),
    Case(
        "gdpr_refused",
        SAID.but(gdpr={"marketing": False}),
        'consent.gdpr = { marketing = "only_if_true" }',
        (),
        refused("no_consent", 'consent.gdpr."marketing"'),
    ),
    Case(
        "gdpr_unsaid",
        SAID.but(gdpr={"analytics": True}),
        'consent.gdpr = { marketing = "only_if_true" }',
        (),
        refused("no_consent", 'consent.gdpr."marketing"'),
    ),
    Case(
        "ccpa_opted_out",
        SAID.but(ccpa={"data_sale_opt_out": True}),
        'consent.ccpa = { data_sale_opt_out = "unless_true" }',
        (),
        refused("no_consent", 'consent.ccpa."data_sale_opt_out"'),
    ),
    Case("ccpa_unsaid", SAID, 'consent.ccpa = { data_sale_opt_out = "unless_true" }', ALL),
    Case(
        "ccpa_not_opted_out",
        SAID.but(ccpa={"data_sale_opt_out": False}),
        'consent.ccpa = { data_sale_opt_out = "unless_true" }',
        ALL,
    ),
    Case("too_old", SAID.but(age_hours=3), "max_age_hours = 2", (), refused("too_old", "max_age_hours")),
    Case("young_enough", SAID.but(age_hours=1), "max_age_hours = 2", ALL),
    Case("not_sampled", SAID, "sample_percent = 0", (), refused("not_sampled", "sample_percent")),
    Case("sampled", SAID, "sample_percent = 99.999999", ALL),
    Case(
        "event_with",
        nobody(channel="web"),
        'only_events_with = { channel = "web" }',
        ("custom_event Signup channel=web",),
    ),
    Case("event_with_another", nobody(channel="app"), 'only_events_with = { channel = "web" }', (), (f"1 {EVENT}",)),
    Case("event_with_nothing", nobody(), 'only_events_with = { channel = ["web", "app"] }', (), (f"1 {EVENT}",)),
    Case(
        "event_not_with",
        nobody(internal="True"),
        "no_events_with = { internal = true }",
        (),
        ('1 event_rule no_events_with."internal"',),
    ),
    Case("event_without_it", nobody(), "no_events_with = { internal = true }", ("custom_event Signup",)),
    Case(
        "a_rule_comes_before_the_filter",
        SAID.but(platform="web"),
        'platforms = ["ios"]\n' + FILTER + "new_data_points = false",
        (),
        refused("other_platform", "platforms"),
    ),
)

AUDIENCES = (
    Case("member", Saying(memberships=(("Gold", "add", {"tier": "1"}),)), "", (IDS, "membership Gold add tier=1")),
    Case(
        "audience_off",
        Saying(memberships=(("Gold", "add", {}), ("Silver", "delete", {}))),
        FILTER + 'audiences = { "Gold" = false }',
        (IDS, "membership Silver delete"),
        ('membership:1:add filtered filter.audiences."Gold"',),
    ),
    Case(
        "audience_on",
        Saying(memberships=(("Gold", "add", {"tier": "1", "x": "2"}),)),
        FILTER + 'audiences = { "Gold" = true }\nuser_attributes = { x = true }',
        ("membership Gold add x=2",),
        ("identities filtered all", NO_IDS, "membership:1:add - tier all"),
        plugin="witness_off",
    ),
    Case(
        "audience_connected",
        Saying(audience=("Gold", "add")),
        FILTER + 'audiences = { "*" = false }',
        (),
        ('audience:1 filtered filter.audiences."*"',),
    ),
    Case(
        "audiences_know_no_platform",
        Saying(memberships=(("Gold", "add", {}),)),
        'platforms = ["ios"]\nenvironments = ["production"]\nconsent.gdpr = { marketing = "only_if_true" }',
        (IDS, "membership Gold add"),
    ),
    Case(
        "a_member_not_logged_in",
        Saying(memberships=(("Gold", "add", {}),), identities={"email": "jo@example.com"}),
        'login_identities = ["customer_id"]',
        (),
        refused("not_logged_in", "login_identities", ("identities", "membership:1:add")),
    ),
)

CHANGES = (
    Case(
        "renamed_after_the_filter",
        SAID.but(events=()),
        FILTER + 'user_attributes = { "*" = false, Colour = true }\n'
        "[[connections.NAME.changes]]\nrename = { Colour = 'favourite' }",
        (IDS, "attributes favourite=red"),
        ("attributes - $FirstName filter.user_attributes",),
    ),
    Case(
        "spelt",
        SAID.but(events=(), attributes={"COLOUR": "red"}),
        "[[connections.NAME.changes]]\nspell = ['Colour']",
        (IDS, "attributes Colour=red"),
    ),
    Case(
        "dropped",
        SAID,
        "[[connections.NAME.changes]]\nof = 'events'\ndrop = ['Signup']\n"
        "[[connections.NAME.changes]]\nof = 'event_attributes'\nonly = ['Purchase']\ndrop = ['price']",
        (*but(ALL, BUY, SIGNUP), "custom_event Purchase sku=1"),
        ("2 dropped changes.0.drop", "1 - price changes.1.drop"),
    ),
    Case(
        "set_and_split",
        SAID.but(events=(), attributes={"name": "Jo Dam"}),
        "[[connections.NAME.changes]]\nsplit = { name = { by = ' ', into = ['first', 'last'] } }\n"
        "[[connections.NAME.changes]]\nset = { source = 'mparticle' }",
        (IDS, "attributes first=Jo last=Dam source=mparticle"),
    ),
)

ERASURES = (
    Case(
        "an_erasure_passes_everything",
        Saying(erasure=True),
        'login_identities = ["facebook"]\nplatforms = []\nsample_percent = 0\n' + FILTER + "new_data_points = false",
        ("erasure customer_id email",),
    ),
)

CASES = (*FILTERS, *RULES, *AUDIENCES, *CHANGES, *ERASURES)
