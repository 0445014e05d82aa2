"""Sizes and processor time of a process, from /proc."""

from __future__ import annotations

import os

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor seconds used so far, all threads, ended ones included. Grain: one tick, usually 10 ms."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def fine_cpu_s(pid: int) -> float:
    """Processor seconds of the threads that live now, in nanosecond grain."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        except FileNotFoundError:
            continue
    return total / 1e9


def _kilobytes(path: str, names: tuple[str, ...]) -> dict[str, int]:
    found = {}
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in names:
                found[name] = int(rest.split()[0])
    return found


def memory_mb(pid: int) -> dict[str, float]:
    """Resident and proportional size now, and the highest resident size so far."""
    sizes = _kilobytes(f"/proc/{pid}/smaps_rollup", ("Rss", "Pss"))
    sizes.update(_kilobytes(f"/proc/{pid}/status", ("VmHWM",)))
    return {
        "rss_mb": round(sizes["Rss"] / 1024, 1),
        "pss_mb": round(sizes["Pss"] / 1024, 1),
        "peak_mb": round(sizes["VmHWM"] / 1024, 1),
    }


def threads(pid: int) -> int:
    """How many threads the process has."""
    return len(os.listdir(f"/proc/{pid}/task"))
