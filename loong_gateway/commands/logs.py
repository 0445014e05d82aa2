"""Shows the gateway's log: the last lines, from the end of the newest file backwards, and what is added meanwhile."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO

from loong_channels import catalog
from loong_channels.waiting import StopToken
from loong_gateway.base.faults import CommandError
from loong_gateway.base.tinyjson import dumps
from loong_gateway.base.wording import one_line, visible
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.logs_over_port import POLL_S, PortLog
from loong_gateway.commands.rpc_target import own_target, rpc_target, wants_remote
from loong_gateway.config.diagnostics import did_you_mean
from loong_gateway.config.loading import validate
from loong_gateway.config.snapshot import Config
from loong_gateway.logs.log import FILES, LEVELS, log_path, short_name
from loong_gateway.owner.lock import lock_state

HELP = "show the last lines of the gateway's log"
EXAMPLES = ("loong logs --lines 50", "loong logs --follow --level warning --channel telegram")

DEFAULT_LINES = 100
MAX_LINES = 1_000_000
BLOCK_BYTES = 65536
# A line of ours is far shorter; what is longer is no line of ours and shown in pieces.
MAX_LINE_BYTES = 1024 * 1024
FOLLOW_S = 0.25
# How long a gateway may be away before its file is read instead, and before a distant one is given up.
RESTART_S = 5.0
AWAY_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument(
        "--lines",
        type=int,
        default=DEFAULT_LINES,
        metavar="N",
        help="how many lines, counted after the filters",
    )
    parser.add_argument("--level", choices=tuple(LEVELS), default="debug", help="this level and above")
    parser.add_argument(
        "--channel", metavar="C", help="only this channel, or one account of it: telegram=work"
    )
    parser.add_argument("--follow", action="store_true", help="go on with new lines until Ctrl-C")
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the lines that pass the filters, oldest first. With --json they are the file's own JSON lines."""
    if not 0 <= args.lines <= MAX_LINES:
        raise CommandError("logs.bad_lines", given=args.lines, most=MAX_LINES)
    if args.token_file or wants_remote(args, context):
        return _run_remote(args, context)
    config, _ = validate(context.places, environ=context.environ, dev=context.places.dev)
    path = _path(context, config)
    channel, account = _chosen(args.channel)
    wanted = _Filter(args.level, channel, account)
    follower = _Follower(path) if args.follow else None
    try:
        chosen = _last_lines(path, args.lines, wanted)
        if not chosen and not _any_file(path) and follower is None:
            say = context.err if context.json else context.out
            say(_nothing_yet(path, context))
            return 0
        if not chosen:
            _refuse_unknown_account(config, channel, account)
        if not chosen and args.lines:
            filtered = _any_file(path) and (args.channel or args.level != "debug")
            context.err(f"no lines match in {path}" if filtered else _nothing_yet(path, context))
        for line in chosen:
            _print(context, line)
        if follower is not None:
            port = PortLog(lambda: own_target(context), RESTART_S, context.err)
            port.cursor = follower.offset
            _follow(port, follower, wanted, context)
    except OSError as error:
        detail = (error.strerror or str(error)).lower()
        raise CommandError("logs.unreadable", path=path, detail=detail) from error
    finally:
        if follower is not None:
            follower.close()
    return 0


def _nothing_yet(path: str, context: Context) -> str:
    if lock_state(context.places).held:
        return f"No log yet: the gateway runs and has written nothing to {path}."
    return f"No log yet: {path} is written while the gateway runs."


def _run_remote(args: argparse.Namespace, context: Context) -> int:
    """The log of a gateway that an address names; nothing of this home is read."""
    wanted = _Filter(args.level, *_chosen(args.channel))
    port = PortLog(lambda: rpc_target(args, context), AWAY_S, context.err)
    try:
        # The filters are ours, so there must be more to choose from.
        found = [line for line in port.last(MAX_LINES) if wanted(line)]
        for line in found[-args.lines :] if args.lines else []:
            _print(context, line)
        if args.follow:
            _follow(port, None, wanted, context)
    finally:
        port.close()
    return 0


def _chosen(given: str | None) -> tuple[str, str]:
    """Channel and account that `--channel` names, "" for all. Raises CommandError for an unknown channel."""
    if given is None:
        return "", ""
    name, _, account = given.strip().replace("/", "=").partition("=")
    known = catalog.canonical(name)
    if known is None:
        suggestion = did_you_mean(name.strip().lower(), catalog.KNOWN)
        raise CommandError("logs.unknown_channel", given=one_line(given, 60), suggestion=suggestion)
    return known, account.strip()


def _refuse_unknown_account(config: Config | None, channel: str, account: str) -> None:
    """Raise CommandError when nothing was logged of an account because there is none of that name."""
    configured = config.channels.get(channel) if config is not None and account else None
    if configured is None or account in configured.accounts:
        return
    known = list(configured.accounts)
    raise CommandError(
        "logs.unknown_account",
        channel=channel,
        given=one_line(account, 60),
        known=", ".join(known),
        suggestion=did_you_mean(account.lower(), known),
    )


def _path(context: Context, config: Config | None) -> str:
    """Where this gateway logs. A configuration that cannot be read must not hide the log that says why."""
    return (config.logging.file if config is not None else None) or log_path(context.places)


class _Filter:
    """Says which lines are wanted. A line that is not ours passes unless a filter needs its fields."""

    def __init__(self, level: str, channel: str, account: str) -> None:
        self._level = LEVELS[level]
        self._channel = f"{channel}.{account}" if account else channel

    def __call__(self, line: bytes) -> bool:
        if self._level <= LEVELS["debug"] and not self._channel:
            return True
        document = _parse(line)
        if document is None:
            return False
        if LEVELS.get(str(document.get("level")), LEVELS["error"]) < self._level:
            return False
        logger = f"{document.get('logger')}."
        return not self._channel or logger.startswith(f"loong.channel.{self._channel}.")


class _Follower:
    """Reads what is appended to a log from now on, through rotation, deletion and truncation."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._partial = b""
        self._file = self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    @property
    def offset(self) -> int | None:
        """Where the next line begins, None where there is no file yet."""
        return None if self._file is None else self._file.tell() - len(self._partial)

    def go_to(self, offset: int) -> None:
        """Go on at an offset of the file that has the name now; from its beginning when it is shorter."""
        self.close()
        self._file = self._open()
        if self._file is not None and os.fstat(self._file.fileno()).st_size >= offset:
            self._file.seek(offset)

    def lines(self) -> list[bytes]:
        """The whole lines that were added since the last call. Does not wait."""
        found = self._read()
        if self._replaced():
            # What was written between that read and the renaming is still in the old file.
            found += self._read()
            self.close()
            self._file = self._open()
            found += self._read()
        return found

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO | None:
        self._partial = b""
        try:
            return open(self._path, "rb")
        except FileNotFoundError:
            return None

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
        *lines, self._partial = (self._partial + self._file.read()).split(b"\n")
        return lines

    def _replaced(self) -> bool:
        if self._file is None:
            return os.path.exists(self._path)
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        opened = os.fstat(self._file.fileno())
        return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino)


def _follow(port: PortLog, follower: _Follower | None, wanted: _Filter, context: Context) -> None:
    """Print what is added until Ctrl-C. With a `follower` it reads the file as soon as the port is silent."""
    never = StopToken()
    with contextlib.suppress(KeyboardInterrupt):
        over_port = True
        while True:
            lines: list[bytes] = []
            if over_port:
                try:
                    lines = port.added(never)
                except CommandError as error:
                    if follower is None:
                        raise
                    context.err(f"the port gives no log, following the file instead: {error.message}")
                    over_port = False
                    port.close()
                    if port.cursor is not None:
                        follower.go_to(port.cursor)
            if not over_port and follower is not None:
                lines = follower.lines()
            for line in lines:
                if line and wanted(line):
                    _print(context, line)
            context.stdout.flush()
            never.wait(POLL_S if over_port else FOLLOW_S)


def _any_file(path: str) -> bool:
    return any(os.path.exists(name) for name in _files(path))


def _files(path: str) -> list[str]:
    """The log's files, newest first."""
    return [path, *(f"{path}.{number}" for number in range(1, FILES))]


def _last_lines(path: str, count: int, wanted: _Filter) -> list[bytes]:
    """The last `count` wanted lines over all files, oldest first."""
    found: list[bytes] = []
    for name in _files(path):
        if len(found) >= count:
            break
        try:
            file = open(name, "rb")  # noqa: SIM115  closed by the with below
        except FileNotFoundError:
            continue
        with file:
            for line in _backwards(file):
                if wanted(line):
                    found.append(line)
                    if len(found) >= count:
                        break
    return found[::-1]


def _backwards(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file from its end, without their ends; empty ones are left out."""
    position = file.seek(0, os.SEEK_END)
    tail = b""
    while position:
        size = min(BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        first, *rest = (file.read(size) + tail).split(b"\n")
        for line in reversed(rest):
            if line:
                yield line
        if len(first) > MAX_LINE_BYTES:
            yield first
            first = b""
        tail = first
    if tail:
        yield tail


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and "message" in document else None


def _print(context: Context, line: bytes) -> None:
    document = _parse(line)
    if context.json:
        text = line.decode("utf-8", "replace")
        if document is None or not text.isprintable():
            # What is no document of ours becomes one, and nothing steers a terminal.
            text = dumps(document or {"message": text}, ascii_only=False)
        context.out(text)
    elif document is None:
        context.out(visible(line.decode("utf-8", "replace")))
    else:
        level, logger = visible(str(document.get("level", ""))), short_name(str(document.get("logger", "")))
        text = f"{visible(logger)}: {visible(str(document['message']))}"
        context.out(f"{_local(document.get('time'))} {level:7} {text}")
        for part in str(document.get("trace", "")).splitlines():
            context.out(f"    {visible(part)}")


def _local(moment: object) -> str:
    """A time of the log in local time with its offset, as people read it; what is no time is shown as it is."""
    try:
        return datetime.fromisoformat(str(moment)).astimezone().isoformat(" ", "milliseconds")
    except (ValueError, OverflowError):
        # Also a time at the end of the calendar, which has no local one.
        return visible(str(moment))
