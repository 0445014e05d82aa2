"""A socket in the state directory for programs of this user: the system says who calls, so no token is needed.

References: https://man7.org/linux/man-pages/man7/unix.7.html (SO_PEERCRED); on macOS LOCAL_PEERCRED of <sys/un.h>.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys

from loong_gateway.base.faults import CommandError

__all__ = ["LOCAL_ADDRESS", "close_local", "is_same_user", "open_local"]

# What stands for the address of whoever calls here, and of this side.
LOCAL_ADDRESS = "127.0.0.1"
BACKLOG = 128

_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES = 0, 1, 76


def open_local(path: str) -> socket.socket:
    """Listen at `path`, for this user only. Raises CommandError `port.no_socket`.

    Whoever calls this holds the lock of the home, so a socket that lies there is a leftover.
    """
    if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise CommandError("port.no_socket", path=path, detail="something else lies there")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        detail = (error.strerror or str(error)).lower()
        raise CommandError("port.no_socket", path=path, detail=detail) from error
    return sock


def close_local(sock: socket.socket, path: str) -> None:
    """Close it and leave nothing at `path`. Repeating it is harmless."""
    sock.close()
    with contextlib.suppress(OSError):
        os.unlink(path)


def is_same_user(accepted: socket.socket) -> bool:
    """Whether the program at the other end runs as this user; False when the system does not say."""
    try:
        if sys.platform == "darwin":
            # struct xucred: unsigned int version, uid_t uid, ...
            credentials = accepted.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES)
            uid = struct.unpack_from("=II", credentials)[1]
        else:
            # struct ucred: pid, uid, gid
            credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("=iII"))
            uid = struct.unpack("=iII", credentials)[1]
    except (OSError, struct.error):
        return False
    return int(uid) == os.geteuid()
