"""The gateway's log: JSON lines in a rotating file, lines for people on stderr, secrets taken out of both.

Loggers are named after what speaks: `loong.channel.telegram.work`, `loong.lanes`, `loong.http`. Logging never raises,
and never waits for a disk or a terminal. Other packages' loggers get through from WARNING up.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Callable, TextIO

from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import visible
from loong_gateway.logs.redaction import Redactor
from loong_gateway.logs.sinks import Entry, RotatingFile, Sink, StreamWriter
from loong_gateway.owner.paths import Places

__all__ = ["FILES", "LEVELS", "LOG_NAME", "LogControl", "configure", "log_path", "short_name"]

LOG_NAME = "gateway.log"
MAX_BYTES = 10 * 1024 * 1024
FILES = 5
REPEATS = 10
WINDOW_S = 60.0
MAX_TEMPLATES = 1024
MAX_TEMPLATE = 300
MAX_RAW = 1024 * 1024
MAX_MESSAGE = 8192
MAX_TRACE = 16384
CLOSE_S = 2.0

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_WORDS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "error"}
# https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html
_PRIORITIES = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}


class LogControl:
    """The running log. Thread-safe."""

    def __init__(self, handler: _Handler, sinks: list[Sink], path: str) -> None:
        self._handler = handler
        self._sinks = sinks
        self.path = path

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Wait until all that was logged is written; False when it took too long."""
        deadline = Deadline(timeout_s)
        flushed = [sink.flush(deadline) for sink in self._sinks]
        return all(flushed)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what is left and take the log away. Blocks up to `timeout_s`; repeating is harmless."""
        root, ours = logging.getLogger(), logging.getLogger("loong")
        if self._handler in ours.handlers:
            ours.propagate = True
            ours.setLevel(logging.NOTSET)
        for logger in (root, ours):
            logger.removeHandler(self._handler)
        self._handler.summarise()
        deadline = Deadline(timeout_s)
        for sink in self._sinks:
            sink.close(deadline)


def configure(
    places: Places,
    *,
    level: str,
    stderr: TextIO | None,
    redactor: Redactor,
    file: str | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.monotonic,
) -> LogControl:
    """Start to log: to `file` or the log of `places`, and to `stderr` unless it is None.

    `level` is a key of LEVELS. Touches no file before the first entry.
    """
    path = file or log_path(places)
    threads = ThreadRegistry()
    writer = RotatingFile(path, max_bytes=MAX_BYTES, files=FILES)
    sinks = [Sink("file", writer, _json_line, threads)]
    if stderr is not None:
        line = _line_for(stderr, environ, traces=level == "debug")
        sinks.append(Sink("stderr", StreamWriter(stderr), line, threads))
    handler = _Handler(sinks, redactor, clock)
    sinks[0].on_idle(handler.summarise_due)
    # The root gets the handler, too: without one Python would print other packages' warnings unredacted.
    root, ours = logging.getLogger(), logging.getLogger("loong")
    root.addHandler(handler)
    ours.addHandler(handler)
    ours.propagate = False
    ours.setLevel(LEVELS[level])
    return LogControl(handler, sinks, path)


def log_path(places: Places) -> str:
    """Where the gateway of these places logs when the configuration does not say otherwise."""
    return os.path.join(places.logs, LOG_NAME)


def short_name(logger: str) -> str:
    """A logger's name as people read it: `loong.channel.telegram.work` is `telegram/work`."""
    parts = logger.split(".")
    if parts[:2] == ["loong", "channel"] and len(parts) > 2:
        return "/".join([parts[2], ".".join(parts[3:])]) if len(parts) > 3 else parts[2]
    return ".".join(parts[1:]) if parts[0] == "loong" and len(parts) > 1 else logger


class _Handler(logging.Handler):
    """Turns records into clean entries without what merely repeats. `_guard` protects the counts of repeats."""

    def __init__(self, sinks: list[Sink], redactor: Redactor, clock: Callable[[], float]) -> None:
        super().__init__()
        self._sinks = sinks
        self._scrub = redactor.scrub
        self._clock = clock
        self._guard = threading.RLock()
        self._seen: OrderedDict[tuple[str, str], _Repeats] = OrderedDict()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record without the base class's lock: threads need not wait for each other's formatting."""
        try:
            if self._passes(record):
                self._put(_entry(record, self._scrub))
        except Exception:  # noqa: BLE001
            # Whatever an argument's own text does, the message being handled comes first.
            return False
        return True

    def _put(self, entry: Entry) -> None:
        for sink in self._sinks:
            sink.put(entry)

    def _passes(self, record: logging.LogRecord) -> bool:
        template = str(record.msg)
        if len(template) > MAX_TEMPLATE:
            template = self._scrub(template)[:MAX_TEMPLATE]
        key = (record.name, template)
        now = self._clock()
        with self._guard:
            repeats = self._seen.get(key)
            if repeats is not None and now - repeats.since >= WINDOW_S:
                del self._seen[key]
                self._summarise_one(key, repeats)
                repeats = None
            if repeats is None:
                self._seen[key] = repeats = _Repeats(now, record.levelno)
                if len(self._seen) > MAX_TEMPLATES:
                    self._summarise_one(*self._seen.popitem(last=False))
            repeats.count += 1
            if repeats.count <= REPEATS:
                return True
            message = _message(record)
            repeats.last = (
                message if len(message) <= MAX_MESSAGE else _clean(message, MAX_MESSAGE, self._scrub)
            )
            if repeats.count == REPEATS + 1:
                self._sinks[0].poke()
            return False

    def summarise_due(self) -> float | None:
        """Say how often what was left out has repeated, where its window is over; seconds until the next one is."""
        now = self._clock()
        with self._guard:
            for key, repeats in list(self._seen.items()):
                if now - repeats.since >= WINDOW_S:
                    del self._seen[key]
                    self._summarise_one(key, repeats)
            waiting = [r.since + WINDOW_S - now for r in self._seen.values() if r.count > REPEATS]
        return max(0.05, min(waiting)) if waiting else None

    def summarise(self) -> None:
        """Say so for everything at once, because the log ends."""
        with self._guard:
            while self._seen:
                self._summarise_one(*self._seen.popitem())

    def _summarise_one(self, key: tuple[str, str], repeats: _Repeats) -> None:
        more = repeats.count - REPEATS
        if more > 0:
            last = _clean(repeats.last, MAX_MESSAGE, self._scrub)
            message = f"{more} more within {WINDOW_S:.0f} s, the last one: {last}"
            self._put(Entry(time.time(), repeats.level, key[0], message))


class _Repeats:
    """How often one template was logged since its window began, and what the last of its messages said."""

    def __init__(self, since: float, level: int) -> None:
        self.since = since
        self.level = level
        self.count = 0
        self.last = ""


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001
        # Wrong arguments for the template are a mistake of ours; the template still says what happened.
        return f"{record.msg} (arguments do not fit)"


def _entry(record: logging.LogRecord, scrub: Callable[[str], str]) -> Entry:
    message = _message(record)
    trace = ""
    if record.exc_info and record.exc_info[0] is not None:
        trace = "".join(traceback.format_exception(*record.exc_info))
    return Entry(
        at_s=record.created,
        level=record.levelno,
        logger=record.name,
        message=_clean(message, MAX_MESSAGE, scrub),
        thread=record.threadName or "",
        trace=_clean(trace, MAX_TRACE, scrub),
    )


def _clean(text: str, limit: int, scrub: Callable[[str], str]) -> str:
    """The text without secrets and, when longer than `limit`, without its middle: a traceback says most at its ends.

    Scrubbed before it is cut: half a secret would not be found.
    """
    if len(text) > MAX_RAW:
        return scrub(text[:MAX_RAW])[:limit] + " ... (cut)"
    text = scrub(text)
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters left out) ... {text[-half:]}"


def _json_line(entry: Entry) -> str:
    moment = datetime.fromtimestamp(entry.at_s, timezone.utc).isoformat(timespec="milliseconds")
    word = _word(entry.level)
    document: dict[str, object] = {
        "time": moment,
        "level": word,
        "logger": entry.logger,
        "message": entry.message,
        "thread": entry.thread,
    }
    if entry.trace:
        document["trace"] = entry.trace
    # Viewers of the gateway protocol find level, time and subsystem of a line here.
    document["_meta"] = {
        "logLevelName": word.upper(),
        "date": moment.replace("+00:00", "Z"),
        "name": json.dumps({"subsystem": short_name(entry.logger)}),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def _line_for(stderr: TextIO, environ: Mapping[str, str], *, traces: bool) -> Callable[[Entry], str]:
    journal, terminal = _is_journal(stderr, environ), stderr.isatty()

    def line(entry: Entry) -> str:
        text = f"{short_name(entry.logger)}: {visible(entry.message)}"
        if entry.trace and not traces:
            text += f" ({visible(entry.trace.strip().rpartition(chr(10))[2])})"
        if journal:
            text = f"<{_PRIORITIES[_round(entry.level)]}>{text}"
        elif terminal:
            text = f"{_word(entry.level):7} {text}"
        else:
            at = datetime.fromtimestamp(entry.at_s, timezone.utc).astimezone()
            text = f"{at.isoformat(timespec='milliseconds')} {_word(entry.level):7} {text}"
        if entry.trace and traces:
            text += "".join(f"\n    {visible(part)}" for part in entry.trace.rstrip().split("\n"))
        return text + "\n"

    return line


def _is_journal(stderr: TextIO, environ: Mapping[str, str]) -> bool:
    """True when stderr is the very stream that systemd says leads to the journal; a child may have redirected it.

    https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24JOURNAL_STREAM
    """
    try:
        status = os.fstat(stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _round(level: int) -> int:
    return min(50, max(10, level // 10 * 10))


def _word(level: int) -> str:
    return _WORDS[_round(level)]
