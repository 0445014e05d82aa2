"""Small private files: written whole or not at all, read without trusting what lies there.

Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = [
    "overwrite_private",
    "read_private",
    "remove",
    "stage_private",
    "sync_directory",
    "write_all",
    "write_private",
]


def write_private(path: str, data: bytes, *, durable: bool = True) -> None:
    """Replace the file `path` by one that holds `data`, mode 0600. A reader sees the old content or the new.

    With `durable` it has reached the disk on return. A symbolic link at `path` is replaced, never followed.
    Raises OSError; then the old file is as it was. Thread-safe.
    """
    temporary = stage_private(path, data, durable=durable)
    try:
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    if durable:
        sync_directory(os.path.dirname(path))


def stage_private(path: str, data: bytes, *, durable: bool = True) -> str:
    """Write `data` into a new file beside `path`, mode 0600; returns its name, for `os.replace`.

    Raises OSError; then nothing is left of it.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.{os.urandom(6).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            os.fchmod(descriptor, 0o600)
            write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove(temporary)
        raise
    return temporary


def overwrite_private(path: str, data: bytes) -> None:
    """Write `data` over the existing file `path`, in the space it already has: for when the disk has no more.

    What is longer than `data` is filled up with blanks. A reader may see a mixture for a moment. Raises OSError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        write_all(descriptor, data.ljust(os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def read_private(path: str, limit_bytes: int) -> bytes | None:
    """The content of a regular file of at most `limit_bytes`; None when there is no file.

    Never follows a symbolic link and never blocks on a pipe. Raises OSError, EFBIG for a file that is too long.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        data = b""
        while True:
            block = os.read(descriptor, limit_bytes + 1 - len(data))
            if not block:
                return data
            data += block
            if len(data) > limit_bytes:
                raise OSError(errno.EFBIG, "larger than expected", path)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Delete a file. One that is not there, or that cannot be deleted, is left to whoever looks next."""
    try:
        os.unlink(path)
    except OSError:
        return


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, however many system calls that takes. Blocks; raises OSError, then a part was written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(directory: str) -> None:
    """Bring the names in `directory` to the disk, where its file system has a way to. Blocks; raises OSError."""
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have no fsync for directories; the rename itself has happened.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
