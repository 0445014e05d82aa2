"""Files that leave: read from disk, and packed into a form as platforms want them."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from .contract import OutboundFile
from .faults import Refused
from .text import one_line

__all__ = ["Form", "ending", "form_with", "read_file"]

_MAX_NAME = 200


@dataclass(frozen=True)
class Form:
    """A body that is not JSON, and its type."""

    body: bytes = field(repr=False)
    content_type: str


def read_file(file: OutboundFile, limit_bytes: int) -> bytes:
    """All of a file of 1 to `limit_bytes` bytes. Blocks for the disk.

    Follows no symbolic link and never waits for a pipe. Raises Refused (no_file, empty, too_large).
    """
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Refused("what should be sent is not a file", code="no_file")
            data = opened.read(limit_bytes + 1)
    except OSError as error:
        detail = (error.strerror or str(error)).lower()
        raise Refused(f"the file cannot be read: {detail}", code="no_file") from error
    if not data:
        raise Refused("the file is empty", code="empty")
    if len(data) > limit_bytes:
        raise Refused(f"the file has more than {limit_bytes} bytes", code="too_large")
    return data


def ending(name: str) -> str:
    """What stands after the last dot of a file's name, in lower case; "" without one."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def form_with(fields: Mapping[str, str], part: str, file_name: str, data: bytes) -> Form:
    """A form of `fields` and one file. https://www.rfc-editor.org/rfc/rfc7578"""
    boundary = secrets.token_hex(16)
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode(
            "utf-8", "replace"
        )
        for key, value in fields.items()
    ]
    shown = (one_line(file_name, _MAX_NAME) or "file").replace('"', "%22")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{part}"; filename="{shown}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    pieces += [head.encode("utf-8", "replace"), data, f"\r\n--{boundary}--\r\n".encode()]
    return Form(b"".join(pieces), f"multipart/form-data; boundary={boundary}")
