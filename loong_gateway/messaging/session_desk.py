"""The conversations that are remembered, for people who look at them through the port."""

from __future__ import annotations

import builtins
import heapq
from collections.abc import Sequence
from dataclasses import replace

from loong_gateway.base.bus import Bus
from loong_gateway.base.clock import Clock
from loong_gateway.control.sessions import SessionInfo, SessionPage, Transcript, TranscriptMessage
from loong_gateway.messaging.memory import Summaries
from loong_gateway.messaging.run_events import injected
from loong_gateway.messaging.sessions import address_of_key, display_name, kind_of, session_keys
from loong_gateway.storage import transcripts, usage
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.store import Store
from loong_gateway.storage.transcripts import SessionRow
from loong_gateway.storage.usage import UsageRow

__all__ = ["SessionDesk"]

AGENTS = "agent:"
OWN = "agent:main"
MAIN = "main"
PREVIEW_CHARACTERS = 200
SEARCHED_AT_ONCE = 2000


class SessionDesk:
    """Implements control.sessions.Sessions. Stateless, so thread-safe."""

    def __init__(self, store: Store, clock: Clock, bus: Bus, summaries: Summaries | None = None) -> None:
        self._store = store
        self._clock = clock
        self._bus = bus
        self._summaries = summaries

    def resolve(self, given: str) -> str | None:
        """See control.sessions.Sessions."""
        text = given.strip()
        if text.startswith(AGENTS):
            agent, _, rest = text[len(AGENTS) :].partition(":")
            if f"{AGENTS}{agent}" != OWN:
                return None
            text = text if rest else MAIN
        keys = session_keys(text or MAIN)
        if len(keys) == 1:
            return keys[0]
        return self._store.read(
            lambda conn: next((key for key in keys if transcripts.is_known(conn, key)), keys[0])
        )

    def list(
        self,
        *,
        limit: int,
        offset: int = 0,
        search: str = "",
        active_since_ms: int = 0,
        previews: bool = False,
        archived: bool = True,
    ) -> SessionPage:
        """See control.sessions.Sessions."""
        if search:
            return self._search(search.casefold(), limit, offset, active_since_ms, previews=previews)

        def look(conn: Connection) -> SessionPage:
            page = transcripts.routes(conn, limit, offset, since_ms=active_since_ms, archived=archived)
            total = transcripts.count_routes(conn, since_ms=active_since_ms, archived=archived)
            return SessionPage(tuple(_info(conn, row, preview=previews) for row in page), total)

        return self._store.read(look)

    def _search(self, wanted: str, limit: int, offset: int, since_ms: int, *, previews: bool) -> SessionPage:
        # Shown names are not in the store, so all are looked at: some at a time, so that others may read in between.
        latest: builtins.list[tuple[int, int, str]] = []
        total = number = 0
        while True:
            some = self._store.read(
                lambda conn, after=number: transcripts.routes_after(  # type: ignore[misc]
                    conn, after, SEARCHED_AT_ONCE, since_ms=since_ms
                )
            )
            for n, last_ms, route in some:
                if wanted in f"{route}\n{display_name(route)}".casefold():
                    total += 1
                    heapq.heappush(latest, (last_ms, n, route))
                    if len(latest) > offset + limit:
                        heapq.heappop(latest)
            if len(some) < SEARCHED_AT_ONCE:
                break
            number = some[-1][0]
        keys = [route for _, _, route in sorted(latest, reverse=True)[offset:]]

        def look(conn: Connection) -> SessionPage:
            rows = (transcripts.route(conn, key) for key in keys)
            return SessionPage(
                tuple(_info(conn, row, preview=previews) for row in rows if row is not None), total
            )

        return self._store.read(look)

    def describe(self, key: str, *, preview: bool = False) -> SessionInfo | None:
        """See control.sessions.Sessions."""

        def look(conn: Connection) -> SessionInfo | None:
            row = transcripts.route(conn, key)
            return None if row is None else _info(conn, row, preview=preview)

        return self._store.read(look)

    def history(
        self, key: str, *, limit: int, before: int | None = None, max_bytes: int = 6 << 20
    ) -> Transcript:
        """See control.sessions.Sessions."""
        return self._store.read(lambda conn: _history(conn, key, limit, before, max_bytes))

    def previews(self, keys: Sequence[str], *, limit: int, max_chars: int) -> Sequence[Transcript]:
        """See control.sessions.Sessions."""

        def look(conn: Connection) -> builtins.list[Transcript]:
            return [_cut(_history(conn, key, limit, None, 1 << 20), max_chars) for key in keys]

        return self._store.read(look)

    def reset(self, key: str) -> str:
        """See control.sessions.Sessions."""
        now_ms = self._clock.wall_ms()
        return self._store.write(lambda conn: transcripts.start_new(conn, key, now_ms))

    def delete(self, key: str) -> bool:
        """See control.sessions.Sessions."""
        return self._store.write(lambda conn: transcripts.forget(conn, key))

    def archive(self, key: str, *, undo: bool = False) -> bool:
        """See control.sessions.Sessions."""
        now_ms = None if undo else self._clock.wall_ms()
        return self._store.write(lambda conn: transcripts.archive(conn, key, now_ms))

    def fork(self, key: str, target: str) -> int:
        """See control.sessions.Sessions."""
        now_ms = self._clock.wall_ms()
        return self._store.write(lambda conn: transcripts.copy(conn, key, target, now_ms))

    def compact(self, key: str) -> bool:
        """See control.sessions.Sessions."""
        return self._summaries is not None and self._summaries.compact(key)

    def usage(self, key: str) -> Sequence[UsageRow]:
        """See control.sessions.Sessions."""
        return self._store.read(lambda conn: usage.of_session(conn, key))

    def usage_by_day(self, days: int) -> Sequence[UsageRow]:
        """See control.sessions.Sessions."""
        now_ms = self._clock.wall_ms()
        return self._store.read(lambda conn: usage.of_days(conn, days, now_ms))

    def inject(self, key: str, text: str, *, role: str = "assistant") -> int:
        """See control.sessions.Sessions."""
        now_ms = self._clock.wall_ms()

        def add(conn: Connection) -> int:
            return transcripts.append(conn, transcripts.active_session(conn, key), [(role, text)], now_ms)

        number = self._store.write(add)
        if role == "assistant":
            self._bus.publish(injected(self._clock, key, number, text))
        return number


def _info(conn: Connection, row: SessionRow, *, preview: bool) -> SessionInfo:
    address = address_of_key(row.route)
    last = transcripts.history(conn, row.id, 1)[0] if preview else []
    return SessionInfo(
        key=row.route,
        session_id=row.id,
        kind=kind_of(row.route),
        channel="" if address is None else address.channel,
        display_name=display_name(row.route),
        started_ms=row.started_ms,
        updated_ms=row.last_ms,
        messages=row.messages,
        preview=last[0].text[:PREVIEW_CHARACTERS] if last else "",
        archived_ms=row.archived_ms,
    )


def _history(conn: Connection, key: str, limit: int, before: int | None, max_bytes: int) -> Transcript:
    row = transcripts.route(conn, key)
    if row is None:
        return Transcript(key, None, (), 0, has_more=False)
    found, total = transcripts.history(conn, row.id, limit + 1, before)
    kept: builtins.list[TranscriptMessage] = []
    left = max_bytes
    for message in reversed(found[-limit:]):
        left -= len(message.text.encode("utf-8"))
        if left < 0:
            break
        kept.append(TranscriptMessage(message.number, message.role, message.text, message.at_ms))
    return Transcript(key, row.id, tuple(reversed(kept)), total, has_more=len(kept) < len(found))


def _cut(transcript: Transcript, characters: int) -> Transcript:
    messages = tuple(replace(message, text=message.text[:characters]) for message in transcript.messages)
    return replace(transcript, messages=messages)
