"""Texts about the store: the file that keeps messages, replies and histories."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "store.cannot_open": ("the store cannot be opened: {reason}", "{path}", "{fix}", 78),
    "store.disk": ("the disk refuses the store: {reason}", "{path}", "{fix}", 75),
    "store.newer": (
        "the store was written by a newer loong (it knows {names}); nothing was changed",
        "{path}",
        "install that version again, then check: loong doctor",
        78,
    ),
    "store.unwritable": (
        "the store cannot be written, nothing was changed: {reason}",
        "{path}",
        "loong doctor",
        2,
    ),
    "store.unreadable": (
        "the store cannot be read: {reason}",
        "{path}",
        "check its owner and mode; if it is damaged, the next start sets it aside: loong gateway run",
        2,
    ),
    "store.locked": (
        "the store is in use by another loong process; nothing was done",
        "{path}",
        "see who it is, then try again: loong gateway status",
        2,
    ),
    "store.locked_at_start": (
        "the store is in use by another loong command; the gateway was not started",
        "{path}",
        "wait until it is done, then: loong gateway run",
        78,
    ),
}

# The `fix` of store.cannot_open and store.disk, by the kind of reason.
CANNOT_OPEN_FIXES = {
    "disk": "make sure that its disk can be read and written, then check: loong doctor",
    "full": "free some space on that file system, then check: loong doctor",
    "permission": "give this user read and write access to it and its directory, then check: loong doctor",
    "other": "look at the file system that it lies on, then: loong gateway run",
}
