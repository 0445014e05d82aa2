"""Texts about the owner of a home: lock, status, stop."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "owner.active": (
        "gateway owner already active at {runtime_dir} (pid={pid}), since {since}, by loong {verb}",
        None,
        "see it: {status}    stop it: {stop}",
        78,
    ),
    "owner.no_locks": (
        "the file system of the state directory keeps no locks: {detail}",
        "{path}",
        "put the state on a local disk with LOONG_STATE_DIR, then: loong gateway run",
        78,
    ),
    "owner.state_unwritable": (
        "the state directory cannot be used: {detail}",
        "{path}",
        "correct its owner and mode, or choose another one with LOONG_HOME, then: loong gateway run",
        78,
    ),
    "owner.lost": (
        "owner.lock was replaced and another process holds the new one",
        "{path}",
        "stop one of the two; see the other: loong gateway status",
        70,
    ),
    "owner.unreadable": (
        "the state of the gateway cannot be read: {detail}",
        "{where}",
        "{fix}",
        4,
    ),
    "owner.not_yours": (
        "the gateway belongs to another user, so no stop can be asked for: permission denied",
        "{path}",
        "as the user who runs it: {command}",
        2,
    ),
    "owner.stop_failed": (
        "the stop cannot be asked for: {detail}",
        None,
        "{status}",
        2,
    ),
    "owner.still_running": (
        "the gateway still runs {waited} after the stop was asked for (pid={pid})",
        None,
        "look at it: {status}    wait longer: {stop} --timeout 120",
        1,
    ),
}
