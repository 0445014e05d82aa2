"""What a gateway that restarts hands to the process that it becomes: the lock, the listening sockets.

The same process goes on under the same pid: `execv` keeps what is marked as inheritable, so nobody can take the lock
in between and no connection is refused. A variable says which descriptors are which; it names the pid, so that a child
that inherits it by mistake takes nothing for its own.
Reference: https://man7.org/linux/man-pages/man2/execve.2.html
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from loong_gateway.owner.files import read_document, reason, retire
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import Places

__all__ = ["Inheritance", "Successor", "inherited", "is_supervised", "program"]

VARIABLE = "LOONG_HANDED_OVER"
MOST_SOCKETS = 8


@dataclass(frozen=True)
class Inheritance:
    """What the process was handed by what it was before: descriptors of the lock and of listening sockets."""

    lock: int
    sockets: tuple[int, ...]


def inherited(environ: MutableMapping[str, str]) -> Inheritance | None:
    """Take what was handed over out of the environment; None when this process was started by somebody else."""
    given = environ.pop(VARIABLE, "")
    os.environ.pop(VARIABLE, None)
    words = given.split(",")
    if not all(word.isdigit() for word in words) or not 2 <= len(words) <= 2 + MOST_SOCKETS:
        return None
    pid, lock, *sockets = (int(word) for word in words)
    return Inheritance(lock, tuple(sockets)) if pid == os.getpid() else None


def program() -> tuple[str, ...]:
    """The interpreter of this process and its arguments, for running the same command once more."""
    # Before 3.10 what the interpreter itself was given is not known; of that, only isolation changes what is imported.
    arguments = getattr(sys, "orig_argv", None) or ["", *(["-I"] if sys.flags.isolated else []), *sys.argv]
    return (sys.executable, *arguments[1:])


def is_supervised(environ: Mapping[str, str]) -> bool:
    """Whether a service manager started this very process, which will start it again when it ends with 75.

    https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html  What a terminal was started by leaves
    the same variables to everything below it, so they count for the process that they were made for.
    """
    if environ.get("NOTIFY_SOCKET"):
        return True
    if environ.get("INVOCATION_ID"):
        made_for = environ.get("SYSTEMD_EXEC_PID")
        return not _has_terminal() if made_for is None else made_for == str(os.getpid())
    return environ.get("XPC_SERVICE_NAME", "0") not in ("", "0") and os.getppid() == 1


@dataclass(frozen=True)
class Successor:
    """A restart that is ready to happen: everything has stopped but the lock, which is held, and the sockets."""

    places: Places
    lock: OwnerLock
    sockets: Sequence[socket.socket]
    program: tuple[str, ...]

    def become(self) -> NoReturn:
        """Run the program in the place of this one.

        Raises OSError when it cannot be run; then the lock is free and the files say that the gateway has failed.
        """
        descriptors = [self.lock.fileno, *(sock.fileno() for sock in self.sockets)]
        numbers = ",".join(str(number) for number in (os.getpid(), *descriptors))
        environ = {**os.environ, VARIABLE: numbers}
        self.lock.beat()
        try:
            for descriptor in descriptors:
                os.set_inheritable(descriptor, True)
            os.execve(self.program[0], list(self.program), environ)  # noqa: S606  our own interpreter
        except OSError as error:
            self._fail(f"the restart failed, {self.program[0]} cannot be run: {reason(error)}")
            raise

    def _fail(self, detail: str) -> None:
        for sock in self.sockets:
            sock.close()
        last = read_document(self.places.status_file) or {}
        retire(self.places, {**last, "phase": "failed", "last_error": detail, "shutdown_reason": detail})
        self.lock.release()


def _has_terminal() -> bool:
    return any(os.isatty(descriptor) for descriptor in (0, 1, 2))
