"""All connections that have said hello: what happens is told to those who may hear it, and they are kept alive.

While nobody is connected there is no timer and nobody listens to the bus.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable

from loong_channels.waiting import Deadline
from loong_gateway.base.bus import GATEWAY_CHANGED, Bus, Event, Numbered
from loong_gateway.base.pool import Pool
from loong_gateway.base.timers import Timers
from loong_gateway.config.snapshot import WsSettings

from .calls import READ
from .events import EVENTS
from .frames import event as frame_of
from .health import HealthBoard
from .member import Make, Member
from .presence import Presence

__all__ = ["RESTART", "Hub"]

logger = logging.getLogger("loong.rpc")

HEALTH_MS = 60_000
# How every client is told that the port closes: https://www.iana.org/assignments/websocket/websocket.xhtml
RESTART = (1012, "service restart")
SETTLE_S = 0.25


class Hub:
    """Thread-safe. `_changed` protects the members, the timers and the link to the bus.

    The bus's own lock is taken under it, for a moment, to listen and to leave.
    """

    def __init__(
        self,
        bus: Bus,
        health: HealthBoard,
        presence: Presence,
        *,
        pool: Pool,
        timers: Timers,
        settings: WsSettings,
        wall_ms: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._health = health
        self._presence = presence
        self._pool = pool
        self._timers = timers
        self._settings = settings
        self._wall_ms = wall_ms
        self._changed = threading.Condition()
        self._members: tuple[Member, ...] = ()
        self._leave_bus: Callable[[], None] | None = None
        self._repeated: list[Callable[[], None]] = []
        self._look_due = False
        self._closing = False

    def join(self, member: Member) -> bool:
        """Tell a connection of everything from now on; False when the port closes."""
        with self._changed:
            if self._closing:
                return False
            self._members = (*self._members, member)
            if self._leave_bus is None:
                self._leave_bus = self._bus.listen(self._on_event)
                self._repeat()
        if self._presence.came(member):
            self._tell_presence()
        return True

    def leave(self, member: Member) -> None:
        """Forget a connection."""
        with self._changed:
            self._members = tuple(one for one in self._members if one is not member)
            if not self._members and self._leave_bus is not None:
                self._leave_bus()
                self._leave_bus = None
                for end in self._repeated:
                    end()
                self._repeated.clear()
            self._changed.notify_all()
        member.leave()
        if self._presence.left(member):
            self._tell_presence()

    def close_all(self, wanted: Callable[[Member], bool], code: int, reason: str) -> int:
        """Say good-bye to some; returns how many they were."""
        members = [member for member in self._members if wanted(member)]
        for member in members:
            member.close(code, reason)
        return len(members)

    def close(self, deadline: Deadline) -> None:
        """Let nobody in any more, say good-bye to all, and cut those who do not answer by the deadline. Blocks."""
        with self._changed:
            self._closing = True
        self.close_all(lambda _: True, *RESTART)
        with self._changed:
            self._changed.wait_for(lambda: not self._members, deadline.remaining())
        for member in self._members:
            member.abort()

    def note_presence(self) -> None:
        """Tell everyone who is there: something about it has changed."""
        self._tell_presence()

    def _on_event(self, numbered: Numbered) -> None:
        event = numbered.event
        if event.name == GATEWAY_CHANGED:
            self._look_soon()
        if event.name not in EVENTS:
            return
        listeners = [member for member in self._members if member.hears(event)]
        if not listeners:
            return
        make = self._frame(event)
        for member in listeners:
            member.deliver(make, droppable=event.droppable)

    def _frame(self, event: Event) -> Make:
        if event.name not in ("health", "presence"):
            return frame_of(event.name, event.payload)
        # Taken at this moment, so that a document never comes with the number of another one.
        people, presence = self._presence.stamped()
        document, health = self._health.stamped()
        payload = {"presence": people} if event.name == "presence" else document
        return frame_of(event.name, payload, {"presence": presence, "health": health})

    def _tell_presence(self) -> None:
        payload = {"presence": self._presence.stamped()[0]}
        self._bus.publish(Event("presence", payload, scope=READ, droppable=True, is_kept=False))

    # What is due

    def _repeat(self) -> None:
        """Begin what is done again and again while there are members. Holds the guard."""
        settings = self._settings
        for every_ms, action in (
            (settings.tick_interval_ms, self._tick),
            (settings.ping_interval_ms, self._ping),
            (HEALTH_MS, self._look),
        ):
            self._repeated.append(self._timers.every(every_ms / 1000, action))

    def _tick(self) -> None:
        make = frame_of("tick", {"ts": self._wall_ms()})
        for member in self._members:
            member.deliver(make, droppable=True)

    def _ping(self) -> None:
        for member in self._members:
            member.ping()

    def _look(self) -> None:
        """Tell the health as it is, for whoever has missed a change."""
        if self._presence.forget():
            self._tell_presence()
        self._submit(lambda: self._tell_health(always=True))

    def _look_soon(self) -> None:
        """Look at the health when what happens has settled. Called within an event, so it may not look now."""
        with self._changed:
            if self._look_due:
                return
            self._look_due = True
        try:
            self._timers.later(SETTLE_S, self._look_at_change)
        except RuntimeError:
            # The next change tries again.
            logger.warning("no thread for what is due: the system gives no more")
            self._look_due = False

    def _look_at_change(self) -> None:
        with self._changed:
            self._look_due = False
        self._submit(lambda: self._tell_health(always=False))

    def _submit(self, look: Callable[[], None]) -> None:
        # It looks into the store, for which whoever keeps the time may not wait.
        if self._members and not self._pool.submit(look):
            logger.info("the health could not be looked at: the port is busy")

    def _tell_health(self, *, always: bool) -> None:
        if self._health.refresh() or always:
            document, _ = self._health.stamped()
            self._bus.publish(Event("health", document, scope=None, droppable=True, is_kept=False))
