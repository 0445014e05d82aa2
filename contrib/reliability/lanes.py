"""One channel under forced disconnects: the ways to break its connection, and how long it may take to come back.

All times named `_s` are seconds of the daemon's own clock, which may run faster than ours.
"""

from __future__ import annotations

import abc
import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from tests.fakes.line import Line
from tests.waiting import wait_until

from .platforms import Feishu, Platform, Telegram, WeCom

__all__ = ["KINDS", "Fault", "Lane", "lane_of"]

KINDS = ("reset", "black_hole", "close", "kicked", "refused")
# Whatever stands in front of a platform: its answer to a request or a handshake.
PROXY_PAGE = (
    "HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"
)
# After what only a person can change, and where the app has all the connections that it may have.
SLOW_S = 300.0
CONFLICT_STEP_S = 10.0
LONGEST_CONFLICT_S = 60.0
POLL_S = 20.0
PING_S = 10.0
FEISHU_PATIENCE_S = 20.0
FEISHU_LOOK_S = 5.0
WECOM_PING_S = 5.0
WECOM_LOOK_S = 0.5
TELEGRAM_GRACE_S = 12.0
RECLAIM_S = 60.0
LONGEST_RECLAIM_S = 600.0
STRANGER = 666
POLL_LOOK_S = 0.002
POLL_WAIT_S = 5.0


class Fault:
    """A disconnect. `failures` are how many attempts it spoils before it is over, the connection among them; `found_s`
    is how long the daemon may take to notice, `wait_s` how long it may wait before the attempt that works. `at` is when
    it struck, where that was not at once.
    """

    def __init__(
        self, kind: str, *, found_s: float = 0.0, wait_s: float, failures: int = 1, at: float | None = None
    ) -> None:
        self.kind = kind
        self.at = at
        self.found_s = found_s
        self.wait_s = wait_s
        self.failures = failures


class Lane(abc.ABC):
    """A platform behind a line. `acks` are when it took us for connected, by our monotonic clock: from when to when it
    dealt with what we said.
    """

    # How often the kinds come, in relation to each other.
    weights: ClassVar[dict[str, float]] = dict.fromkeys(KINDS, 1.0)
    interval_s: float

    def __init__(self, platform: Platform, port: int) -> None:
        self.platform: Any = platform
        self.line = Line(port)
        # Whether faults that cost minutes by rule are among the faults.
        self.slow_ones = True
        self.acks: list[tuple[float, float]] = []

    def close(self) -> None:
        """Take the line away."""
        self.line.__exit__()

    def acknowledged(self, since: float | None = None) -> None:
        """The platform has just taken us for connected, by what came at `since`."""
        now = time.monotonic()
        self.acks.append((now if since is None else since, now))

    def back_at(self, after: float) -> float | None:
        """When we were first taken for connected by what came after a moment; None when we were not yet."""
        return next((at for since, at in reversed(self._recent(after)) if since > after), None)

    def _recent(self, after: float) -> list[tuple[float, float]]:
        """Those that may be meant, the newest first."""
        found = []
        for ack in reversed(list(self.acks)):
            if ack[1] <= after:
                break
            found.append(ack)
        return found

    def kind(self, chance: random.Random) -> str:
        """The next fault."""
        return chance.choices(list(self.weights), list(self.weights.values()))[0]

    def strike(self, kind: str, chance: random.Random) -> Fault:
        """Break the connection."""
        if kind == "reset":
            self.line.reset()
            return Fault(kind, wait_s=self.interval_s)
        if kind == "black_hole":
            self.line.swallow()
            return Fault(kind, found_s=self.liveness_s(), wait_s=self.interval_s)
        if kind == "close":
            self.end(chance)
            return Fault(kind, wait_s=self.interval_s, at=time.monotonic())
        return self.kick(chance) if kind == "kicked" else self.refuse(chance)

    def relent(self) -> float | None:
        """End what does not end by itself; the moment, None when there was nothing of the kind."""
        if self.line.listens:
            return None
        self.line.listen()
        return time.monotonic()

    @abc.abstractmethod
    def liveness_s(self) -> float:
        """How long silence may last before it is noticed."""

    @abc.abstractmethod
    def end(self, chance: random.Random) -> None:
        """The platform ends the connection in an orderly way."""

    @abc.abstractmethod
    def kick(self, chance: random.Random) -> Fault:
        """The platform throws us out."""

    def refuse(self, chance: random.Random) -> Fault:
        """The connection is lost, and the first attempt after that fails."""
        status = chance.choice(("500", "502", "403", ""))
        if status:
            self.line.answer_next(PROXY_PAGE.format(status=status).encode())
        else:
            self.line.refuse()
        self.line.reset()
        return Fault("refused", wait_s=self.interval_s, failures=2)


class TelegramLane(Lane):
    """Every fault hits polls and sends alike."""

    interval_s = 1.0

    def __init__(self, platform: Telegram) -> None:
        super().__init__(platform, platform.resource.server.port)
        platform.address = f"http://127.0.0.1:{self.line.port}"
        platform.more = ""
        platform.watch(self._look)
        self._kicks = 0

    def _look(self, request: Any, phase: str) -> None:
        if phase == "processed" and request.method == "getupdates" and request.status == 200:
            self.acknowledged(request.at)

    def liveness_s(self) -> float:
        """See Lane."""
        return POLL_S + TELEGRAM_GRACE_S

    def end(self, chance: random.Random) -> None:
        """See Lane."""
        if chance.random() < 0.5:
            self.line.hang_up()
        else:
            # The next answer is cut in the middle. Strangers write, so that there is one.
            fake = self.platform.resource
            order = fake.fault("getUpdates", "truncated")
            fake.say("let me in", STRANGER)
            wait_until(lambda: order.hits, POLL_WAIT_S, "the next poll", pause_s=POLL_LOOK_S)
            fake.say("let me in", STRANGER)

    def kick(self, chance: random.Random) -> Fault:  # noqa: ARG002
        """See Lane."""
        fake = self.platform.resource
        wait_until(fake.poll_elsewhere, POLL_WAIT_S, "a poll that waits", pause_s=POLL_LOOK_S)
        # Conflicts in a row may add up; and only a poll that waits its full time shows that the other one has gone.
        self._kicks += 1
        wait_s = min(LONGEST_CONFLICT_S, CONFLICT_STEP_S * self._kicks)
        return Fault("kicked", wait_s=wait_s + POLL_S)


class FeishuLane(Lane):
    """The long connection has the line; requests, the one for an endpoint among them, go another way."""

    interval_s = 5.0

    def __init__(self, platform: Feishu) -> None:
        link = platform.resource.link
        super().__init__(platform, link.server.port)
        link.public_port = self.line.port
        link.config["PingInterval"] = int(PING_S)
        link.on_frame = self._look
        self._known = 0

    def _look(self, _frame: object, phase: str) -> None:
        connected = self.platform.resource.link.connected
        if phase == "processed" and connected != self._known:
            self._known = connected
            self.acknowledged()

    def liveness_s(self) -> float:
        """See Lane."""
        return PING_S + FEISHU_PATIENCE_S + FEISHU_LOOK_S

    def end(self, chance: random.Random) -> None:
        """See Lane."""
        self.platform.resource.link.link().connection.close(chance.choice((1000, 1001, 1011)))

    def kick(self, chance: random.Random) -> Fault:
        """See Lane."""
        if not self.slow_ones or chance.random() < 0.8:
            self.platform.resource.link.link().connection.close(1011, "kicked")
            return Fault("kicked", wait_s=self.interval_s)
        self.platform.resource.rest.refuse("endpoint", 1000040350, "connection limit", status=200)
        self.line.reset()
        return Fault("kicked", wait_s=SLOW_S, failures=2)

    def refuse(self, chance: random.Random) -> Fault:
        """See Lane."""
        rest = self.platform.resource.rest
        kind = chance.choices(("500", "502", "line", "forbidden"), (4, 4, 6, int(self.slow_ones)))[0]
        if kind == "line":
            return super().refuse(chance)
        if kind == "500":
            rest.refuse("endpoint", 1, "system busy", status=500)
        elif kind == "502":
            rest.fault("endpoint", "html")
        else:
            rest.refuse("endpoint", 403, "forbidden", status=200)
        self.line.reset()
        wait_s = SLOW_S if kind == "forbidden" else self.interval_s
        return Fault("refused", wait_s=wait_s, failures=2)


class WeComLane(Lane):
    """A takeover costs a minute at least, and twice as long each time, so there are fewer of them."""

    interval_s = 1.0
    weights: ClassVar[dict[str, float]] = {**dict.fromkeys(KINDS, 1.0), "kicked": 0.25}

    def __init__(self, platform: WeCom) -> None:
        super().__init__(platform, platform.resource.server.port)
        platform.address = f"ws://127.0.0.1:{self.line.port}/"
        platform.more = f"ping_interval_s = {WECOM_PING_S:g}\n"
        say_what_waits = platform.resource.on_subscribed

        def subscribed() -> None:
            self.acknowledged()
            say_what_waits()

        platform.resource.on_subscribed = subscribed
        self._kicks = 0

    def liveness_s(self) -> float:
        """See Lane."""
        return 3 * (WECOM_PING_S + WECOM_LOOK_S)

    def end(self, chance: random.Random) -> None:
        """See Lane."""
        self.platform.resource.close_all(chance.choice((1000, 1001, 1011)))

    def kick(self, chance: random.Random) -> Fault:  # noqa: ARG002
        """See Lane."""
        wait_s = min(LONGEST_RECLAIM_S, RECLAIM_S * 2.0**self._kicks)
        self._kicks += 1
        self.platform.resource.kick()
        return Fault("kicked", wait_s=wait_s)


@contextlib.contextmanager
def lane_of(platform: Platform) -> Iterator[Lane]:
    """The lane for a platform; it changes where the platform is found, so the configuration is written after it."""
    makers: dict[str, Any] = {"telegram": TelegramLane, "feishu": FeishuLane, "wecom": WeComLane}
    lane: Lane = makers[platform.name](platform)
    try:
        yield lane
    finally:
        lane.close()
