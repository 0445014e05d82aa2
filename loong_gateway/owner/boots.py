"""Counts starts that died without progress, so that a gateway that only crashes ends with its channels off.

A start has made progress once a row reached its end or the gateway was ready for a while; the caller says when.
"""

from __future__ import annotations

import os

from loong_gateway.base.atomic import read_private, remove, write_private
from loong_gateway.base.clock import Clock
from loong_gateway.base.tinyjson import dumps, loads
from loong_gateway.owner.paths import Places

__all__ = ["WINDOW_S", "Boots"]

WINDOW_S = 300
_KEPT = 100
_LIMIT_BYTES = 65_536


class Boots:
    """The times of starts since the last good one, in a small file. Never raises; not thread-safe.

    A file that cannot be read counts as no failed start, one that cannot be written leaves the count as it was:
    the breaker must not be what keeps a gateway from starting.
    """

    def __init__(self, places: Places, clock: Clock) -> None:
        self._path = places.boots
        self._config = places.config
        self._clock = clock

    def begin(self) -> int:
        """Record this start; returns how many before it died in a row without progress within the window.

        Starts with another configuration file than the present one do not count.
        """
        now_ms = self._clock.wall_ms()
        before = [at for at in self._read() if 0 <= now_ms - at <= WINDOW_S * 1000]
        self._write([*before, now_ms][-_KEPT:])
        return len(before)

    def progress(self) -> None:
        """This start has done its work: earlier ones no longer count, nor does its own death."""
        remove(self._path)

    def clean(self) -> None:
        """This start ends as it should, which ends the row of deaths."""
        remove(self._path)

    def resume(self) -> None:
        """An operator says that the cause is gone: forget every start."""
        remove(self._path)

    def _edition(self) -> str:
        """What changes whenever the configuration file does."""
        try:
            found = os.stat(self._config)
        except OSError:
            return "absent"
        return f"{found.st_mtime_ns}-{found.st_size}"

    def _read(self) -> list[int]:
        try:
            data = read_private(self._path, _LIMIT_BYTES)
            value = loads(data.decode("utf-8")) if data else None
        except (OSError, ValueError):
            # Unreadable or damaged: the next start writes it anew.
            return []
        if not isinstance(value, dict) or value.get("config") != self._edition():
            return []
        times = value.get("boots_ms")
        return [at for at in times if isinstance(at, int)] if isinstance(times, list) else []

    def _write(self, times: list[int]) -> None:
        note = {"boots_ms": times, "config": self._edition()}
        try:
            write_private(self._path, dumps(note).encode() + b"\n")
        except OSError:
            # A full disk must not keep the gateway from starting.
            return
