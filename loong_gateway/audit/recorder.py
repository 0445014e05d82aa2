"""Takes what is to be recorded, at once and from any thread; a thread that exists while there is work writes it."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from loong_channels.waiting import Deadline
from loong_gateway.audit.journal import Journal, Record
from loong_gateway.base.pool import Pool
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import one_line

__all__ = ["AuditFacts", "Recorder", "plain"]

logger = logging.getLogger("loong.audit")

MOST_WAITING = 1000
MOST_AT_ONCE = 100
# What may come with every message: the same is recorded once in this time, with how many before it were not.
REPEATING = ("AuthorizationDenied", "ProviderFailover")
REPEATED_EVERY_S = 60.0
MOST_REPEATED = 256
MOST_FACTS = 24
LONGEST_FACT = 200


@dataclass(frozen=True)
class AuditFacts:
    """What a recorder has done. `trouble` says why nothing can be written now, "" when it can."""

    path: str
    events: int
    last_event_ms: int | None
    lost: int
    trouble: str


class Recorder:
    """Implements control.audit.Audit. Thread-safe; `_guard` protects the queue and the counts.

    What the disk refuses waits, up to MOST_WAITING records, and is tried again by the next record and by `look`.
    """

    def __init__(self, journal: Journal, threads: ThreadRegistry) -> None:
        self._journal = journal
        self._pool = Pool("audit", threads, threads=1, waiting=2, weight=0)
        self._guard = threading.Lock()
        self._waiting: deque[Record] = deque()
        self._repeated: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._is_scheduled = False
        self._events = 0
        self._last_ms: int | None = None
        self._lost = 0
        self._lost_untold = 0
        self._trouble = ""

    def record(self, kind: str, facts: Mapping[str, object], *, agent: str | None = None) -> None:
        """See control.audit.Audit."""
        cleaned = plain(facts)
        with self._guard:
            if kind in REPEATING and not self._is_news(f"{kind} {sorted(cleaned.items())!r}", cleaned):
                return
            if len(self._waiting) >= MOST_WAITING:
                self._lost += 1
                self._lost_untold += 1
                return
            who = None if agent is None else one_line(agent, LONGEST_FACT)
            self._waiting.append((kind, cleaned, who, int(time.time())))
        self._schedule()

    def facts(self) -> AuditFacts:
        """What has been done until now."""
        with self._guard:
            return AuditFacts(self._journal.path, self._events, self._last_ms, self._lost, self._trouble)

    def look(self) -> None:
        """Try again what the disk refused; returns at once."""
        if self._waiting:
            self._schedule()

    def close(self, deadline: Deadline) -> None:
        """Write what waits. Blocks until the deadline; what is left then is lost, and the log says so."""
        self.look()
        self._pool.close(deadline)
        if self._waiting:
            logger.warning("%d records of the audit journal could not be written", len(self._waiting))

    def _is_news(self, key: str, facts: dict[str, object]) -> bool:
        """Whether this is recorded; its facts then say how many like it were not. Holds `_guard`."""
        now = time.monotonic()
        since, held_back = self._repeated.get(key, (0.0, 0))
        if since and now - since < REPEATED_EVERY_S:
            self._repeated[key] = (since, held_back + 1)
            return False
        self._repeated[key] = (now, 0)
        self._repeated.move_to_end(key)
        if len(self._repeated) > MOST_REPEATED:
            self._repeated.popitem(last=False)
        if held_back:
            facts["repeated"] = held_back
        return True

    def _schedule(self) -> None:
        with self._guard:
            if self._is_scheduled:
                return
            self._is_scheduled = True
        if not self._pool.submit(self._write):
            with self._guard:
                self._is_scheduled = False

    def _write(self) -> None:
        while True:
            with self._guard:
                batch = [self._waiting[n] for n in range(min(MOST_AT_ONCE, len(self._waiting)))]
                lost = self._lost_untold
                if not batch:
                    self._is_scheduled = False
                    return
            try:
                self._journal.append(batch, lost=lost)
            except Exception as error:  # noqa: BLE001 - whatever a disk does, those who record must not notice
                self._failed(error)
                return
            self._written(len(batch), lost)

    def _written(self, count: int, lost: int) -> None:
        with self._guard:
            for _ in range(count):
                self._waiting.popleft()
            self._events += count
            self._last_ms = int(time.time() * 1000)
            self._lost_untold -= lost
            recovered, self._trouble = bool(self._trouble), ""
        if recovered:
            logger.info("the audit journal can be written again")

    def _failed(self, error: Exception) -> None:
        reason = one_line(getattr(error, "strerror", None) or type(error).__name__)
        with self._guard:
            self._is_scheduled = False
            is_news, self._trouble = self._trouble != reason, reason
        if is_news:
            logger.warning("the audit journal %s cannot be written: %s", self._journal.path, reason)


def plain(facts: Mapping[str, object]) -> dict[str, object]:
    """What of `facts` is kept: names, numbers and truths, texts of one line and bounded, nothing below one list."""
    return {str(name)[:LONGEST_FACT]: _plain(value) for name, value in list(facts.items())[:MOST_FACTS]}


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value if not isinstance(value, int) or -(1 << 53) < value < 1 << 53 else str(value)[:40]
    if isinstance(value, (list, tuple)):
        return [_plain(one) if not isinstance(one, (list, tuple)) else "..." for one in value[:MOST_FACTS]]
    return one_line(str(value).encode("utf-8", "replace").decode("utf-8"), LONGEST_FACT)
