"""The whole open platform for one app: REST, long connection, and events that are pushed until they are acknowledged.

What is not acknowledged is pushed again on a schedule, and at once when the app connects anew. After a reconnect it
may come under another event id, but always under the same message id.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field

from .feishu import FakeFeishu
from .feishu_long_connection import FakeLongConnection, Link, Push

__all__ = ["Event", "FakeFeishuPlatform"]

SCHEDULE_S = (15.0, 300.0, 3600.0, 21600.0)
WAIT_S = 10.0


@dataclass
class Event:
    """What a person wrote. `pushes` are its deliveries, one for each event id; `due_s` is when the next one is."""

    message_id: str
    chat: str
    text: str
    envelope: dict[str, object] = field(repr=False)
    pushes: list[Push] = field(default_factory=list)
    due_s: float = 0.0

    @property
    def acknowledged(self) -> bool:
        """Whether the app has said that it has the event."""
        return any(200 in push.codes for push in self.pushes)

    @property
    def pushed(self) -> int:
        """How often it was pushed."""
        return sum(push.pushed for push in self.pushes)


class FakeFeishuPlatform:
    """Use as a context manager. `rest` and `link` are the two sides; `events` everything that was said, in order.

    `speed` shortens the schedule; `renames` gives an event that is pushed again after a reconnect a new id.
    """

    def __init__(self, *, speed: float = 1.0, renames: bool = True) -> None:
        self.rest = FakeFeishu()
        self.link = FakeLongConnection(self.rest.app_id, self.rest.app_secret)
        self.rest.find_endpoint = self.link.endpoint_answer
        self.renames = renames
        self.events: list[Event] = []
        self._speed = speed
        self._waiting: list[Event] = []
        self._served: Link | None = None
        self._over = False
        self._courier = threading.Thread(target=self._run, name="courier", daemon=True)

    def __enter__(self) -> FakeFeishuPlatform:
        self._courier.start()
        return self

    def __exit__(self, *details: object) -> None:
        with self.link.changed:
            self._over = True
            self.link.changed.notify_all()
        self._courier.join(WAIT_S)
        self.link.__exit__(*details)
        self.rest.close()

    @property
    def base_url(self) -> str:
        """What `feishu.base_url` must say."""
        return self.rest.base_url

    @property
    def complaints(self) -> list[str]:
        """What a good client never does, on both sides."""
        return self.rest.complaints + self.link.complaints

    def say(self, text: str, chat: str = "oc_room", user: str = "ou_ann", *, direct: bool = True) -> Event:
        """A person writes; in a group the bot is called."""
        said = self.rest.say(chat)
        with self.link.changed:
            envelope = self._envelope(said.message_id, text, chat, user, direct=direct)
            event = Event(said.message_id, chat, text, envelope)
            self.events.append(event)
            self._waiting.append(event)
            self.link.changed.notify_all()
        return event

    def push_again(self, event: Event, *, new_id: bool = False) -> Push:
        """Push an event once more whatever became of it before, and wait for the acknowledgement."""
        with self.link.changed:
            push = self._delivery(event, new_id=new_id)
            before = len(push.codes)
        self.link.push_again(push)
        self.link.wait_for(lambda: len(push.codes) > before)
        return push

    def _envelope(
        self, message_id: str, text: str, chat: str, user: str, *, direct: bool
    ) -> dict[str, object]:
        now_ms = str(self.rest.wall_ms())
        message: dict[str, object] = {
            "message_id": message_id,
            "create_time": now_ms,
            "chat_id": chat,
            "chat_type": "p2p" if direct else "group",
            "message_type": "text",
            "content": json.dumps({"text": text if direct else f"@_user_1 {text}"}, ensure_ascii=False),
        }
        if not direct:
            bot = {"open_id": self.rest.bot["open_id"], "union_id": "on_bot", "user_id": ""}
            message["mentions"] = [{"key": "@_user_1", "id": bot, "name": "loong-bot", "tenant_key": "t"}]
        return {
            "schema": "2.0",
            "header": {
                "event_id": f"ev-{message_id}",
                "token": "",
                "create_time": now_ms,
                "event_type": "im.message.receive_v1",
                "tenant_key": "t",
                "app_id": self.rest.app_id,
            },
            "event": {
                "sender": {"sender_id": {"open_id": user}, "sender_type": "user", "tenant_key": "t"},
                "message": message,
            },
        }

    def _delivery(self, event: Event, *, new_id: bool) -> Push:
        """The push for the next delivery, with the lock held."""
        if event.pushes and not new_id:
            return event.pushes[-1]
        header = event.envelope["header"]
        assert isinstance(header, dict)
        if event.pushes:
            header["event_id"] = f"ev-{event.message_id}-{len(event.pushes)}"
        payload = json.dumps(event.envelope, ensure_ascii=False).encode()
        event.pushes.append(Push(str(header["event_id"]), payload))
        return event.pushes[-1]

    def _run(self) -> None:
        while True:
            with self.link.changed:
                if self._over:
                    return
                link, due = self._due()
                if not due:
                    # Without a connection only a connection makes a difference.
                    next_s = min((one.due_s for one in self._waiting if link), default=float("inf"))
                    self.link.changed.wait(min(max(next_s - time.monotonic(), 0.001), WAIT_S))
                    continue
            for push in due:
                # A connection that is lost is noticed by the thread that serves it.
                with contextlib.suppress(OSError):
                    self.link.push_again(push, link=link)

    def _due(self) -> tuple[Link | None, list[Push]]:
        """The newest connection and what must be pushed on it now, in the order in which it was said."""
        self._waiting = [event for event in self._waiting if not event.acknowledged]
        link = self.link.alive[-1] if self.link.alive else None
        if link is None:
            return None, []
        is_new, self._served = link is not self._served, link
        now_s = time.monotonic()
        due = []
        for event in self._waiting:
            if not is_new and event.due_s > now_s:
                continue
            tries = event.pushed
            pause_s = SCHEDULE_S[tries] / self._speed if tries < len(SCHEDULE_S) else float("inf")
            event.due_s = now_s + pause_s
            due.append(self._delivery(event, new_id=is_new and self.renames))
        return link, due
