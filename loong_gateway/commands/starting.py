"""What the verbs that become an owner check and say before they start."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from datetime import datetime
from typing import TextIO

from loong_channels.waiting import Deadline
from loong_gateway.api.bind import choose_port
from loong_gateway.api.port_owner import end_port_owner, port_owner
from loong_gateway.base.faults import CommandError
from loong_gateway.base.pause import pause
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import duration
from loong_gateway.commands.common import Context
from loong_gateway.config.snapshot import Config
from loong_gateway.daemon.launch import Ended
from loong_gateway.logs.sinks import Entry, Sink, StreamWriter
from loong_gateway.owner.lock import lock_state, request_stop

__all__ = ["Announcer", "check_may_start", "conclude", "make_way", "show_warnings", "stderr_for_log"]

STOP_EXTRA_S = 10.0
LOOK_EVERY_S = 0.05
LAST_LINES_S = 2.0


def check_may_start(context: Context, config: Config, *, allow_unconfigured: bool = False) -> None:
    """Raise CommandError when this configuration is not meant to be started."""
    if context.places.dev or allow_unconfigured:
        return
    check = context.places.command("validate-config")
    if not config.exists:
        raise CommandError("run.no_config", path=config.path, check=check)
    if config.gateway.mode not in (None, "local"):
        raise CommandError("run.remote_mode", mode=config.gateway.mode, path=config.path, check=check)


def show_warnings(context: Context, config: Config) -> None:
    """Print what the configuration warns about, one line each, on stderr."""
    for found in config.warnings:
        place = config.path if found.line is None else f"{config.path}:{found.line}"
        key = f" {found.field_path}" if found.field_path else ""
        context.err(f"warning: {place}{key}: {found.message}")
        if found.fix:
            context.err(f"  fix: {found.fix}")


def stderr_for_log(context: Context) -> TextIO | None:
    """Where log lines go besides the file: not onto a terminal that shows the start and perhaps a chat."""
    stream: TextIO = context.stderr
    return None if stream.isatty() and not context.verbose else stream


def conclude(context: Context, ended: Ended) -> int:
    """The exit code of an owner that has ended. Does not return when it is to go on as a new process.

    Raises CommandError when that cannot be run.
    """
    if ended.successor is None:
        return ended.code
    for stream in (context.stdout, context.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    try:
        ended.successor.become()
    except OSError as error:
        program = ended.successor.program[0]
        detail = (error.strerror or str(error)).lower()
        raise CommandError("restart.failed", program=program, detail=detail) from error


class Announcer:
    """Prints the lines of start and stop: plain on a terminal, with the time elsewhere. Thread-safe, never blocks.

    A chat on the same terminal is shown through it too, so that its prompt always stands below the last line.
    A context manager, which prints what is left when it ends. A reader that has gone away, or that does not read, does
    not stop a gateway. `_guard` keeps the order of what is printed, and protects the prompt.
    """

    def __init__(self, context: Context) -> None:
        stream: TextIO = context.stdout
        self._timed = not stream.isatty()
        self._sink = Sink("announcements", StreamWriter(stream), _rendered, ThreadRegistry())
        self._guard = threading.Lock()
        self._prompt = ""

    def __enter__(self) -> Announcer:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close(Deadline(LAST_LINES_S))

    def __call__(self, line: str) -> None:
        """Print one line soon."""
        stamp = datetime.now().astimezone().isoformat(timespec="seconds") + " " if self._timed else ""
        with self._guard:
            start = "\r" if self._prompt else ""
            self._put(f"{start}{stamp}{line}\n{self._prompt}")

    def show(self, text: str, *, prompt: str) -> None:
        """Print a piece of the chat soon, and after it the prompt, which stays at the end from now on."""
        with self._guard:
            self._prompt = prompt
            self._put(f"{text}{prompt}")

    def _put(self, text: str) -> None:
        self._sink.put(Entry(time.time(), logging.INFO, "", text))


def _rendered(entry: Entry) -> str:
    return entry.message


def make_way(context: Context, config: Config, *, port: int | None, yes: bool) -> None:
    """End our own running owner with its full drain, and a foreign listener of our own user.

    Says what it will end and asks on a terminal, unless `yes`. Blocks. Raises CommandError.
    """
    # The port that the start will take, by the same rule: anything else would end a stranger's process.
    wanted, _ = choose_port(config.gateway, port, context.environ)
    owner = lock_state(context.places)
    if owner.held:
        pid = owner.holder.get("pid", "unknown")
        _confirm(context, f"stop the gateway that owns {context.places.home} (pid {pid})", yes=yes)
        request_stop(context.places)
        _wait_until_stopped(context, config.gateway.drain_s + STOP_EXTRA_S)
    foreign = port_owner(wanted) if wanted else None
    if foreign is not None:
        _confirm(
            context, f"end pid {foreign.pid} ({foreign.command}), which listens on port {wanted}", yes=yes
        )
        end_port_owner(wanted)


def _confirm(context: Context, act: str, *, yes: bool) -> None:
    if yes:
        context.err(f"--force: {act}")
        return
    if not context.stdin.isatty():
        raise CommandError("run.force_needs_yes", act=act)
    context.stderr.write(f"--force will {act}. Go on? [y/N] ")
    context.stderr.flush()
    if context.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("run.force_declined", act=act)


def _wait_until_stopped(context: Context, patience_s: float) -> None:
    end_s = time.monotonic() + patience_s
    while lock_state(context.places).held:
        if time.monotonic() >= end_s:
            raise CommandError("run.owner_not_stopped", waited=duration(patience_s))
        # The kernel tells nobody who waits for a lock that is held for life.
        pause(LOOK_EVERY_S)
