"""The channel as the gateway sees it: its spec, its settings, and what it does with marks, previews and probes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from loong_channels import catalog, faults
from loong_channels.contract import Account, Inbound
from loong_channels.feishu import reactions
from loong_channels.feishu.channel import Channel
from loong_channels.feishu.spec import SPEC
from loong_channels.net import Egress
from loong_channels.waiting import Deadline, StopToken
from tests.channels.feishu_sending_rig import CHAT, address, make_channel, send
from tests.channels.telegram_rig import RecordingHost
from tests.fakes.feishu import APP_SECRET, FakeFeishu


@pytest.fixture
def fake():
    with FakeFeishu() as server:
        server.add_chat(CHAT)
        yield server
        assert server.complaints == []
        assert server.early_sends == {}


def inbound(message_id: str | None, **fields: Any) -> Inbound:
    now_ms = int(time.time() * 1000)
    return Inbound(address(), "event-1", message_id, "ou_ann", "hi", now_ms, sent_ms=now_ms, **fields)


# --- the spec


def test_webhook_secrets_are_needed_in_webhook_mode_only() -> None:
    assert SPEC.secrets_needed({"mode": "websocket"}) == ("app_id", "app_secret")
    assert SPEC.secrets_unused({"mode": "websocket"}) == {"verification_token", "encrypt_key"}
    needed = ("app_id", "app_secret", "verification_token", "encrypt_key")
    assert SPEC.secrets_needed({"mode": "webhook"}) == needed
    assert SPEC.secrets_needed({"mode": "webhook"}, receiving=False) == ("app_id", "app_secret")
    assert SPEC.secrets_unused({"mode": "webhook"}) == set()


def test_the_spec_tells_the_gateway_what_it_must_know() -> None:
    assert catalog.spec("lark") is SPEC
    assert (SPEC.wildcard, SPEC.idempotent_s, SPEC.threads) == (True, 3600.0, False)
    assert [option.name for option in SPEC.send_options if option.markdown] == ["card"]
    assert SPEC.target_kinds == catalog.KNOWN["feishu"].target_kinds
    assert SPEC.aliases == catalog.KNOWN["feishu"].aliases
    defaults = {setting.name: setting.default for setting in SPEC.settings}
    assert defaults["mode"] == "websocket"
    assert defaults["ack_reactions"] is False
    assert defaults["streaming_mode"] == "off"
    assert defaults["allowed_chat_ids"] == defaults["allowed_sender_ids"] == ()


def test_the_spec_imports_no_transport() -> None:
    probe = (
        "import sys, loong_channels.feishu.spec;"
        "print([m for m in sys.modules if m.startswith(('urllib3', 'loong_channels.net'))])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "root"),
    [
        ({}, "https://open.feishu.cn"),
        ({"domain": "lark"}, "https://open.larksuite.com"),
        ({"domain": "lark", "base_url": "http://127.0.0.1:9/"}, "http://127.0.0.1:9"),
    ],
)
def test_the_domain_or_the_base_url_says_where_to(settings: Mapping[str, object], root: str) -> None:
    values = {"app_id": "a", "app_secret": "b", **settings}
    channel = Channel(Account("feishu", "work", "Work", values), Egress())
    assert channel._api._root == root


# --- probing and ending


def test_a_probe_asks_the_platform_every_time(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    assert [channel.probe(deadline=Deadline(5)) for _ in range(3)] == ["loong-bot"] * 3
    assert fake.names() == ["bot"] * 3
    assert len(fake.calls("token")) == 3


def test_a_probe_of_a_running_channel_sees_what_changed(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    channel.probe(deadline=Deadline(5))
    fake.revoke_tokens()
    assert channel.probe(deadline=Deadline(5)) == "loong-bot"
    # The old token is still good: only asking for one shows that the secret is not.
    fake.app_secret = "ReplacedByAnOperator"
    with pytest.raises(faults.BadCredentials, match="10014"):
        channel.probe(deadline=Deadline(5))
    send(channel, "still going")
    fake.app_secret = APP_SECRET
    fake.fault("bot", "hang_up", times=None)
    with pytest.raises(faults.Unreachable):
        channel.probe(deadline=Deadline(5))


def test_a_probe_with_a_wrong_secret_says_so_without_it(fake: FakeFeishu) -> None:
    channel = make_channel(fake, app_secret="SomethingElseEntirely")
    with pytest.raises(faults.BadCredentials) as caught:
        channel.probe(deadline=Deadline(5))
    assert "10014" in str(caught.value)
    assert "SomethingElse" not in str(caught.value)


def test_an_interrupt_wakes_every_send_and_refuses_later_ones(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    order = fake.fault("send", "hang", times=3)
    ended: list[BaseException] = []

    def sending(number: int) -> None:
        try:
            send(channel, "x", key=str(number), seconds=30)
        except faults.Fault as fault:
            ended.append(fault)

    threads = [threading.Thread(target=sending, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    fake.wait_for(lambda: order.hits == 3)
    channel.interrupt()
    channel.interrupt()
    for thread in threads:
        thread.join(10)
    assert [type(fault) for fault in ended] == [faults.Interrupted] * 3
    with pytest.raises(faults.Interrupted):
        send(channel, "x")


# --- marks, typing, previews


def test_a_mark_stays_until_the_answer_is_out(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    channel = make_channel(fake, ack_reactions=True)
    channel.acknowledge(inbound(said.message_id), deadline=Deadline(5))
    assert list(said.reactions.values()) == ["Typing"]
    fake.refuse("reply", 230020)
    with pytest.raises(faults.Throttled):
        send(channel, "answer", reply_to=said.message_id)
    assert said.reactions
    send(channel, "answer", reply_to=said.message_id)
    assert said.reactions == {}
    assert fake.texts() == ["answer"]


def test_a_mark_goes_with_an_answer_that_is_refused_for_good(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    channel = make_channel(fake, ack_reactions=True)
    channel.acknowledge(inbound(said.message_id), deadline=Deadline(5))
    fake.refuse("reply", 230022)
    with pytest.raises(faults.Refused):
        send(channel, "answer", reply_to=said.message_id)
    assert said.reactions == {}


def test_a_slow_mark_holds_no_answer_up(fake: FakeFeishu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reactions, "_MARK_S", 0.05)
    said = fake.say(CHAT)
    channel = make_channel(fake, ack_reactions=True)
    channel.probe(deadline=Deadline(5))
    fake.fault("react", "hang", times=None)
    with pytest.raises(faults.TimedOut):
        channel.acknowledge(inbound(said.message_id), deadline=Deadline(60))
    channel.acknowledge(inbound(fake.say(CHAT).message_id), deadline=Deadline(60))
    assert len(fake.calls("react")) == 1
    send(channel, "answer", reply_to=said.message_id)
    assert fake.texts() == ["answer"]


def test_without_marks_nothing_is_asked(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    make_channel(fake).acknowledge(inbound(said.message_id), deadline=Deadline(5))
    make_channel(fake, ack_reactions=True).acknowledge(inbound(None), deadline=Deadline(5))
    assert fake.requests == []


def test_there_is_no_typing_notice(fake: FakeFeishu) -> None:
    make_channel(fake).show_typing(address(), deadline=Deadline(5))
    assert fake.requests == []


def test_previews_are_there_where_the_account_wants_them(fake: FakeFeishu) -> None:
    assert make_channel(fake).preview(address(), reply_to=None, extra={}) is None
    growing = make_channel(fake, streaming_mode="card")
    assert growing.preview(address(thread="omt_1"), reply_to=None, extra={}) is None
    preview = growing.preview(address(), reply_to=None, extra={})
    assert preview is not None
    preview.update("half")
    send(growing, "whole **answer**", extra=preview.finish())
    assert fake.texts() == ["whole **answer**"]


def test_what_the_platform_refuses_as_a_card_is_noted(fake: FakeFeishu) -> None:
    host = RecordingHost()
    channel = make_channel(fake)
    stop = StopToken()
    stop.set("stopping")
    with contextlib.suppress(faults.Interrupted):
        channel.run(host, stop)
    said = fake.say(CHAT)
    fake.recall(said.message_id)
    fake.refuse("send", 230099)
    send(channel, "**b**", reply_to=said.message_id)
    assert [event for event, _ in host.notes] == ["reply_target_gone", "markup_refused", "reply_target_gone"]


# --- many at once


def test_many_conversations_at_once_get_their_own_answers_and_one_token_serves_all(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    for number in range(50):
        fake.add_chat(f"oc_{number}")
    failed: list[BaseException] = []

    def talking(number: int) -> None:
        try:
            for part in range(3):
                send(channel, f"for oc_{number}, {part}", f"oc_{number}", key=f"{number}-{part}")
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    threads = [threading.Thread(target=talking, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    for number in range(50):
        assert fake.texts(f"oc_{number}") == [f"for oc_{number}, {part}" for part in range(3)]
    assert len(fake.calls("token")) == 1


def test_nothing_that_is_shown_of_a_channel_holds_the_secret(fake: FakeFeishu) -> None:
    channel = make_channel(fake)
    said = [repr(channel), repr(channel._api), repr(channel._account)]
    for name in ("token", "send"):
        fake.refuse(name, 424242, f"{APP_SECRET} t-g104example_00000001")
        with pytest.raises(faults.Refused) as caught:
            send(channel, "x")
        said.append(str(caught.value))
    assert not any(APP_SECRET in text or "g104" in text for text in said)
