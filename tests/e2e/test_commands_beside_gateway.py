"""The commands for people beside a real gateway with a Telegram account."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.telegram import FakeTelegram

ECHO = '[provider]\nkind = "echo"\n'


@pytest.fixture(name="pair")
def _pair(tmp_path: pathlib.Path) -> Iterator[tuple[FakeTelegram, Gateway]]:
    with FakeTelegram() as telegram, Gateway(tmp_path, ECHO + config_for(telegram, None)) as gateway:
        telegram.add_private(1001)
        gateway.start()
        gateway.wait_status(lambda document: all(s["phase"] == "ready" for s in document["surfaces"]))
        yield telegram, gateway


def test_every_view_agrees_that_all_is_well(pair: tuple[FakeTelegram, Gateway]) -> None:
    _, gateway = pair
    views = {
        name: gateway.run(*name.split())
        for name in ("status", "channels status --probe", "doctor", "channels")
    }
    for name, ran in views.items():
        assert ran.returncode == 0, f"{name}: {ran.stdout}{ran.stderr}"
        assert ran.stderr == ""
    assert views["status"].stdout.startswith("Ready. ")
    assert views["doctor"].stdout.startswith("All ")
    assert "ok " in views["channels status --probe"].stdout


def test_a_send_goes_through_the_owner_and_polling_goes_on(pair: tuple[FakeTelegram, Gateway]) -> None:
    telegram, gateway = pair
    sent = gateway.run(
        "channels", "send", "telegram", "--target", "1001", "--text", "from the shell", "--json"
    )
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["state"] == "sent"
    telegram.say("still there?")
    texts = [message.text for message in telegram.wait_messages(2)]
    assert texts[0] == "from the shell"
    assert "still there?" in texts[1]
    assert telegram.complaints == []


def test_a_refused_send_is_exit_1(pair: tuple[FakeTelegram, Gateway]) -> None:
    _, gateway = pair
    ran = gateway.run("channels", "send", "telegram", "--target", "999", "--text", "x")
    assert ran.returncode == 1
    assert "refused the message" in ran.stderr


def test_ask_and_chat_share_the_session_of_the_gateway(pair: tuple[FakeTelegram, Gateway]) -> None:
    _, gateway = pair
    assert gateway.run("ask", "--message", "one", "--session", "s").stdout
    said = gateway.run("chat", "--session", "s", stdin="/history\n").stdout
    assert "you> one" in said


def test_the_conversation_of_a_chat_can_be_read_in_the_terminal(pair: tuple[FakeTelegram, Gateway]) -> None:
    telegram, gateway = pair
    telegram.say("hello from the phone")
    telegram.wait_messages(1)
    said = gateway.run("chat", "--session", "telegram:bot_123456789:1001", stdin="/history\n").stdout
    assert "you> hello from the phone" in said


def test_after_a_kill_the_page_says_so(pair: tuple[FakeTelegram, Gateway]) -> None:
    _, gateway = pair
    gateway.kill()
    for command in ("status", "channels status"):
        ran = gateway.run(*command.split())
        assert ran.returncode == 1
        assert "ended without a stop" in ran.stdout.splitlines()[0]
