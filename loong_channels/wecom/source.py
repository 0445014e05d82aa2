"""A file of this host that is to be sent: opened once, checked, and read in pieces."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from loong_channels.contract import OutboundFile
from loong_channels.faults import Refused
from loong_channels.text import one_line

__all__ = ["CHUNK_BYTES", "Source", "opened"]

# The platform takes 512 KiB and 100 pieces. Smaller ones let a ping through sooner on a slow line.
CHUNK_BYTES = 256 << 10
_LEAST_BYTES = 5
_MAX_NAME = 120
# What the platform calls the kinds, and what it takes of each.
_KINDS = {
    "image": ("image", 10 << 20),
    "video": ("video", 10 << 20),
    "audio": ("voice", 2 << 20),
    "file": ("file", 20 << 20),
}
_AMR = b"#!AMR"


@dataclass(frozen=True)
class Source:
    """What the platform is told of a file. `kind` is its word for it, `md5` in hexadecimal."""

    kind: str
    name: str
    size: int
    md5: str
    descriptor: int

    @property
    def chunks(self) -> int:
        """How many pieces it has."""
        return -(-self.size // CHUNK_BYTES)

    def chunk(self, index: int) -> bytes:
        """One piece; the first has the index 0. Raises Refused when the file has become shorter."""
        start = index * CHUNK_BYTES
        wanted = min(CHUNK_BYTES, self.size - start)
        data = _read(self.name, self.descriptor, wanted, start)
        if len(data) != wanted:
            raise Refused(f"the file {self.name} was changed while it was sent", code="file_unreadable")
        return data


@contextlib.contextmanager
def opened(file: OutboundFile) -> Iterator[Source]:
    """Open a file for the block. Raises Refused for one that cannot be read or that the platform does not take.

    https://developer.work.weixin.qq.com/document/path/101463
    """
    name = one_line(os.path.basename(file.name), _MAX_NAME) or "file"
    if file.kind not in _KINDS:
        raise Refused(f"WeCom has no messages of the kind {file.kind!a}", code="file_kind")
    try:
        # Not blocking: a pipe without a writer would hold us for ever.
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    try:
        yield _checked(name, file.kind, descriptor)
    finally:
        os.close(descriptor)


def _checked(name: str, kind: str, descriptor: int) -> Source:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise Refused(f"{name} is not a file", code="file_unreadable")
    if kind == "audio" and _read(name, descriptor, len(_AMR), 0) != _AMR:
        # The only sound that it plays. Better a file than nothing.
        kind = "file"
    word, limit = _KINDS[kind]
    size = about.st_size
    if size > limit:
        raise Refused(
            f"{name} has {size} bytes; WeCom takes {limit >> 20} MB of this kind ({kind})", code="too_large"
        )
    if size < _LEAST_BYTES:
        raise Refused(
            f"{name} has {size} bytes; WeCom takes no file of less than {_LEAST_BYTES}", code="empty"
        )
    md5 = hashlib.md5(usedforsecurity=False)
    start = 0
    while start < size:
        data = _read(name, descriptor, min(CHUNK_BYTES, size - start), start)
        if not data:
            raise Refused(f"the file {name} was changed while it was sent", code="file_unreadable")
        md5.update(data)
        start += len(data)
    return Source(word, name, size, md5.hexdigest(), descriptor)


def _read(name: str, descriptor: int, size: int, start: int) -> bytes:
    try:
        return os.pread(descriptor, size, start)
    except OSError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError | ValueError) -> Refused:
    reason = error.strerror if isinstance(error, OSError) else None
    return Refused(f"the file {name} cannot be read: {reason or 'not a path'}", code="file_unreadable")
