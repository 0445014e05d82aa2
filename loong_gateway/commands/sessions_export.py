"""`loong sessions export`: everything that was said in a conversation, as a file or on standard output."""

from __future__ import annotations

import argparse
import functools
import json
import os
import stat
import time
from collections.abc import Iterator
from typing import Callable

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import harmless, plural, visible
from loong_gateway.commands.common import Context
from loong_gateway.commands.session_access import add_session, find, store_of
from loong_gateway.messaging.sessions import display_name
from loong_gateway.storage import transcripts
from loong_gateway.storage.local import LocalStore
from loong_gateway.storage.transcripts import MessageRow

HELP = "write down everything that was said in a conversation, with what came before each /new"
EXAMPLES = (
    "loong sessions export default --format markdown --output default.md",
    "loong sessions export telegram:work:1001 --output chat.jsonl",
)
JSON = False
PAGE = 500
Write = Callable[[str], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    add_session(parser)
    parser.add_argument(
        "--format",
        choices=("jsonl", "markdown"),
        default="jsonl",
        help="one JSON object per message, or a page",
    )
    parser.add_argument("--output", metavar="FILE", help="where to; only its owner may read it")
    parser.add_argument("--force", action="store_true", help="replace the file when it is there")


def run(args: argparse.Namespace, context: Context) -> int:
    """Write it; a file is there whole or not at all."""
    key = find(context, args.session, verb="sessions export")

    def tell(write: Write) -> int:
        form = _Markdown(write, key) if args.format == "markdown" else _Lines(write)
        count = 0
        for stretch, message in _whole(store_of(context), key):
            form.tell(stretch, message)
            count += 1
        return count

    if args.output is None:
        tell(context.out)
        return 0
    count = _to_file(args.output, tell, force=args.force)
    context.err(f"{plural(count, 'message')} in {args.output}")
    return 0


def _whole(store: LocalStore, key: str) -> Iterator[tuple[str, MessageRow]]:
    """All that was said, with its stretch. The store is free between the pages: who reads this may take hours."""
    for stretch in store.read(lambda conn: transcripts.stretches(conn, key)) or ():
        last = 0
        while True:
            rows = store.read(functools.partial(transcripts.page, session=stretch, after=last, limit=PAGE))
            for row in rows or ():
                yield stretch, row
            if not rows or len(rows) < PAGE:
                break
            last = rows[-1].number


class _Lines:
    """One JSON object per line."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def tell(self, stretch: str, message: MessageRow) -> None:
        """Write one message."""
        row = {"session": stretch, "number": message.number, "at_ms": message.at_ms, "role": message.role}
        # ASCII, so that no text can be broken by the encoding of whoever reads it.
        self._write(json.dumps({**row, "text": message.text}))


class _Markdown:
    """A page for people; a heading for each stretch."""

    def __init__(self, write: Write, key: str) -> None:
        self._write = write
        self._stretch = ""
        write(f"# {visible(display_name(key))}")

    def tell(self, stretch: str, message: MessageRow) -> None:
        """Write one message."""
        at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(message.at_ms / 1000))
        if stretch != self._stretch:
            self._stretch = stretch
            self._write(f"\n## Begun {at} UTC")
        # A page is looked at on terminals; the lines of the other format hold each character as it was.
        text = harmless(message.text.encode("utf-8", "replace").decode("utf-8"))
        self._write(f"\n**{message.role}**, {at} UTC\n\n{text}")


def _to_file(path: str, tell: Callable[[Write], int], *, force: bool) -> int:
    if os.path.lexists(path) and not force:
        raise CommandError("sessions.file_exists", path=path)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        # A device or a link must not become a file.
        raise CommandError("sessions.file_failed", path=path, reason="not a regular file")
    directory, name = os.path.split(path)
    part = os.path.join(directory, f".{name[:100]}.{os.urandom(6).hex()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                count = tell(lambda text: file.write(f"{text}\n"))
                file.flush()
                os.fsync(file.fileno())
            if force:
                os.replace(part, path)
            else:
                # Unlike a renaming it fails when somebody was faster.
                os.link(part, path)
        finally:
            if os.path.lexists(part):
                os.unlink(part)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise CommandError("sessions.file_exists", path=path) from error
        reason = (error.strerror or str(error)).lower()
        raise CommandError("sessions.file_failed", path=path, reason=reason) from error
    return count
