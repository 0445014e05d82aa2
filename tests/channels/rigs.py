"""The rigs of the channels of this build; see contract.Rig."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from loong_channels import catalog
from loong_channels.contract import Account, Address, Channel, ChannelSpec, WebhookRequest
from loong_channels.egress import Egress
from loong_channels.feishu.channel import Channel as FeishuChannel
from loong_channels.telegram.channel import Channel as TelegramChannel
from loong_channels.wecom.channel import Channel as WeComChannel
from tests.channels.contract import Oddity, Rig
from tests.channels.telegram_rig import RecordingHost
from tests.fakes.bad_line import BadLine
from tests.fakes.feishu import FakeFeishu
from tests.fakes.feishu_long_connection import FakeLongConnection, Link, Push
from tests.fakes.feishu_sealing import signed_delivery
from tests.fakes.telegram import FakeTelegram
from tests.fakes.telegram_state import Injected
from tests.fakes.wecom import FakeWeCom, Question

__all__ = ["RIGS"]

WAIT_S = 10.0


def lead(line: BadLine | None, port: int) -> int:
    """The port to connect to."""
    return port if line is None else line.to(port)


class TelegramRig:
    """One bot, polled."""

    spec: ChannelSpec = catalog.spec("telegram")
    preview_settings: ClassVar[Mapping[str, object]] = {"streaming_mode": "draft"}
    acknowledges = True

    def __init__(self) -> None:
        self.fake = FakeTelegram(conflict_delay_s=0.05)

    def __enter__(self) -> TelegramRig:
        return self

    def __exit__(self, *details: object) -> None:
        self.fake.close()
        assert self.fake.complaints == []
        assert self.fake.server.crashes == []

    @property
    def secrets(self) -> Sequence[str]:
        return (self.fake.token, self.fake.token.partition(":")[2], "AAWrongWrong")

    def channel(
        self,
        line: BadLine | None = None,
        *,
        wrong_secret: bool = False,
        secure: bool = False,
        **settings: object,
    ) -> Channel:
        token = "123456789:AAWrongWrongWrongWrongWrongWrongWr" if wrong_secret else self.fake.token
        scheme = "https" if secure else "http"
        values = {
            "bot_token": token,
            "base_url": f"{scheme}://127.0.0.1:{lead(line, self.fake.server.port)}",
            "polling_timeout_s": 20,
            **settings,
        }
        return TelegramChannel(Account("telegram", "work", "Work", values), Egress())

    def attach(self, host: RecordingHost) -> None:
        pass

    def rest(self) -> None:
        # The server holds back a poll that repeats an offset soon.
        self.fake.bot.last_poll_at = float("-inf")

    def address(self, number: int) -> Address:
        self.fake.add_private(1001 + number)
        return Address("telegram", "work", str(1001 + number))

    def say(self, text: str, number: int = 0) -> Injected:
        return self.fake.say(text, 1001 + number)

    def redeliver(self, handle: Injected) -> None:
        bot = self.fake.bot
        payload = self.fake.chats[handle.chat_id].messages[handle.message_id]
        with self.fake._lock:
            assert handle.update_id is not None
            bot.queue.confirmed.discard(handle.update_id)
            bot.queue._pending[handle.update_id] = (1e12, {"update_id": handle.update_id, "message": payload})
            if bot.waiting is not None:
                bot.waiting.ready.notify_all()

    def acknowledged_at(self, handle: Injected) -> float | None:
        for request in self.fake.calls("getUpdates"):
            if int(str(request.params.get("offset") or 0)) > (handle.update_id or 0):
                return request.at
        return None

    def insist(self, handle: Injected) -> None:
        pass

    def sent(self) -> list[tuple[str, str]]:
        return [(str(one.chat_id), one.text) for one in self.fake.messages if not one.deleted]

    def throttle(self, seconds: int) -> float:
        self.fake.fault("sendMessage", "too_many", retry_after=seconds)
        return float(seconds)

    def oddities(self) -> Iterable[Oddity]:
        fake = self.fake
        fake.add_group(-5)
        chat = fake.chats[-5].card()
        other_bot = {"id": 77, "is_bot": True, "first_name": "Bot"}

        def push(kind: str, payload: Any) -> Any:
            return lambda: fake.push(kind, payload)

        yield Oddity("unknown update", push("hologram", {"chat": chat, "beam": 1}))
        yield Oddity("unknown content", lambda: fake.say(None, hologram={"x": 1}))
        yield Oddity("a bot writes", lambda: fake.say("hi", sender=other_bot))
        yield Oddity("no date", push("message", {"message_id": 9, "chat": chat, "text": "hi"}))
        yield Oddity(
            "a chat that is none", push("message", {"message_id": 9, "date": 1, "chat": {"id": 0.5}})
        )
        yield Oddity(
            "entities beyond the text",
            push(
                "message",
                {"message_id": 9, "date": 1, "chat": chat, "text": "x", "entities": [{"type": "mention"}]},
            ),
        )


class WeComRig:
    """One robot."""

    spec: ChannelSpec = catalog.spec("wecom")
    preview_settings: ClassVar[Mapping[str, object]] = {"streaming_mode": "stream"}
    acknowledges = False

    def __init__(self) -> None:
        self.fake = FakeWeCom(per_minute=1000)
        self._texts: dict[str, str] = {}

    def __enter__(self) -> WeComRig:
        return self

    def __exit__(self, *details: object) -> None:
        self.fake.close()
        assert self.fake.complaints == []

    @property
    def secrets(self) -> Sequence[str]:
        return (self.fake.secret, "wrong-secret-0123456789")

    def channel(
        self,
        line: BadLine | None = None,
        *,
        wrong_secret: bool = False,
        secure: bool = False,
        **settings: object,
    ) -> Channel:
        scheme = "wss" if secure else "ws"
        values = {
            "bot_id": self.fake.bot_id,
            "secret": "wrong-secret-0123456789" if wrong_secret else self.fake.secret,
            "websocket_url": f"{scheme}://127.0.0.1:{lead(line, self.fake.server.port)}/",
            "quota_per_min": 0,
            "quota_per_hour": 0,
            **settings,
        }
        return WeComChannel(Account("wecom", "work", "Work", values), Egress())

    def attach(self, host: RecordingHost) -> None:
        pass

    def rest(self) -> None:
        pass

    def address(self, number: int) -> Address:
        self.fake.known.setdefault(f"user{number}", 1)
        return Address("wecom", "work", f"user{number}")

    def say(self, text: str, number: int = 0) -> Question:
        question = self.fake.say(text, user=f"user{number}", create_time=int(time.time()))
        self._texts[question.msgid] = text
        return question

    def redeliver(self, handle: Question) -> None:
        self.fake.say(self._texts[handle.msgid], user=handle.conversation, msgid=handle.msgid)

    def acknowledged_at(self, handle: Question) -> float | None:
        return None

    def insist(self, handle: Question) -> None:
        pass

    def sent(self) -> list[tuple[str, str]]:
        fake = self.fake
        with fake._lock:
            return [
                (fake.pushes[int(key)].conversation, fake.pushes[int(key)].text)
                if kind == "push"
                else (fake.bubbles[key].conversation, fake.bubbles[key].text)
                for kind, _, key in (name.partition(":") for name in fake.order)
            ]

    def throttle(self, seconds: int) -> float:
        # The platform names no time: three seconds is where the growing pause begins.
        self.fake.fail("aibot_send_msg", 846607, "frequency limit")
        return 3.0

    def oddities(self) -> Iterable[Oddity]:
        fake = self.fake

        def frame(**parts: Any) -> Any:
            return lambda: fake.raw(json.dumps(parts))

        head = {"req_id": "odd"}
        yield Oddity("no JSON", lambda: fake.raw("{{{"))
        yield Oddity("bytes", lambda: fake.raw(b"\xff\x00\xfe"))
        yield Oddity("an array", lambda: fake.raw("[1, 2]"))
        yield Oddity("unknown command", frame(cmd="aibot_dance", headers=head, body={"x": 1}))
        yield Oddity("an answer nobody waits for", frame(headers={"req_id": "x"}, errcode=0))
        yield Oddity("unknown message type", lambda: fake.say(None, msgtype="hologram", hologram={"x": 1}))
        yield Oddity("another robot's", lambda: fake.say("hi", aibotid="aibSomebodyElse"))
        yield Oddity("unknown event", lambda: fake.event("moon_phase_event"))
        yield Oddity("nobody", lambda: fake.say("hi", **{"from": None}))


@dataclass
class Delivery:
    """A request of the platform to a webhook. `status` 0 until it was answered."""

    event: dict[str, Any]
    status: int = 0
    answered_at: float = 0.0
    threads: list[threading.Thread] = field(default_factory=list)


class Pushes(FakeLongConnection):
    """Writes down when each event was acknowledged with 200, by event id, and every secret part of an address."""

    def __init__(self, app_id: str, app_secret: str) -> None:
        self.acknowledged_at: dict[str, float] = {}
        self.secrets: list[str] = []
        super().__init__(app_id, app_secret)

    def endpoint_answer(self, request: object) -> tuple[int, object]:
        status, body = super().endpoint_answer(request)
        if isinstance(body, dict) and body["code"] == 0:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(body["data"]["URL"]).query)
            self.secrets += [query["ticket"][0], query["access_key"][0]]
        return status, body

    def _take_ack(self, link: Link, frame: dict[str, Any]) -> None:
        known = link.open_pushes.get(dict(frame["headers"]).get("message_id", ""))
        super()._take_ack(link, frame)
        if known is not None and known[0].codes[-1] == 200:
            self.acknowledged_at.setdefault(known[0].event_id, time.monotonic())


class FeishuRig:
    """One app over the long connection."""

    spec: ChannelSpec = catalog.spec("feishu")
    preview_settings: ClassVar[Mapping[str, object]] = {"streaming_mode": "card"}
    acknowledges = True
    token = ""

    def __init__(self) -> None:
        self.fake = FakeFeishu()
        self.pushes = Pushes(self.fake.app_id, self.fake.app_secret)
        self.fake.find_endpoint = self.pushes.endpoint_answer
        self._numbers = iter(range(1, 1 << 30))

    def __enter__(self) -> FeishuRig:
        return self

    def __exit__(self, *details: object) -> None:
        self.pushes.__exit__()
        self.fake.close()
        assert self.fake.complaints == []
        assert self.pushes.complaints == []
        assert self.fake.server.crashes == []

    @property
    def secrets(self) -> Sequence[str]:
        fake = self.fake
        tokens = [one.value for one in fake.tokens]
        return (fake.app_secret, "WrongSecret0WrongSecret0", *tokens, *self.pushes.secrets)

    def channel(
        self,
        line: BadLine | None = None,
        *,
        wrong_secret: bool = False,
        secure: bool = False,
        **settings: object,
    ) -> Channel:
        self.pushes.public_port = lead(line, self.pushes.server.port)
        scheme = "https" if secure else "http"
        values = {
            "app_id": self.fake.app_id,
            "app_secret": "WrongSecret0WrongSecret0" if wrong_secret else self.fake.app_secret,
            "base_url": f"{scheme}://127.0.0.1:{lead(line, self.fake.server.port)}",
            "domain": "feishu",
            **settings,
        }
        return FeishuChannel(Account("feishu", "work", "Work", values), Egress())

    def attach(self, host: RecordingHost) -> None:
        pass

    def rest(self) -> None:
        pass

    def address(self, number: int) -> Address:
        self.fake.add_chat(f"oc_room{number}")
        return Address("feishu", "work", f"oc_room{number}")

    def event(self, text: str, number: int = 0, **message: Any) -> dict[str, Any]:
        """The envelope of a direct message; `message` replaces parts of the message itself."""
        said = self.fake.say(f"oc_room{number}")
        header = {
            "event_id": str(uuid.UUID(int=next(self._numbers))),
            "token": self.token,
            "create_time": str(int(time.time() * 1000)),
            "event_type": "im.message.receive_v1",
            "tenant_key": "t",
            "app_id": self.fake.app_id,
        }
        body = {
            "message_id": said.message_id,
            "create_time": str(int(time.time() * 1000)),
            "chat_id": said.chat_id,
            "chat_type": "p2p",
            "message_type": "text",
            "content": json.dumps({"text": text}, ensure_ascii=False),
            **message,
        }
        sender = {"sender_id": {"open_id": "ou_ann"}, "sender_type": "user"}
        return {"schema": "2.0", "header": header, "event": {"sender": sender, "message": body}}

    def say(self, text: str, number: int = 0) -> Any:
        return self.pushes.push(self.event(text, number), wait=False)

    def redeliver(self, handle: Push) -> None:
        self.pushes.push_again(handle)

    def acknowledged_at(self, handle: Push) -> float | None:
        return self.pushes.acknowledged_at.get(handle.event_id)

    def insist(self, handle: Push) -> None:
        self.pushes.wait_for(lambda: len(handle.codes) >= handle.pushed)
        self.pushes.redeliver()

    def sent(self) -> list[tuple[str, str]]:
        return [(one.chat_id, one.text) for one in self.fake.messages if not one.recalled]

    def throttle(self, seconds: int) -> float:
        self.fake.fault("send", "too_many", retry_after=seconds)
        return float(seconds)

    def odd_events(self) -> Iterable[tuple[str, object]]:
        """Events that are well formed as far as the transport goes."""
        foreign, unknown = self.event("hi"), self.event("hi")
        foreign["header"]["app_id"] = "cli_somebody_else"
        unknown["header"]["event_type"] = "moon.phase.changed_v9"
        no_message = self.event("hi")
        no_message["event"]["message"] = 7
        yield "another app's event", foreign
        yield "unknown event", unknown
        yield "content that is no JSON", self.event("hi", content="{{{")
        yield "no message", no_message

    def oddities(self) -> Iterable[Oddity]:
        pushes = self.pushes
        yield Oddity("no frame", lambda: pushes.send_raw(b"\xff\xff\xff"))
        yield Oddity("text", lambda: pushes.send_raw("hello"))
        yield Oddity("bad JSON", lambda: pushes.push(b"{{{", wait=False))
        for name, event in self.odd_events():
            yield Oddity(name, lambda event=event: pushes.push(event, wait=False))


class FeishuWebhookRig(FeishuRig):
    """One app that is posted to."""

    token = "v-token-of-the-app"
    key = "encrypt-key-of-the-app"

    def __init__(self) -> None:
        super().__init__()
        self._host = RecordingHost()
        self._deliveries: list[Delivery] = []

    def __exit__(self, *details: object) -> None:
        for delivery in self._deliveries:
            for thread in delivery.threads:
                thread.join(WAIT_S)
        super().__exit__(*details)

    @property
    def secrets(self) -> Sequence[str]:
        return (*super().secrets, self.token, self.key)

    def channel(
        self,
        line: BadLine | None = None,
        *,
        wrong_secret: bool = False,
        secure: bool = False,
        **settings: object,
    ) -> Channel:
        hook = {
            "mode": "webhook",
            "verification_token": self.token,
            "encrypt_key": self.key,
        }
        return super().channel(line, wrong_secret=wrong_secret, secure=secure, **{**hook, **settings})

    def attach(self, host: RecordingHost) -> None:
        self._host = host

    def say(self, text: str, number: int = 0) -> Any:
        return self._deliver(self.event(text, number))

    def redeliver(self, handle: Delivery) -> None:
        self._start(handle)

    def acknowledged_at(self, handle: Delivery) -> float | None:
        return handle.answered_at if handle.status == 200 else None

    def insist(self, handle: Delivery) -> None:
        handle.threads[-1].join(WAIT_S)
        assert handle.status == 503
        self._start(handle)

    def oddities(self) -> Iterable[Oddity]:
        yield Oddity("unsigned", lambda: self._post(b'{"schema":"2.0"}', {}))
        yield Oddity("signed with another key", lambda: self._post(*signed_delivery({}, "another-key")))
        yield Oddity("no JSON", lambda: self._post(*signed_delivery(b"{{{", self.key)))
        for name, event in self.odd_events():
            yield Oddity(name, lambda event=event: self._deliver(event))

    def _deliver(self, event: dict[str, Any]) -> Delivery:
        delivery = Delivery(event)
        self._deliveries.append(delivery)
        self._start(delivery)
        return delivery

    def _start(self, delivery: Delivery) -> None:
        thread = threading.Thread(target=self._answered, args=(delivery,), daemon=True)
        delivery.threads.append(thread)
        thread.start()

    def _answered(self, delivery: Delivery) -> None:
        status = self._post(*signed_delivery(delivery.event, self.key))
        delivery.answered_at = time.monotonic()
        delivery.status = status

    def _post(self, body: bytes, headers: Mapping[str, str]) -> int:
        receiver = self._host.receiver
        # As the gateway answers for an account that does not receive at the moment.
        if receiver is None:
            return 503
        fields = {"content-type": "application/json", **{k.lower(): v for k, v in headers.items()}}
        return receiver.answer(WebhookRequest("POST", fields, body)).status


RIGS: dict[str, type[Rig]] = {
    "telegram": TelegramRig,
    "wecom": WeComRig,
    "feishu": FeishuRig,
    "feishu-webhook": FeishuWebhookRig,
}
