"""Who may send next, and whose answer has come: the bookkeeping of requests under way. No input or output.

An answer names nothing but the request id. Frames of one reply share that id, so at most one of them is under way at a
time; they form a line per id, in the order in which they came. Different ids do not wait for each other.

An answer that is late could be taken for that of the next frame. So where one is owed, the first that comes counts only
when no second one follows.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import Callable

from loong_channels.faults import Overloaded

from .frames import Frame

__all__ = ["ACK_S", "AckLines", "Ticket"]

# How long an answer may take before the next frame of its line goes.
ACK_S = 5.0
_MAX_IN_LINE = 500
_MAX_LINES = 4096
_SWEEP_ABOVE = 256
_MAX_OWED = 1024


class Ticket:
    """One request. `answer` is set, or `lost`, once it is settled. Nobody waits for one that is `loose`.

    `doubtful` is an answer that may belong to an earlier frame: it counts when no other comes in time. `changed` is set
    whenever its owner should look again.
    """

    def __init__(self, cmd: str, req_id: str, *, loose: bool) -> None:
        self.cmd = cmd
        self.req_id = req_id
        self.loose = loose
        self.changed = threading.Event()
        self.answer: Frame | None = None
        self.doubtful: Frame | None = None
        self.lost = False
        self.sent_at: float | None = None

    @property
    def settled(self) -> bool:
        """True once there is an answer, or will never be one."""
        return self.answer is not None or self.lost


class AckLines:
    """Thread-safe; `_guard` protects the lines. `clock` returns monotonic seconds, an answer is late after `ack_s`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, ack_s: float = ACK_S) -> None:
        self._clock = clock
        self.ack_s = ack_s
        self._guard = threading.Lock()
        self._lines: dict[str, deque[Ticket]] = {}
        # Answers to frames that were given up, by request id.
        self._owed: OrderedDict[str, int] = OrderedDict()
        self._ended = False
        self._swept_at = 0.0

    def join(self, cmd: str, req_id: str) -> Ticket:
        """Stand at the end of a line; a lost ticket after the end. Raises Overloaded when the line is too long."""
        ticket = Ticket(cmd, req_id, loose=False)
        with self._guard:
            if self._ended:
                ticket.lost = True
                return ticket
            line = self._lines.setdefault(req_id, deque())
            if len(line) >= _MAX_IN_LINE:
                raise Overloaded("too many frames of one reply are waiting")
            line.append(ticket)
        return ticket

    def try_join(self, cmd: str, req_id: str) -> Ticket | None:
        """A loose ticket that may be sent at once; None when its line, or everything, is busy."""
        with self._guard:
            if self._ended:
                return None
            if len(self._lines) > _SWEEP_ABOVE and self._clock() - self._swept_at >= self.ack_s / 5:
                self._sweep()
            self._drop_overdue(req_id)
            if req_id in self._lines or len(self._lines) >= _MAX_LINES:
                return None
            ticket = Ticket(cmd, req_id, loose=True)
            self._lines[req_id] = deque([ticket])
            return ticket

    def turn_in_s(self, ticket: Ticket) -> float:
        """0 when it is the ticket's turn to be sent, else how long to wait before looking again."""
        with self._guard:
            self._drop_overdue(ticket.req_id)
            line = self._lines.get(ticket.req_id)
            if not line or line[0] is ticket:
                return 0.0
            head = line[0]
            if head.loose and head.sent_at is not None:
                return max(0.001, head.sent_at + self.ack_s - self._clock())
            return self.ack_s

    def sent(self, ticket: Ticket) -> None:
        """The frame left."""
        ticket.sent_at = self._clock()

    def leave(self, ticket: Ticket) -> None:
        """Wait no longer for an answer, or for a turn."""
        with self._guard:
            self._give_up(ticket)

    @property
    def is_awaited(self) -> bool:
        """True while somebody waits for an answer."""
        with self._guard:
            return any(not ticket.loose for line in self._lines.values() for ticket in line)

    def answered(self, frame: Frame) -> Ticket | None:
        """Settle the request that a frame answers; None when it answers none."""
        with self._guard:
            line = self._lines.get(frame.req_id)
            ticket = line[0] if line else None
            if ticket is None or ticket.sent_at is None:
                if not frame.cmd:
                    self._was_owed(frame.req_id)
                return None
            if frame.cmd and frame.cmd != ticket.cmd:
                return None
            if self._was_owed(frame.req_id):
                ticket.doubtful = frame
                return ticket
            ticket.answer = frame
            self._remove(ticket)
        ticket.changed.set()
        return ticket

    def end(self) -> None:
        """Settle everything, and whatever comes later, as lost."""
        with self._guard:
            self._ended = True
            tickets = [ticket for line in self._lines.values() for ticket in line]
            self._lines.clear()
        for ticket in tickets:
            ticket.lost = True
            ticket.changed.set()

    def look_again(self) -> None:
        """Wake everybody who waits."""
        with self._guard:
            tickets = [ticket for line in self._lines.values() for ticket in line if not ticket.loose]
        for ticket in tickets:
            ticket.changed.set()

    def _remove(self, ticket: Ticket) -> bool:
        """Whether it was there."""
        line = self._lines.get(ticket.req_id)
        if line is None or ticket not in line:
            return False
        line.remove(ticket)
        if line:
            line[0].changed.set()
        else:
            del self._lines[ticket.req_id]
        return True

    def _drop_overdue(self, req_id: str) -> None:
        """Nobody waits for a loose ticket, so nobody else takes it out of the line when its answer is lost."""
        line = self._lines.get(req_id)
        if line and line[0].loose and self._is_overdue(line[0]):
            self._give_up(line[0])

    def _give_up(self, ticket: Ticket) -> None:
        """Take a ticket out of its line; when its frame left, its answer may still come."""
        # One that took a doubtful answer for its own is not counted, or every later frame would have to doubt.
        if self._remove(ticket) and ticket.sent_at is not None and ticket.doubtful is None:
            self._owed[ticket.req_id] = self._owed.get(ticket.req_id, 0) + 1
            if len(self._owed) > _MAX_OWED:
                self._owed.popitem(last=False)

    def _was_owed(self, req_id: str) -> bool:
        owed = self._owed.pop(req_id, 0)
        if owed > 1:
            self._owed[req_id] = owed - 1
        return owed > 0

    def _is_overdue(self, ticket: Ticket) -> bool:
        return ticket.sent_at is not None and self._clock() - ticket.sent_at >= self.ack_s

    def _sweep(self) -> None:
        self._swept_at = self._clock()
        for req_id in list(self._lines):
            self._drop_overdue(req_id)
