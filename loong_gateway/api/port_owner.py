"""Who holds a TCP port of this host, as far as /proc tells, and how to end a process of ours that does.

Formats: https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html and proc(5).
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line

__all__ = ["PortOwner", "end_port_owner", "port_owner"]

LISTEN = "0A"
TERM_S = 0.7
KILL_S = 3.0
POLL_S = 0.02
_LONGEST_COMMAND = 80


@dataclass(frozen=True)
class PortOwner:
    """A process that listens on a port. `command` is its program and script, never its arguments."""

    pid: int
    uid: int
    command: str


def port_owner(port: int) -> PortOwner | None:
    """The process that listens on a TCP port; None when there is none or the system does not tell us."""
    sockets = _listening_sockets(port)
    if not sockets:
        return None
    for name in _entries("/proc"):
        if name.isdigit() and _holds(int(name), sockets):
            with contextlib.suppress(OSError):
                return PortOwner(int(name), os.stat(f"/proc/{name}").st_uid, _command(int(name)))
    return None


def end_port_owner(port: int) -> PortOwner | None:
    """End the process that listens on a port: TERM, and KILL after 0.7 s. Blocks up to 4 s.

    Returns who it was, None when nobody is known to listen. Raises CommandError when it belongs to another user,
    is this process, or stays.
    """
    owner = port_owner(port)
    if owner is None:
        return None
    other = other_port(port)
    if owner.uid != os.getuid() or owner.pid == os.getpid():
        raise CommandError("port.not_ours", port=port, pid=owner.pid, other=other)
    for number, patience_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
        # It may have left in between, and its number may belong to somebody else by now.
        if not _holds(owner.pid, _listening_sockets(port)):
            return owner
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, number)
        if _gone(owner.pid, port, patience_s):
            return owner
    raise CommandError("port.not_freed", port=port, pid=owner.pid, other=other)


def other_port(port: int) -> int:
    """Another port to propose when this one is taken."""
    return port + 1 if port < 65535 else port - 1


def _gone(pid: int, port: int, patience_s: float) -> bool:
    deadline = Deadline(patience_s)
    never = StopToken()
    while _holds(pid, _listening_sockets(port)):
        if deadline.expired:
            return False
        never.wait(POLL_S)
    return True


def _listening_sockets(port: int) -> set[str]:
    """The links that a descriptor of a listening socket on this port has below /proc/<pid>/fd."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(table, encoding="ascii") as file:
            for line in list(file)[1:]:
                columns = line.split()
                if columns[3] == LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{columns[9]}]")
    return found


def _holds(pid: int, sockets: set[str]) -> bool:
    for name in _entries(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{name}") in sockets:
                return True
    return False


def _entries(path: str) -> list[str]:
    """The names in a directory of /proc; none when it vanished, is another user's, or there is no /proc."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def _command(pid: int) -> str:
    """The program, with the script or module an interpreter runs. Further arguments may hold secrets."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).decode("utf-8", "backslashreplace").split("\0")
    except OSError:
        return "?"
    command = os.path.basename(words[0]) or "?"
    if not command.startswith(("python", "node", "ruby", "perl", "java", "bash", "sh")) or len(words) < 2:
        return one_line(command, _LONGEST_COMMAND)
    if words[1] == "-m" and len(words) > 2:
        return one_line(f"{command} -m {words[2]}", _LONGEST_COMMAND)
    script = "" if words[1].startswith("-") else f" {os.path.basename(words[1])}"
    return one_line(command + script, _LONGEST_COMMAND)
