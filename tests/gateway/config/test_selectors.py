"""CHANNEL=ACCOUNT selectors: every refusal word by word."""

from __future__ import annotations

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.config.selectors import account_for, fallback_warning, parse_selectors, select, unserved
from tests.gateway.config.reading import PATH, valid

TWO = """
[telegram]
enabled = true
default_account = "Work"
[telegram.accounts.work]
bot_token = { env = "W" }
[telegram.accounts."Ops Room"]
bot_token = { env = "O" }
[telegram.accounts.off]
enabled = false
"""


PARSING = [
    ("", "selector.empty", "multi-channel channel-account entries cannot be empty"),
    ("   ", "selector.empty", "multi-channel channel-account entries cannot be empty"),
    (
        " telegram ",
        "selector.no_equals",
        "multi-channel channel-account `telegram` must use CHANNEL=ACCOUNT syntax",
    ),
    ("=work", "selector.no_channel", "multi-channel channel-account `=work` is missing a channel id"),
    (
        "pigeon=a",
        "selector.unknown_channel",
        (
            "unrecognized multi-channel service channel `pigeon` "
            "(available runtime-backed channels: feishu, telegram, wecom)"
        ),
    ),
    (
        "matrix=work",
        "selector.not_supported",
        (
            "multi-channel service channel `matrix` resolves to `matrix` but is not supported in this build "
            "(expected one of: feishu, telegram, wecom)"
        ),
    ),
    (
        "slack_bot=a",
        "selector.not_supported",
        (
            "multi-channel service channel `slack_bot` resolves to `slack` but is not supported in this build "
            "(expected one of: feishu, telegram, wecom) (outbound-only: use `channels send slack`)"
        ),
    ),
    (
        "telegram=",
        "selector.no_account",
        "multi-channel channel-account `telegram=` is missing an account id",
    ),
]


@pytest.mark.parametrize(("entry", "code", "message"), PARSING)
def test_each_malformed_selector_has_its_sentence(entry: str, code: str, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_selectors([entry])
    assert (caught.value.code, caught.value.message, caught.value.exit_code) == (code, message, 2)
    assert caught.value.fix


def test_the_channel_is_judged_before_the_account() -> None:
    with pytest.raises(CommandError) as caught:
        parse_selectors(["pigeon="])
    assert caught.value.code == "selector.unknown_channel"


@pytest.mark.parametrize("second", ["telegram=b", "telegram=a", "TELEGRAM = A"])
def test_a_family_appears_once(second: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_selectors(["telegram=a", second])
    assert caught.value.message == "duplicate multi-channel account selection configured for `telegram`"
    assert caught.value.exit_code == 2


def test_selectors_are_split_at_the_first_equals_and_normalised() -> None:
    assert parse_selectors([" Telegram = Ops Room "]) == {"telegram": "ops-room"}
    assert parse_selectors(["telegram=a=b"]) == {"telegram": "a-b"}
    assert parse_selectors([]) == {}


def test_a_near_miss_is_named() -> None:
    with pytest.raises(CommandError) as caught:
        parse_selectors(["telegarm=a"])
    assert "did you mean telegram?" in caught.value.message


def test_one_account_per_enabled_family_runs() -> None:
    assert [a.id for a in select(valid(TWO), {})] == ["work"]
    assert [a.id for a in select(valid(TWO), {"telegram": "ops-room"})] == ["ops-room"]
    assert select(valid("[telegram]\n"), {}) == []
    assert select(valid(""), {}) == []
    assert [a.id for a in select(valid("[telegram]\nenabled = true"), {})] == ["default"]


def test_an_enabled_account_that_does_not_run_is_named() -> None:
    config = valid(TWO + "[wecom.accounts.a]\n[wecom.accounts.b]\n")
    said = "telegram/{} is enabled but not served: one account per channel runs"
    # Nothing is known of telegram, so its default account runs; wecom and the account `off` are disabled.
    for served in ((), {("telegram", "work")}):
        assert [line for _, line in unserved(config, served)] == [said.format("ops-room")]
    chosen = unserved(config, {("telegram", "ops-room")})
    assert [(account.id, line) for account, line in chosen] == [("work", said.format("work"))]
    assert unserved(valid("[telegram]\nenabled = true"), ()) == []


AFTER_LOAD = [
    (
        TWO,
        "wrk",
        "selector.unknown_account",
        "requested account `wrk` is not configured (configured accounts: off, ops-room, work); did you mean work?",
    ),
    (
        TWO,
        "zzzzzz",
        "selector.unknown_account",
        "requested account `zzzzzz` is not configured (configured accounts: off, ops-room, work)",
    ),
    (TWO, "off", "selector.account_disabled", "telegram account `off` is disabled by configuration"),
    ("", "work", "selector.channel_disabled", "selected channel `telegram` is not enabled"),
    (
        TWO.replace("enabled = true", "enabled = false"),
        "work",
        "selector.channel_disabled",
        "selected channel `telegram` is not enabled",
    ),
    (
        "[telegram]\nenabled = true",
        "work",
        "selector.no_accounts",
        (
            "requested account `work` is not configured for telegram (configured accounts: none); "
            "add telegram.default_account and telegram.accounts.work, or run without the selector"
        ),
    ),
]


@pytest.mark.parametrize(("text", "account", "code", "message"), AFTER_LOAD)
def test_each_selector_that_the_config_cannot_honour_has_its_sentence(
    text: str, account: str, code: str, message: str
) -> None:
    with pytest.raises(CommandError) as caught:
        select(valid(text), {"telegram": account})
    assert (caught.value.code, caught.value.message, caught.value.exit_code) == (code, message, 2)
    assert PATH in str(caught.value.where)


def test_the_fix_of_a_typo_can_be_pasted() -> None:
    with pytest.raises(CommandError) as caught:
        select(valid(TWO), {"telegram": "wrk"})
    assert caught.value.fix == "loong gateway run --channel-account telegram=work"


@pytest.mark.parametrize(
    ("text", "environ", "account"),
    [
        ("[telegram]\nenabled = true", {"TELEGRAM_BOT_TOKEN": "123456:secret"}, "bot_123456"),
        ('[telegram]\nenabled = true\naccount_id = "Ro Bo"', {}, "ro-bo"),
        ("[telegram]\nenabled = true", {}, "default"),
    ],
)
def test_the_only_account_is_selected_by_the_name_that_is_shown_for_it(
    text: str, environ: dict[str, str], account: str
) -> None:
    config = valid(text, environ)
    assert [one.id for one in select(config, {"telegram": account})] == [account]
    with pytest.raises(CommandError) as caught:
        select(config, {"telegram": "work"})
    assert (caught.value.code, caught.value.fix) == ("selector.no_accounts", "loong gateway run")


@pytest.mark.parametrize(
    ("text", "account", "kept"),
    [
        ("[telegram]\nenabled = true\n", "work", ""),
        (TWO, "wrk", " --channel-account telegram=work"),
    ],
)
def test_a_fix_keeps_the_other_selectors(text: str, account: str, kept: str) -> None:
    config = valid(text + "[wecom]\nenabled = true\n[wecom.accounts.alerts]\n")
    with pytest.raises(CommandError) as caught:
        select(config, {"telegram": account, "wecom": "alerts"})
    assert caught.value.fix == f"loong gateway run --channel-account wecom=alerts{kept}"


def test_a_disabled_default_account_is_not_skipped_silently() -> None:
    with pytest.raises(CommandError) as caught:
        select(valid(TWO.replace('"Work"', '"off"')), {})
    assert caught.value.code == "selector.account_disabled"
    assert caught.value.where == "telegram.accounts.off.enabled in /home/x/config.toml"


def test_send_and_serve_find_their_account() -> None:
    assert account_for(valid(TWO), "Telegram", None).id == "work"
    assert account_for(valid(TWO), "telegram", "OPS ROOM").id == "ops-room"


@pytest.mark.parametrize(
    ("text", "channel", "account", "code", "words"),
    [
        (
            TWO,
            "pigeon",
            None,
            "selector.channel_unknown",
            "unknown channel `pigeon`; run `loong channels` to inspect",
        ),
        (
            TWO,
            "matrix",
            None,
            "selector.channel_not_in_this_build",
            "channel `matrix` is not supported in this build",
        ),
        ("", "telegram", None, "selector.channel_not_configured", "telegram is not configured"),
        (
            TWO,
            "telegram",
            "nobody",
            "selector.unknown_account",
            "requested account `nobody` is not configured",
        ),
        (TWO, "telegram", "off", "selector.account_disabled", "telegram account `off` is disabled"),
        (
            "[telegram]",
            "telegram",
            None,
            "selector.account_disabled",
            "telegram account `default` is disabled",
        ),
    ],
)
def test_send_and_serve_are_refused_with_a_sentence(
    text: str, channel: str, account: str | None, code: str, words: str
) -> None:
    with pytest.raises(CommandError) as caught:
        account_for(valid(text), channel, account)
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_a_guessed_default_is_said() -> None:
    guessed = valid(TWO.replace('default_account = "Work"', ""))
    assert fallback_warning(guessed, "Telegram", None) == (
        "warning: telegram omitted --account and routed to configured account `off` via fallback default selection; "
        "set telegram.default_account or pass --account to avoid routing surprises"
    )
    assert fallback_warning(guessed, "telegram", "work") is None
    assert fallback_warning(valid(TWO), "telegram", None) is None
    assert fallback_warning(valid("[telegram.accounts.only]"), "telegram", None) is None
    assert fallback_warning(valid(""), "pigeon", None) is None
