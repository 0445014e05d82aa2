"""Accounts of a channel: ids, defaults, what is taken over from the block."""

from __future__ import annotations

import pytest

from loong_gateway.config.accounts import normalise_id
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig, SecretRef
from tests.gateway.config.reading import findings, valid

TOKEN = "987654:AAcanary-canary"


def telegram(text: str, environ: dict[str, str] | None = None) -> ChannelConfig:
    return valid(text, environ).channels["telegram"]


def token(account: AccountConfig) -> SecretRef:
    ref = account.settings["bot_token"]
    assert isinstance(ref, SecretRef)
    return ref


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Work", "work"),
        ("bot_123456", "bot_123456"),
        ("Ops Room", "ops-room"),
        ("a--b", "a-b"),
        ("a__b", "a_b"),
        ("a-_b", "a-b"),
        ("__a", "a"),
        ("a b  c!!d", "a-b-c-d"),
        ("a-", "a"),
        ("a_!", "a"),
        ("", "default"),
        ("!!!", "default"),
        ("Über", "ber"),
        ("工作", "default"),
        ("x²", "x"),
        ("DEFAULT", "default"),
    ],
)
def test_ids_are_normalised(given: str, expected: str) -> None:
    assert normalise_id(given) == expected
    assert normalise_id(expected) == expected


def test_a_block_without_accounts_is_named_by_its_bot() -> None:
    flat = telegram(f'[telegram]\nenabled = true\nbot_token = "{TOKEN}"')
    assert (flat.default_account, flat.default_source, flat.explicit_accounts) == (
        "bot_987654",
        "runtime_identity",
        False,
    )
    assert list(flat.accounts) == ["bot_987654"]
    assert flat.accounts["bot_987654"].enabled
    assert telegram("[telegram]", {"TELEGRAM_BOT_TOKEN": TOKEN}).default_account == "bot_987654"
    assert telegram("[telegram]").default_account == "default"
    assert telegram("[telegram]", {"TELEGRAM_BOT_TOKEN": "no-number"}).default_account == "default"
    assert telegram('[telegram]\nbot_token = { exec = ["/bin/false"] }').default_account == "default"


def test_account_id_names_the_only_account() -> None:
    named = telegram(
        f'[telegram]\naccount_id = "Ops Room"\nbot_token = "{TOKEN}"\ndefault_account = "ops-room"'
    )
    assert named.default_account == "ops-room"
    assert named.accounts["ops-room"].label == "Ops Room"


def test_an_empty_accounts_table_is_none() -> None:
    assert telegram("[telegram]\n[telegram.accounts]").default_source == "runtime_identity"


@pytest.mark.parametrize(
    ("text", "expected", "source"),
    [
        (
            '[telegram]\ndefault_account = "B x"\n[telegram.accounts.a]\n[telegram.accounts."b X"]',
            "b-x",
            "explicit_default",
        ),
        ("[telegram.accounts.a]\n[telegram.accounts.Default]", "default", "mapped_default"),
        ("[telegram.accounts.b]\n[telegram.accounts.a]", "a", "fallback"),
        ("[telegram.accounts.only]", "only", "fallback"),
    ],
)
def test_the_order_in_which_a_default_is_found(text: str, expected: str, source: str) -> None:
    found = telegram(text)
    assert (found.default_account, found.default_source, found.explicit_accounts) == (expected, source, True)


INHERITANCE = """
[telegram]
enabled = true
bot_token = { env = "FLAT" }
allowed_chat_ids = [1, 2]
allowed_sender_ids = [7]
require_mention = true
polling_timeout_s = 20

[telegram.accounts.same]

[telegram.accounts.own]
bot_token = { file = "/t" }
allowed_chat_ids = [3]
allowed_sender_ids = []
require_mention = false

[telegram.accounts.off]
enabled = false
bot_token_env = "OFF"
"""


def test_scalars_win_lists_replace_and_the_rest_is_taken_over() -> None:
    accounts = telegram(INHERITANCE).accounts
    same, own = accounts["same"].settings, accounts["own"].settings
    assert (same["allowed_chat_ids"], own["allowed_chat_ids"]) == (("1", "2"), ("3",))
    assert (same["allowed_sender_ids"], own["allowed_sender_ids"]) == (("7",), ())
    assert (same["require_mention"], own["require_mention"]) == (True, False)
    assert same["polling_timeout_s"] == own["polling_timeout_s"] == 20
    assert same["base_url"] == "https://api.telegram.org"


def test_an_account_runs_only_when_its_channel_does() -> None:
    states = {name: account.enabled for name, account in telegram(INHERITANCE).accounts.items()}
    assert states == {"same": True, "own": True, "off": False}
    disabled = telegram(INHERITANCE.replace("enabled = true", "enabled = false"))
    assert not disabled.enabled
    assert not any(account.enabled for account in disabled.accounts.values())


def test_secrets_say_where_they_are_written() -> None:
    accounts = telegram(INHERITANCE).accounts
    assert (token(accounts["same"]).value, token(accounts["same"]).setting) == ("FLAT", "telegram.bot_token")
    assert token(accounts["own"]).setting == "telegram.accounts.own.bot_token"


@pytest.mark.parametrize(
    ("flat", "account", "environ", "form", "value", "fallback"),
    [
        ("", "", {}, "absent", None, ("TELEGRAM_BOT_TOKEN",)),
        ('bot_token_env = "F"', "", {}, "absent", None, ("F", "TELEGRAM_BOT_TOKEN")),
        ('bot_token_env = "F"', 'bot_token_env = "A"', {}, "absent", None, ("A", "F", "TELEGRAM_BOT_TOKEN")),
        ('bot_token = "flat"', "", {}, "inline", "flat", ()),
        ('bot_token = "flat"', 'bot_token_env = "A"', {}, "inline", "flat", ()),
        ('bot_token = "flat"', 'bot_token_env = "A"', {"A": " "}, "inline", "flat", ()),
        ('bot_token = "flat"', 'bot_token_env = "A"', {"A": "x"}, "absent", None, ("A",)),
        ('bot_token = "flat"', 'bot_token = "own"', {}, "inline", "own", ()),
        ('bot_token = "flat"', 'bot_token = { env = "A" }', {}, "env", "A", ()),
        ('bot_token = "flat"', 'bot_token = ""', {}, "inline", "flat", ()),
        ('bot_token = { env = "" }', 'bot_token = "  "', {}, "absent", None, ("TELEGRAM_BOT_TOKEN",)),
        ('bot_token = "${F}"', "", {}, "env", "F", ()),
        ('bot_token = "$F"', "", {}, "env", "F", ()),
        ('bot_token = "env:F"', "", {}, "env", "F", ()),
        ('bot_token = "%F%"', "", {}, "env", "F", ()),
        ('bot_token = "x${F}"', "", {}, "inline", "x${F}", ()),
        ('bot_token = { exec = ["p", "a"] }', "", {}, "exec", ("p", "a"), ()),
        ('bot_token = { file = "s/t" }', "", {}, "file", "/home/x/s/t", ()),
    ],
)
def test_the_forms_of_a_secret_and_how_they_inherit(
    flat: str, account: str, environ: dict[str, str], form: str, value: object, fallback: tuple[str, ...]
) -> None:
    ref = token(telegram(f"[telegram]\n{flat}\n[telegram.accounts.a]\n{account}", environ).accounts["a"])
    assert (ref.form, ref.value, ref.fallback_env) == (form, value, fallback)


def test_shared_credentials_warn_among_enabled_accounts_only() -> None:
    def warned(text: str) -> bool:
        return any(d.code == "config.channel_account.shared_credential" for d in findings(text))

    two = "[telegram]\nenabled = true\n[telegram.accounts.a]\n{a}\n[telegram.accounts.b]\n{b}"
    assert warned(two.format(a="", b=""))
    assert warned(two.format(a='bot_token = "x"', b='bot_token = "x"'))
    assert warned(two.format(a='bot_token = { env = "X" }', b='bot_token = "${X}"'))
    assert not warned(two.format(a='bot_token = "x"', b='bot_token = "y"'))
    assert not warned(two.format(a='bot_token = "x"', b='bot_token = "x"\nenabled = false'))
    assert not warned(two.format(a='bot_token = "x"', b='bot_token = "x"').replace("true", "false"))


def test_a_wecom_block_is_named_by_its_robot_and_knows_its_settings() -> None:
    text = (
        '[wecom]\nenabled = true\nbot_id = "aibCanary0001"\nsecret = "canary-secret"\nping_interval_s = 999'
    )
    channel = valid(text).channels["wecom"]
    assert channel.default_account == "wecom_aibcanary0001"
    settings = channel.accounts["wecom_aibcanary0001"].settings
    assert settings["websocket_url"] == "wss://openws.work.weixin.qq.com"
    assert settings["ping_interval_s"] == 300
    assert settings["reconnect_interval_s"] == 5
    assert valid("[wecom]", {"WECOM_BOT_ID": "aibX"}).channels["wecom"].default_account == "wecom_aibx"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("wss://wecom.corp.example:8443/ws", ""),
        ("ws://127.0.0.1:8080", ""),
        ("  ", ""),
        ("ws://wecom.corp.example", "is ws:// to another host"),
        ("https://wecom.corp.example", "does not start with wss:// or ws://"),
        ("wss://user:word@wecom.corp.example", "carries a user name or password"),
        ("wss://", "names no host"),
    ],
)
def test_the_address_of_a_web_socket_is_checked(url: str, words: str) -> None:
    found = [
        one for one in findings(f'[wecom]\nwebsocket_url = "{url}"') if "websocket_url" in one.field_path
    ]
    assert [words in one.message for one in found] == ([True] if words else [])


def test_plain_web_sockets_to_other_hosts_can_be_allowed() -> None:
    text = '[wecom]\nallow_plain_http = true\nwebsocket_url = "ws://wecom.corp.example/"'
    settings = next(iter(valid(text).channels["wecom"].accounts.values())).settings
    assert settings["websocket_url"] == "ws://wecom.corp.example"
