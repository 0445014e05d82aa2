"""The only part of the doctor that changes anything, and only what a check proposed."""

from __future__ import annotations

import errno
import os
import stat

from loong_gateway.doctor.contract import Check, Repair

__all__ = ["apply_repairs"]


def apply_repairs(checks: list[Check]) -> tuple[list[str], list[str]]:
    """Carry out the repairs of `checks`; returns what was done and what could not be done, each one line."""
    done, refused = [], []
    for repair in dict.fromkeys(check.repair for check in checks if check.repair is not None):
        try:
            _apply(repair)
        except OSError as error:
            refused.append(f"{repair.display}: {error.strerror or error}")
        else:
            done.append(repair.display)
    return done, refused


def _apply(repair: Repair) -> None:
    if repair.act == "mkdir":
        os.makedirs(repair.path, mode=repair.mode, exist_ok=True)
        return
    # By name and not through a descriptor: closing one of the store would drop the locks that SQLite holds on it.
    if stat.S_ISLNK(os.lstat(repair.path).st_mode):
        raise OSError(errno.ELOOP, "it is a link")
    os.chmod(repair.path, repair.mode)
