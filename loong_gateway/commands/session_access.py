"""What the verbs about sessions share: finding one and looking at all, in the store, beside a gateway as well."""

from __future__ import annotations

import argparse
import contextlib
import shlex

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import nearest, one_line
from loong_gateway.commands.common import Context
from loong_gateway.messaging.run_rows import decode_request
from loong_gateway.messaging.sessions import ROOT, display_name, kind_of, session_key, session_keys
from loong_gateway.owner.status import observe
from loong_gateway.storage import inbox, migrations, runs, transcripts
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.local import LocalStore
from loong_gateway.storage.transcripts import SessionRow

__all__ = [
    "LATEST",
    "add_session",
    "find",
    "find_row",
    "running_sessions",
    "session_document",
    "store_of",
]

LATEST = "latest"
SHOWN_CHOICES = 5
MOST_NEAR = 200


def add_session(parser: argparse.ArgumentParser) -> None:
    """Declare the session that a verb is about."""
    parser.add_argument("session", metavar="ID", help="its key, name, the beginning of one, or latest")


def store_of(context: Context) -> LocalStore:
    """The store of this home."""
    return LocalStore(context.places)


def find(context: Context, given: str, *, verb: str) -> str:
    """The key of the stored session that `given` means. Raises as `find_row`."""
    return find_row(context, given, verb=verb).route


def find_row(context: Context, given: str, *, verb: str) -> SessionRow:
    """The present stretch of the stored session that `given` means: a key, another spelling, or the beginning of one.

    Raises CommandError `sessions.unknown`, `sessions.ambiguous`.
    """
    text = given.strip()

    def look(conn: Connection) -> tuple[SessionRow | None, list[str], list[str]]:
        keys = _meant(conn, text)
        row = transcripts.route(conn, keys[0]) if len(keys) == 1 else None
        known = [] if keys else [display_name(one.route) for one in transcripts.routes(conn, MOST_NEAR)]
        return row, [display_name(key) for key in keys], known

    row, several, known = store_of(context).read(look) or (None, [], [])
    if row is not None:
        return row
    shown = one_line(text, 80)
    if several:
        choices = ", ".join(several[:SHOWN_CHOICES]) + (", ..." if len(several) > SHOWN_CHOICES else "")
        fix = context.places.command(f"{verb} {shlex.quote(several[0])}")
        raise CommandError("sessions.ambiguous", given=shown, choices=choices, fix=fix)
    meant = nearest(text, known)
    fix = f"{verb} {shlex.quote(meant)}" if meant else "sessions list"
    suggestion = f"; did you mean {meant}?" if meant else ""
    raise CommandError(
        "sessions.unknown", given=shown, suggestion=suggestion, fix=context.places.command(fix)
    )


def _meant(conn: Connection, text: str) -> list[str]:
    if text == LATEST:
        return [row.route for row in transcripts.routes(conn, 1)]
    for key in session_keys(text) if text else ():
        if transcripts.is_known(conn, key):
            return [key]
    # A display name lacks the common beginning of the keys.
    found = (transcripts.routes_from(conn, one, SHOWN_CHOICES + 1) for one in (ROOT + text, text) if text)
    return sorted({key for some in found for key in some})


def running_sessions(context: Context) -> set[str]:
    """The keys of those in which a stored message or run is being answered now; none when no gateway runs."""
    if not observe(context.places).document["lock_held"]:
        return set()
    return store_of(context).read(_running) or set()


def _running(conn: Connection) -> set[str]:
    found = {session_key(one.address, kind=one.kind) for one in inbox.claimed(conn)}
    if migrations.has(conn, "runs"):
        for payload in runs.running(conn):
            # A damaged row belongs to nobody.
            with contextlib.suppress(ValueError):
                session = decode_request(payload).session
                found.update([] if session is None else [session])
    return found


def session_document(row: SessionRow, running: set[str]) -> dict[str, object]:
    """A session as `--json` shows it. Times in milliseconds since 1970."""
    return {
        "session_id": row.route,
        "label": display_name(row.route),
        "kind": "root",
        "state": "running" if row.route in running else "ready",
        "conversation": kind_of(row.route),
        "parent_session_id": None,
        "active_stretch_id": row.id,
        "messages": row.messages,
        "created_at_ms": row.started_ms,
        "updated_at_ms": row.last_ms,
        "archived": row.archived_ms is not None,
        "last_error": None,
    }
