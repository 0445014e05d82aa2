"""Texts about the owner of a home: lock, status, stop."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "owner.active": (
        "gateway owner already active at {runtime_dir} (pid={pid}), since {since}",
        None,
        "see it: loong gateway status    stop it: loong gateway stop",
        78,
    ),
}
