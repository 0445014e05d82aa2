"""Checks of the home: directories, file modes, who owns it, its port."""

from __future__ import annotations

import os
import socket
import stat

from loong_gateway.api.bind import choose_port
from loong_gateway.base.faults import CommandError
from loong_gateway.doctor.contract import Check, Inspection, Repair, failed, passed, warned

__all__ = ["check_home"]

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600
OTHERS = 0o077


def check_home(inspection: Inspection) -> list[Check]:
    """All checks of this file. Reads file attributes and tries to bind the port for a moment; writes nothing."""
    return [
        _directory("home", inspection.places.home),
        *(
            []
            if inspection.places.state == inspection.places.home
            else [_directory("state directory", inspection.places.state)]
        ),
        _memory_path(inspection),
        *_modes(inspection),
        _owner(inspection),
        *_port(inspection),
    ]


def _directory(name: str, path: str) -> Check:
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        repair = Repair("mkdir", path, PRIVATE_DIRECTORY)
        return Check(name, "warn", f"{path} does not exist yet.", _fix(repair), repair)
    except OSError as error:
        return failed(name, f"{path} cannot be examined: {error.strerror}.")
    if not stat.S_ISDIR(facts.st_mode):
        return failed(name, f"{path} is not a directory.", "move it away, then: loong doctor")
    return _private(name, path, facts, PRIVATE_DIRECTORY)


def _private(name: str, path: str, facts: os.stat_result, mode: int) -> Check:
    if facts.st_uid != os.geteuid():
        return failed(name, f"{path} belongs to another user (uid {facts.st_uid}, you are {os.geteuid()}).")
    if facts.st_mode & OTHERS:
        repair = Repair("chmod", path, mode)
        return warned(
            name, f"{path} is open to others ({stat.S_IMODE(facts.st_mode):04o}).", _fix(repair), repair
        )
    return passed(name, path)


def _fix(repair: Repair) -> str:
    return f"loong doctor --fix    (will run: {repair.display})"


def _memory_path(inspection: Inspection) -> Check:
    path = inspection.places.store
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        return passed("memory path", f"{path} is made at the first start")
    if not os.access(directory, os.W_OK | os.X_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
        return failed("memory path", f"{path} cannot be written by this user.")
    return passed("memory path", path)


def _modes(inspection: Inspection) -> list[Check]:
    places = inspection.places
    files = (places.config, places.store, places.control_token, places.owner_lock)
    directories = (places.runtime_dir, places.logs)
    found = []
    for path, mode in [(f, PRIVATE_FILE) for f in files] + [(d, PRIVATE_DIRECTORY) for d in directories]:
        try:
            facts = os.stat(path)
        except OSError:
            # Not there yet, or inside a directory that another check already reported.
            continue
        check = _private("file modes", path, facts, mode)
        if check.level != "pass":
            found.append(check)
    return found or [passed("file modes", "nothing is open to others")]


def _owner(inspection: Inspection) -> Check:
    status = inspection.status
    if status is None:
        return failed("gateway owner", inspection.status_error or "its state cannot be read.")
    if status.get("stale") and status.get("lock_held"):
        return failed(
            "gateway owner",
            f"pid {status.get('pid')} holds the lock but does not move.",
            "see: loong gateway status",
        )
    if status.get("lock_held"):
        return passed("gateway owner", f"pid {status.get('pid')}, {status.get('phase')}")
    if status.get("phase") == "failed":
        return warned(
            "gateway owner",
            f"the last gateway ended without a stop: {status.get('last_error') or 'no reason is known'}.",
            "see: loong logs --lines 50",
        )
    return passed("gateway owner", "no gateway is running")


def _port(inspection: Inspection) -> list[Check]:
    config, status = inspection.config, inspection.status
    if status is None or config is None:
        return []
    if inspection.owner_alive:
        where = f"{status.get('bind_address')}:{status.get('port')}"
        if status.get("rpc_probe") == "failed":
            return [failed("gateway port", f"no answer from {where}.", "see: loong gateway status")]
        return [passed("gateway port", f"answers at {where}")]
    try:
        port, _ = choose_port(config.gateway, None, inspection.environ)
    except CommandError as error:
        return [failed("gateway port", f"{error.message}.", error.fix)]
    if _taken(port):
        return [
            failed(
                "gateway port",
                f"port {port} is taken by another program.",
                f"stop it, or use another port: loong gateway run --port {_neighbour(port)}",
            )
        ]
    return [passed("gateway port", f"{port} is free")]


def _neighbour(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def _taken(port: int) -> bool:
    if not port:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
