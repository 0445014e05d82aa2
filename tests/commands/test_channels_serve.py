"""`loong channels serve --stop`: it ends the serve of the account that is named, and no other one."""

from __future__ import annotations

import pathlib

import pytest

from loong_gateway.owner.lock import stop_requested
from tests.commands.loong_cli import Loong, running_owner, surface, telegram_config

TWO = (
    telegram_config("http://127.0.0.1:9")
    + """
[telegram.accounts.alerts]
bot_token = { env = "ALERTS" }
[wecom]
enabled = true
account_id = "robo"
"""
)
SERVE = "multi_channel_serve"


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("telegram-serve", "--account", "alerts"), "telegram=alerts"),
        (("wecom-serve",), "wecom=robo"),
    ],
)
def test_a_serve_of_another_account_is_not_stopped(
    tmp_path: pathlib.Path, words: tuple[str, ...], given: str
) -> None:
    loong = Loong(tmp_path, TWO)
    with running_owner(loong, mode=SERVE, surfaces=[surface()]):
        ran = loong(*words, "--stop")
        cleaned = loong(*words, "--stop-duplicates")
        assert not stop_requested(loong.places, "t")
    assert (ran.code, ran.out) == (2, "")
    assert f"{given} is not served here, nothing was stopped" in ran.err
    assert "serves telegram=work" in ran.err
    assert "loong channels serve telegram --account work --stop" in ran.err
    assert (cleaned.code, "cleanup already_stopped" in cleaned.out) == (0, True)


def test_the_serve_of_the_named_account_is_stopped(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, TWO)
    with running_owner(loong, mode=SERVE, surfaces=[surface()]):
        assert "no_duplicates" in loong("telegram-serve", "--stop-duplicates").out
        ran = loong("telegram-serve", "--stop", "--account", "WORK")
        assert stop_requested(loong.places, "t")
    assert (ran.code, "telegram serve stop requested" in ran.out) == (0, True)


def test_the_only_account_is_stopped_without_the_credential_that_names_it(tmp_path: pathlib.Path) -> None:
    config = '[telegram]\nenabled = true\nbot_token = { env = "NOWHERE_SET" }\n'
    loong = Loong(tmp_path, config)
    with running_owner(loong, mode=SERVE, surfaces=[surface(account="bot_123456")]):
        ran = loong("telegram-serve", "--stop")
        assert stop_requested(loong.places, "t")
    assert (ran.code, "telegram serve stop requested" in ran.out) == (0, True)
