"""The one directory that file tools may touch, opened step by step so that nothing in it leads out again.

Every directory of a path is opened by its name inside the one before it, never through a link; what is then read or
written belongs to that open directory, whatever is renamed meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence

from loong_gateway.base.atomic import write_all
from loong_gateway.tools.contract import BadArgument, ToolFailed

__all__ = ["FileRoot", "path_parts"]

MAX_PATH = 1024
MAX_NAME_BYTES = 255
MAX_DEPTH = 32
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK opening a pipe that nobody writes to would block for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def path_parts(path: str) -> list[str]:
    """The names in a path that is relative to the root; [] for the root itself. Raises BadArgument."""
    if path in (".", ""):
        return []
    parts = path.split("/")
    if len(path) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise BadArgument("args.path: is too long")
    if not path.isprintable():
        raise BadArgument("args.path: holds characters that cannot be shown")
    if any(part in ("", ".", "..") for part in parts):
        raise BadArgument("args.path: must be relative, without empty names, . and ..")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise BadArgument("args.path: holds a name that is too long")
    return parts


class FileRoot:
    """`root` is an absolute path; what `protected` names (directories, files) stays closed. Immutable, thread-safe."""

    def __init__(self, root: str, protected: Sequence[str]) -> None:
        self._root = os.path.realpath(root)
        self._protected = [os.path.realpath(path) for path in protected]

    @contextlib.contextmanager
    def directory(self, parts: Sequence[str]) -> Iterator[int]:
        """An open directory below the root, for as long as the block runs. Raises ToolFailed and OSError."""
        closed = self._closed()
        _refuse_below(self._root, closed)
        handle = os.open(self._root, _DIRECTORY)
        try:
            _refuse(os.fstat(handle), closed)
            for part in parts:
                inner = os.open(part, _DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
                _refuse(os.fstat(handle), closed)
            yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def file(self, parts: Sequence[str]) -> Iterator[int]:
        """A regular file, open for reading. Raises ToolFailed and OSError."""
        with self.directory(parts[:-1]) as directory:
            # Opening a device may do something by itself, so it is looked at first, and again when it is open.
            self._check_file(os.stat(parts[-1], dir_fd=directory, follow_symlinks=False))
            handle = os.open(parts[-1], _FILE, dir_fd=directory)
            try:
                self._check_file(os.fstat(handle))
                yield handle
            finally:
                os.close(handle)

    def write(self, parts: Sequence[str], data: bytes) -> None:
        """Replace a file or make it, mode 0600: whole or not at all. Raises ToolFailed and OSError."""
        name, temporary = parts[-1], f".{os.urandom(8).hex()}.tmp"
        with self.directory(parts[:-1]) as directory:
            with contextlib.suppress(FileNotFoundError):
                self._check_file(os.stat(name, dir_fd=directory, follow_symlinks=False))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o600, dir_fd=directory)
            try:
                try:
                    write_all(handle, data)
                    os.fsync(handle)
                finally:
                    os.close(handle)
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise

    def _check_file(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise ToolFailed("it is not a regular file")
        if found.st_nlink > 1:
            # One of its other names may stand outside of the root.
            raise ToolFailed("it has more than one name")
        _refuse(found, self._closed())

    def _closed(self) -> set[tuple[int, int]]:
        found = set()
        for path in self._protected:
            # What is not there cannot be touched.
            with contextlib.suppress(OSError):
                row = os.stat(path)
                found.add((row.st_dev, row.st_ino))
        return found


def _refuse_below(path: str, closed: set[tuple[int, int]]) -> None:
    """Told by the directories themselves: a name may have other letters, or lead through a mount."""
    while (above := os.path.dirname(path)) != path:
        path = above
        found = os.stat(path)
        if (found.st_dev, found.st_ino) in closed:
            raise ToolFailed("tools.file_root lies in the gateway's own directory")


def _refuse(found: os.stat_result, closed: set[tuple[int, int]]) -> None:
    if (found.st_dev, found.st_ino) in closed:
        raise ToolFailed("it belongs to the gateway itself")
