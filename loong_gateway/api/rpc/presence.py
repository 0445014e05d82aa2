"""Who is there: the gateway itself, the people's clients that are connected, and those that left a moment ago.

Source: https://www.npmjs.com/package/@openclaw/gateway-protocol (protocol.schema.json: PresenceEntry).
"""

from __future__ import annotations

import os
import platform
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Callable

from loong_gateway import VERSION

from .member import Member

__all__ = ["Presence"]

KEPT_MS = 300_000
MOST = 200
LONGEST = 256
# Commands and programs come and go; only people's clients are worth a line.
NOT_LISTED = frozenset({"cli", "probe", "backend"})
COPIED = ("version", "platform", "deviceFamily", "modelIdentifier", "timeZone", "instanceId")


class _Seen:
    """A client as it is listed; `connections` are those of it that are open."""

    def __init__(self, entry: dict[str, object]) -> None:
        self.entry = entry
        self.connections: set[str] = set()


class Presence:
    """Thread-safe; `_guard` protects the list and its version."""

    def __init__(self, wall_ms: Callable[[], int], address: str | None) -> None:
        self._wall_ms = wall_ms
        self._guard = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._version = 1
        host = os.uname().nodename or "localhost"
        place = f"{host} ({address})" if address else host
        self._own: dict[str, object] = {
            "host": host,
            "version": VERSION,
            "platform": platform.system().lower() or "unknown",
            "mode": "gateway",
            "reason": "self",
            "text": f"Gateway: {place} · app {VERSION} · mode gateway · reason self",
            "onlineSince": wall_ms(),
        }
        if address:
            self._own["ip"] = address

    def stamped(self) -> tuple[Sequence[Mapping[str, object]], int]:
        """The list, the gateway first, and its version, which grows with every change."""
        with self._guard:
            own = {**self._own, "ts": self._wall_ms()}
            return [own, *(dict(seen.entry) for seen in self._seen.values())], self._version

    def came(self, member: Member) -> bool:
        """Note a client; False for one that is not listed."""
        client = member.client
        if client.mode in NOT_LISTED:
            return False
        with self._guard:
            key = self._key(member)
            now_ms = self._wall_ms()
            seen = self._seen.get(key)
            since_ms = seen.entry["onlineSince"] if seen is not None and seen.connections else now_ms
            entry = _entry(member, now_ms)
            entry["onlineSince"] = since_ms
            if seen is None:
                seen = self._seen[key] = _Seen(entry)
            seen.entry = entry
            seen.connections.add(client.conn_id)
            self._seen.move_to_end(key)
            self._forget(now_ms)
            self._version += 1
            return True

    def told(self, fields: Mapping[str, object]) -> None:
        """Note what somebody says of a host or a program that holds no connection here; kept as long as who left."""
        with self._guard:
            now_ms = self._wall_ms()
            key = (
                f"told {fields.get('instanceId') or fields.get('deviceId') or fields.get('host') or 'system'}"
            )
            self._seen[key] = _Seen({"reason": "event", **fields, "ts": now_ms})
            self._seen.move_to_end(key)
            self._forget(now_ms)
            self._version += 1

    def left(self, member: Member) -> bool:
        """Note that a client has left; False when that changes nothing."""
        with self._guard:
            seen = self._seen.get(self._key(member))
            if seen is None or member.client.conn_id not in seen.connections:
                return False
            seen.connections.discard(member.client.conn_id)
            if seen.connections:
                return False
            now_ms = self._wall_ms()
            seen.entry = {**seen.entry, "reason": "disconnect", "ts": now_ms}
            del seen.entry["onlineSince"]
            self._version += 1
            return True

    def forget(self) -> bool:
        """Drop those that left five minutes ago; True when there were any."""
        with self._guard:
            before = len(self._seen)
            self._forget(self._wall_ms())
            changed = len(self._seen) != before
            self._version += changed
            return changed

    def _forget(self, now_ms: int) -> None:
        gone = [key for key, seen in self._seen.items() if not seen.connections]
        for key in gone:
            stamp = self._seen[key].entry["ts"]
            # A stamp of the future was made before the clock was set back.
            if len(self._seen) > MOST or not 0 <= now_ms - int(str(stamp)) < KEPT_MS:
                del self._seen[key]
        while len(self._seen) > MOST:
            self._seen.popitem(last=False)

    @staticmethod
    def _key(member: Member) -> str:
        return member.about.get("instanceId") or member.client.conn_id


def _entry(member: Member, now_ms: int) -> dict[str, object]:
    client, about = member.client, member.about
    host = (about.get("displayName") or client.id)[:LONGEST]
    entry: dict[str, object] = {
        "ts": now_ms,
        "host": host,
        "mode": client.mode,
        "reason": "connect",
        "text": f"{host} · mode {client.mode} · reason connect",
        "roles": ["operator"],
        "scopes": sorted(client.scopes),
    }
    entry.update((name, about[name][:LONGEST]) for name in COPIED if about.get(name))
    if client.address:
        entry["ip"] = client.address
    return entry
