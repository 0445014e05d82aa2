"""Events of this gateway, told to whoever listens at the moment, and the last of them for whoever looks later."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["GATEWAY_CHANGED", "Bus", "Event", "Numbered", "StaleCursor"]

logger = logging.getLogger("loong.bus")

KEPT = 256
# How many characters the kept events may have in all; the newest one is kept however long it is.
KEPT_CHARS = 8 << 20
# The status document is another one now; not for clients, who are told what follows from it.
GATEWAY_CHANGED = "gateway.changed"

Listener = Callable[["Numbered"], None]


@dataclass(frozen=True)
class Event:
    """Something that happened. `payload` holds JSON values, no secrets, and is not changed once published.

    `scope` is what a client needs to be told, None for everyone. A `droppable` event may be left out for a client that
    does not keep up: the next one of its name says all that this one did. `is_kept` False leaves it out of the last
    ones: it only means something while it is new.
    """

    name: str
    payload: Mapping[str, object]
    scope: str | None = "operator.read"
    droppable: bool = False
    is_kept: bool = True


@dataclass(frozen=True)
class Numbered:
    """An event with its moment and its number on this bus: from 1 on without gaps, 0 for one that is not kept."""

    seq: int
    at_ms: int
    event: Event


class StaleCursor(Exception):
    """Raised when events that were asked for are not kept any more."""


class Bus:
    """Thread-safe; `_guard` protects the list of listeners and the last 256 events, fewer when they are long.

    A listener is called in the publisher's thread, in the order of publishing, with `_order` held so that numbers
    arrive in order: it must be quick, must not block and must not publish.
    """

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._order = threading.Lock()
        self._guard = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._last: deque[tuple[Numbered, int]] = deque()
        self._chars = 0
        self._seq = 0

    @property
    def has_listeners(self) -> bool:
        """Whether somebody would hear of an event now; what is costly to make need not be made otherwise."""
        return bool(self._listeners)

    def publish(self, event: Event) -> None:
        """Tell everyone who listens. A listener that fails is logged and does not keep it from the others."""
        chars = _chars(event.payload) if event.is_kept else 0
        with self._order:
            with self._guard:
                self._seq += event.is_kept
                numbered = Numbered(self._seq if event.is_kept else 0, self._wall_ms(), event)
                if event.is_kept:
                    self._keep(numbered, chars)
                listeners = self._listeners
            for listener in listeners:
                try:
                    listener(numbered)
                except Exception:
                    # One client's bug is not the others'.
                    logger.exception("a listener failed at %s", event.name)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event from now on; returns what ends that."""
        with self._guard:
            self._listeners = (*self._listeners, listener)

        def leave() -> None:
            with self._guard:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

        return leave

    def since(self, seq: int) -> Sequence[Numbered]:
        """The kept events after number `seq`, oldest first; raises StaleCursor when some are gone."""
        with self._guard:
            first = self._last[0][0].seq if self._last else self._seq + 1
            if seq < first - 1 or seq > self._seq:
                raise StaleCursor
            return [numbered for numbered, _ in self._last if numbered.seq > seq]

    def newest(self, limit: int) -> Sequence[Numbered]:
        """The newest kept events, oldest first, at most `limit`."""
        with self._guard:
            return [numbered for numbered, _ in self._last][-limit:]

    @property
    def last_seq(self) -> int:
        """The number of the newest kept event, 0 when there was none."""
        return self._seq

    def _keep(self, numbered: Numbered, chars: int) -> None:
        """Holds the guard."""
        self._last.append((numbered, chars))
        self._chars += chars
        while len(self._last) > KEPT or (self._chars > KEPT_CHARS and len(self._last) > 1):
            self._chars -= self._last.popleft()[1]


def _chars(value: object) -> int:
    """How long the texts in a JSON value are together."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_chars, value.values()))
    return sum(map(_chars, value)) if isinstance(value, (list, tuple)) else 0
