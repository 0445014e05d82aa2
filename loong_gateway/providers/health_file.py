"""What is known of the keys of all profiles, kept over a restart in one small file."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

from loong_gateway.base.atomic import read_private, write_private
from loong_gateway.providers.key_health import KeyHealth

__all__ = ["HealthFile"]

logger = logging.getLogger("loong.provider")

MAX_BYTES = 1 << 20
MAX_PROFILES = 256


class HealthFile:
    """The file at `path`; None keeps nothing. Thread-safe; `_guard` protects the table of those who share the file."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._stored: dict[str, Any] | None = None
        self._shared: dict[str, KeyHealth] = {}

    def share(self, profile: str, health: KeyHealth) -> KeyHealth:
        """What is known of the keys of a profile, kept from now on: in `health`, or where it is already. Reads the file
        once."""
        stored = self._stored
        if stored is None:
            stored = self._stored = self._read()
        health.load(stored.get(profile))
        with self._guard:
            return self._shared.setdefault(profile, health)

    def keep(self) -> None:
        """Write the file if something changed. A file that cannot be written is no reason to fail."""
        with self._guard:
            shared = dict(self._shared)
        changed = [health.take_changed() for health in shared.values()]
        if self._path is None or not any(changed):
            return
        known = {**(self._stored or {}), **{name: health.dump() for name, health in shared.items()}}
        kept = [(name, keys) for name, keys in known.items() if keys][-MAX_PROFILES:]
        document = {"schema_version": 1, "profiles": dict(kept)}
        try:
            write_private(self._path, json.dumps(document).encode(), durable=False)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error.strerror)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            content = read_private(self._path, MAX_BYTES)
            profiles = json.loads(content)["profiles"].items() if content else ()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            logger.warning("%s holds nothing usable; the keys of providers start as new", self._path)
            return {}
        return {name: keys for name, keys in profiles if isinstance(keys, Mapping)}
