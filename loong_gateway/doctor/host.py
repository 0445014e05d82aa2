"""Checks of the machine: interpreter, disk, clock, environment."""

from __future__ import annotations

import importlib
import os
import platform
import sys

from loong_gateway.doctor.contract import Check, Inspection, failed, passed, warned

__all__ = ["check_host"]

# What is used of the standard library but may be missing from a small build, and the package that brings it.
MODULES = (("sqlite3", "libsqlite3"), ("ssl", "openssl"), ("zlib", "zlib"))
LOW_BYTES = 1_000_000_000
TOO_LOW_BYTES = 100_000_000
LOW_INODES = 1000
# 2026-01-01: no host that runs this can honestly be before it.
EARLIEST_MS = 1_767_225_600_000
FUTURE_MS = 86_400_000
FOREIGN = ("OPENCLAW_", "CLAWDBOT_", "MOLTBOT_", "LOONGCLAW_")


def check_host(inspection: Inspection) -> list[Check]:
    """All checks of this file. Touches the disk for reading only."""
    return [
        _python(),
        *[_module(name, package) for name, package in MODULES],
        _disk(inspection),
        _clock(inspection),
        *_environment(inspection),
    ]


def _python() -> Check:
    version = platform.python_version()
    return passed("python", f"Python {version} at {sys.executable or 'unknown'}, {platform.system()}")


def _module(name: str, package: str) -> Check:
    try:
        module = importlib.import_module(name)
    except ImportError:
        return failed(
            f"python module {name}",
            f"this Python was built without {name}.",
            f"install a Python that was built with {package}, then: loong doctor",
        )
    version = getattr(module, "sqlite_version", None) or getattr(module, "OPENSSL_VERSION", None) or "present"
    return passed(f"python module {name}", str(version))


def _disk(inspection: Inspection) -> Check:
    path = nearest_directory(inspection.places.state)
    try:
        facts = os.statvfs(path)
    except OSError as error:
        return failed("disk space", f"{path} cannot be examined: {error.strerror}.")
    free = facts.f_bavail * facts.f_frsize
    detail = f"{free // 1_000_000} MB free at {path}"
    if facts.f_files and facts.f_favail < LOW_INODES:
        return failed("disk space", f"only {facts.f_favail} files can still be made at {path}.")
    if free < TOO_LOW_BYTES:
        return failed(
            "disk space", f"only {detail}; messages cannot be kept.", "free some space, then: loong doctor"
        )
    if free < LOW_BYTES:
        return warned("disk space", f"only {detail}.", "free some space, then: loong doctor")
    return passed("disk space", detail)


def nearest_directory(path: str) -> str:
    """The path itself or the closest directory above it that exists."""
    while not os.path.isdir(path):
        parent = os.path.dirname(path)
        if parent == path:
            return path
        path = parent
    return path


def _clock(inspection: Inspection) -> Check:
    now_ms = inspection.clock.wall_ms()
    if now_ms < EARLIEST_MS:
        return failed("clock", "the clock of this host is years behind.", "set it, then: loong doctor")
    try:
        newest_ms = int(os.stat(inspection.places.store).st_mtime * 1000)
    except OSError:
        # No store yet: nothing to compare with.
        newest_ms = 0
    if newest_ms - now_ms > FUTURE_MS:
        return warned(
            "clock",
            "the store was written in the future: the clock went back by more than a day.",
            "set the clock, then: loong doctor",
        )
    return passed("clock", "plausible")


def _environment(inspection: Inspection) -> list[Check]:
    foreign = sorted(name for name in inspection.environ if name.startswith(FOREIGN))
    if not foreign:
        return [passed("environment", "no variable of another gateway is set")]
    ours = ["LOONG_" + name.split("_", 1)[1] for name in foreign]
    return [
        warned(
            "environment",
            f"set but not read here: {', '.join(foreign)}.",
            f"if they are meant for loong, set instead: {', '.join(ours)}",
        )
    ]
