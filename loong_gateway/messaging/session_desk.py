"""The conversations that are remembered, for people who look at them through the port."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace

from loong_gateway.base.clock import Clock
from loong_gateway.control.sessions import SessionInfo, SessionPage, Transcript, TranscriptMessage
from loong_gateway.messaging.sessions import address_of_key, display_name, kind_of, session_keys
from loong_gateway.storage import transcripts
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.store import Store
from loong_gateway.storage.transcripts import SessionRow

__all__ = ["SessionDesk"]

AGENTS = "agent:"
OWN = "agent:main"
MAIN = "main"
PREVIEW_CHARACTERS = 200


class SessionDesk:
    """Implements control.sessions.Sessions. Stateless, so thread-safe."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

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
    ) -> SessionPage:
        """See control.sessions.Sessions."""
        wanted = search.casefold()

        def look(conn: Connection) -> SessionPage:
            found = [
                row
                for row in transcripts.routes(conn, since_ms=active_since_ms)
                if not wanted or wanted in f"{row.route}\n{display_name(row.route)}".casefold()
            ]
            page = found[offset : offset + limit]
            return SessionPage(tuple(_info(conn, row, preview=previews) for row in page), len(found))

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

    def inject(self, key: str, text: str, *, role: str = "assistant") -> int:
        """See control.sessions.Sessions."""
        now_ms = self._clock.wall_ms()

        def add(conn: Connection) -> int:
            return transcripts.append(conn, transcripts.active_session(conn, key), [(role, text)], now_ms)

        return self._store.write(add)


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
