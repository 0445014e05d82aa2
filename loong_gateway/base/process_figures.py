"""What this process uses of the host: memory, threads, descriptors. None where the system does not tell."""

from __future__ import annotations

import os
import resource
import sys
import threading

__all__ = ["open_fds", "rss_bytes", "thread_count"]


def rss_bytes() -> int | None:
    """The resident memory now; where only its peak is known, the peak.

    https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html, getrusage(2)
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # macOS counts it in bytes, all others in KiB.
        return peak if sys.platform == "darwin" else peak * 1024


def thread_count() -> int:
    """How many threads of Python there are."""
    return threading.active_count()


def open_fds() -> int | None:
    """How many descriptors are open, without the one that is needed to look."""
    for path in ("/proc/self/fd", "/dev/fd"):
        try:
            return max(0, len(os.listdir(path)) - 1)
        except OSError:
            # Not on this system; perhaps by the other name.
            continue
    return None
