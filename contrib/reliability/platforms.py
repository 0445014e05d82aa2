"""The platforms as the experiments see them: people write numbered messages, and the bot's replies are looked at.

What counts as acknowledged differs. Telegram keeps an update until a later poll confirms it. Feishu pushes an event
again until it is acknowledged. WeCom does neither: a message that was handed to a connection is gone from there, so
only what is in the store when the daemon dies is known to be taken; what is not is counted apart.
"""

from __future__ import annotations

import abc
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from tests.fakes import feishu, telegram, wecom
from tests.fakes.feishu_platform import Event, FakeFeishuPlatform
from tests.fakes.telegram import FakeTelegram
from tests.fakes.telegram_state import Injected
from tests.fakes.wecom import FakeWeCom, Question

from .store_view import StoreView

__all__ = ["ALL", "Platform", "opened"]

Hook = Callable[[object, str], None]
# Redelivery after 15 s, 5 min, ... becomes 0.15 s, 3 s, ...: lives here are short.
SCHEDULE_SPEED = 100.0
PLACES = 6
FOREVER = 1 << 30


class Platform(abc.ABC):
    """One of them. `places` are conversations by index; `keeps_keys` says that a repeated send is never seen twice."""

    name: str
    keeps_keys = False
    # What makes a part so long that the next one goes into a message of its own.
    filler = "word " * 600

    def __init__(self, resource: Any, address: str) -> None:
        self.resource = resource
        self.address = address
        # Further lines of its table.
        self.more = ""
        # What people write on Telegram with a number; it must begin with "m<number>".
        self.text: Callable[[int], str] = "m{}".format

    @abc.abstractmethod
    def config(self) -> str:
        """Its tables of the configuration."""

    @abc.abstractmethod
    def environ(self) -> dict[str, str]:
        """The variables of its secrets."""

    @abc.abstractmethod
    def say(self, number: int, place: int) -> None:
        """A person writes "m<number>" in one of the conversations."""

    @abc.abstractmethod
    def asked(self) -> Sequence[int]:
        """The numbers that must be answered."""

    @abc.abstractmethod
    def replies(self) -> dict[str, list[str]]:
        """What readers saw, by conversation, in order."""

    @abc.abstractmethod
    def is_acknowledged(self, number: int) -> bool:
        """Whether only the daemon knows of the message now."""

    @abc.abstractmethod
    def row_of(self, number: int) -> tuple[str, str]:
        """Channel and message id under which a message is in the inbox."""

    @abc.abstractmethod
    def watch(self, hook: Hook | None) -> None:
        """Call the hook with everything that the daemon sends, when it "arrived" and when it was "processed"."""

    @abc.abstractmethod
    def slow(self, seconds: float, *, before: bool) -> None:
        """Every reply takes so long, before or after it is shown, until `calm`."""

    @abc.abstractmethod
    def calm(self) -> None:
        """No faults any more."""

    @abc.abstractmethod
    def complaints(self) -> list[str]:
        """What a good client never does, and what is broken in the double."""

    @abc.abstractmethod
    def visits(self) -> int:
        """How often the daemon has asked for messages."""

    def note_kill(self, view: StoreView) -> None:  # noqa: B027  not every platform learns from it
        """The daemon is dead and this is in its store."""

    def metrics(self) -> dict[str, int]:
        """Figures of this platform only."""
        return {}

    def has(self, number: int) -> bool:
        """Whether the message was written here."""
        return number in self.asked()


class Telegram(Platform):
    """Long polling."""

    name = "telegram"

    def __init__(self, resource: FakeTelegram) -> None:
        super().__init__(resource, resource.base_url)
        self._said: dict[int, Injected] = {}

    def config(self) -> str:
        """See Platform."""
        chats = [1001 + place for place in range(PLACES)]
        return (
            f'[telegram]\nenabled = true\nbase_url = "{self.address}"\npolling_timeout_s = 20\n'
            f"allowed_chat_ids = {chats}\n{self.more}"
        )

    def environ(self) -> dict[str, str]:
        """See Platform."""
        return {"TELEGRAM_BOT_TOKEN": telegram.TOKEN}

    def say(self, number: int, place: int) -> None:
        """See Platform."""
        self._said[number] = self.resource.say(self.text(number), 1001 + place)

    def asked(self) -> Sequence[int]:
        """See Platform."""
        return list(self._said)

    def replies(self) -> dict[str, list[str]]:
        """See Platform."""
        found: dict[str, list[str]] = defaultdict(list)
        for sent in list(self.resource.messages):
            found[f"telegram {sent.chat_id}"].append(sent.text)
        return found

    def is_acknowledged(self, number: int) -> bool:
        """See Platform."""
        return bool(self.resource.confirmed(self._said[number].update_id))

    def row_of(self, number: int) -> tuple[str, str]:
        """See Platform."""
        said = self._said[number]
        return "telegram", f"{said.chat_id}:{said.message_id}"

    def watch(self, hook: Hook | None) -> None:
        """See Platform."""
        self.resource.on_request = hook

    def slow(self, seconds: float, *, before: bool) -> None:
        """See Platform."""
        self.resource.fault("sendMessage", "delay" if before else "hold", times=None, seconds=seconds)

    def calm(self) -> None:
        """See Platform."""
        self.resource.clear_faults()

    def complaints(self) -> list[str]:
        """See Platform."""
        return [*self.resource.complaints, *self.resource.server.crashes]

    def visits(self) -> int:
        """See Platform."""
        return len(self.resource.calls("getUpdates"))


class Feishu(Platform):
    """A long connection in, REST out; every part carries the `uuid` by which the platform drops a repetition."""

    name = "feishu"
    keeps_keys = True

    def __init__(self, resource: FakeFeishuPlatform) -> None:
        super().__init__(resource, resource.base_url)
        self._said: dict[int, Event] = {}

    def config(self) -> str:
        """See Platform."""
        return f'[feishu]\nenabled = true\nbase_url = "{self.address}"\nallowed_chat_ids = ["*"]\n{self.more}'

    def environ(self) -> dict[str, str]:
        """See Platform."""
        return {"FEISHU_APP_ID": feishu.APP_ID, "FEISHU_APP_SECRET": feishu.APP_SECRET}

    def say(self, number: int, place: int) -> None:
        """See Platform."""
        self._said[number] = self.resource.say(f"m{number}", f"oc_{place}")

    def asked(self) -> Sequence[int]:
        """See Platform."""
        return list(self._said)

    def replies(self) -> dict[str, list[str]]:
        """See Platform."""
        found: dict[str, list[str]] = defaultdict(list)
        for sent in list(self.resource.rest.messages):
            found[f"feishu {sent.chat_id}"].append(sent.text)
        return found

    def is_acknowledged(self, number: int) -> bool:
        """See Platform."""
        return self._said[number].acknowledged

    def row_of(self, number: int) -> tuple[str, str]:
        """See Platform."""
        return "feishu", self._said[number].message_id

    def watch(self, hook: Hook | None) -> None:
        """See Platform."""
        self.resource.rest.on_request = hook
        self.resource.link.on_frame = hook

    def slow(self, seconds: float, *, before: bool) -> None:
        """See Platform."""
        for name in ("send", "reply"):
            self.resource.rest.fault(name, "delay" if before else "hold", times=None, seconds=seconds)

    def calm(self) -> None:
        """See Platform."""
        self.resource.rest.clear_faults()

    def complaints(self) -> list[str]:
        """See Platform."""
        return [*self.resource.complaints, *self.resource.rest.server.crashes]

    def visits(self) -> int:
        """See Platform."""
        return int(self.resource.link.connected)

    def metrics(self) -> dict[str, int]:
        """See Platform."""
        sends = [one for one in self.resource.rest.calls("send", "reply") if one.code == 0]
        pushed = sum(event.pushed for event in self._said.values())
        return {
            "feishu_events_pushed_again": pushed - len(self._said),
            "feishu_repeats_dropped_by_uuid": len(sends) - len(self.resource.rest.messages),
        }


class WeCom(Platform):
    """A long connection both ways; nothing is redelivered, and nothing acknowledges a message.

    `patient` people write only when somebody is there to be written to; there are `people` who may.
    """

    name = "wecom"
    # Its parts are longer than those of the others.
    filler = "word " * 3600

    def __init__(self, resource: FakeWeCom) -> None:
        super().__init__(resource, resource.url)
        self.patient = False
        self.people = PLACES
        self._guard = threading.Lock()
        self._said: dict[int, Question] = {}
        self._unsaid: list[tuple[int, int]] = []
        self._stored: set[int] = set()
        self._not_stored: set[int] = set()
        self._nobody_there: set[int] = set()
        resource.on_subscribed = self._say_what_waits

    def config(self) -> str:
        """See Platform."""
        people = [f"user{place}" for place in range(self.people)]
        return (
            f'[wecom]\nenabled = true\nwebsocket_url = "{self.address}"\nreconnect_interval_s = 1\n'
            f"quota_per_min = 0\nquota_per_hour = 0\nallowed_conversation_ids = {people}\n{self.more}"
        )

    def environ(self) -> dict[str, str]:
        """See Platform."""
        return {"WECOM_BOT_ID": wecom.BOT_ID, "WECOM_SECRET": wecom.SECRET}

    def say(self, number: int, place: int) -> None:
        """See Platform."""
        with self._guard:
            if self.patient and self.resource.owner is None:
                self._unsaid.append((number, place))
            else:
                self._say(number, place)

    def _say(self, number: int, place: int) -> None:
        question = self._said[number] = self.resource.say(f"m{number}", f"user{place}")
        if question.client is None:
            self._nobody_there.add(number)

    def _say_what_waits(self) -> None:
        with self._guard:
            waiting, self._unsaid = self._unsaid, []
            for number, place in waiting:
                self._say(number, place)

    def asked(self) -> Sequence[int]:
        """See Platform."""
        with self._guard:
            gone = self._not_stored | self._nobody_there
            return [number for number in self._said if number not in gone] + [n for n, _ in self._unsaid]

    def replies(self) -> dict[str, list[str]]:
        """See Platform."""
        people = {question.conversation for question in list(self.resource.injected)}
        return {f"wecom {person}": self.resource.texts(person) for person in people}

    def is_acknowledged(self, number: int) -> bool:
        """See Platform."""
        return number in self._stored

    def row_of(self, number: int) -> tuple[str, str]:
        """See Platform."""
        return "wecom", self._said[number].msgid

    def note_kill(self, view: StoreView) -> None:
        """See Platform."""
        with self._guard:
            for number in self._said:
                if self.row_of(number) in view.known:
                    self._stored.add(number)
                elif number not in self._nobody_there:
                    self._not_stored.add(number)

    def watch(self, hook: Hook | None) -> None:
        """See Platform."""
        self.resource.on_request = hook

    def slow(self, seconds: float, *, before: bool) -> None:  # noqa: ARG002  the double only knows one way
        """See Platform."""
        for cmd in ("aibot_respond_msg", "aibot_send_msg"):
            self.resource.delay(cmd, seconds, times=FOREVER)

    def calm(self) -> None:
        """See Platform."""
        self.resource.clear_faults()

    def complaints(self) -> list[str]:
        """See Platform."""
        bubbles: dict[tuple[str, str], list[str]] = defaultdict(list)
        for one in list(self.resource.bubbles.values()):
            bubbles[one.req_id, one.text].append(one.stream_id)
        strange = [key for key, ids in bubbles.items() if len(ids) > 1]
        # A second copy carries the stream id of the first, or is pushed because that one is taken.
        return [*self.resource.complaints, *(f"two bubbles for one text: {key}" for key in strange)]

    def visits(self) -> int:
        """See Platform."""
        return len(self.resource.clients)

    def metrics(self) -> dict[str, int]:
        """See Platform."""
        return {
            "wecom_handed_over_but_not_stored_at_a_kill": len(self._not_stored),
            "wecom_said_while_nobody_was_there": len(self._nobody_there),
        }

    def has(self, number: int) -> bool:
        """See Platform."""
        return number in self._said or number in [n for n, _ in self._unsaid]


ALL = ("telegram", "feishu", "wecom")


@contextlib.contextmanager
def opened(
    names: Sequence[str], *, wecom_replaces: bool = False, speed: float = 1.0
) -> Iterator[list[Platform]]:
    """These platforms, running. `wecom_replaces`: see FakeWeCom.repeats_replace; `speed`: see FakeTelegram."""
    with contextlib.ExitStack() as stack:
        made: dict[str, Callable[[], Platform]] = {
            "telegram": lambda: Telegram(stack.enter_context(FakeTelegram(speed=speed))),
            "feishu": lambda: Feishu(stack.enter_context(FakeFeishuPlatform(speed=SCHEDULE_SPEED))),
            "wecom": lambda: WeCom(
                stack.enter_context(FakeWeCom(per_minute=FOREVER, repeats_replace=wecom_replaces))
            ),
        }
        yield [made[name]() for name in names]
