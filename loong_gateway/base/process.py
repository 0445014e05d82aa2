"""What tells one process from every other, so that a number in a file is never taken for a process that it is not.

Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

import binascii
import os
import time

__all__ = ["boot_clock_ns", "boot_id", "identity", "is_alive", "new_secret", "start_ticks"]

_INSTANCE_ID = os.urandom(16).hex()


def boot_clock_ns() -> int:
    """Nanoseconds since boot, suspended time included: the clock of the heartbeat. Never steps."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def identity() -> dict[str, object]:
    """What tells this process from every other: pid, start ticks, boot id, host name, instance id."""
    return {
        "pid": os.getpid(),
        "pid_start_ticks": start_ticks(os.getpid()),
        "boot_id": boot_id(),
        "hostname": os.uname().nodename,
        "instance_id": _INSTANCE_ID,
    }


def is_alive(holder: dict[str, object]) -> bool:
    """True when the process that wrote `holder` is surely still there: same boot, same pid, same start time."""
    pid, ticks = holder.get("pid"), holder.get("pid_start_ticks")
    if not isinstance(pid, int) or pid <= 1 or ticks is None:
        return False
    return start_ticks(pid) == ticks and holder.get("boot_id") == boot_id()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where the system does not tell.

    Field 22 of https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name may hold spaces and brackets; what follows the last bracket is regular.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def boot_id() -> str | None:
    """The kernel's name for this run of the host; None where it has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def new_secret() -> str:
    """A 256-bit token in base64url without padding."""
    text = binascii.b2a_base64(os.urandom(32), newline=False).decode("ascii")
    return text.rstrip("=").replace("+", "-").replace("/", "_")
