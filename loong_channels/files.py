"""Files that leave, read from disk and packed into a form as platforms want them; and the names of those that come."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .contract import OutboundFile
from .faults import Refused
from .text import one_line

__all__ = ["Form", "downloaded_as", "ending", "form_with", "read_file", "sender_name"]

_MAX_NAME = 200
_MIME = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_NO_MIME = frozenset({"application/octet-stream", "binary/octet-stream"})
_NAME_EXTENDED = re.compile(r"filename\*\s*=\s*(?:UTF-8|utf-8)'[^']*'([^;]+)")
_NAME_PLAIN = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]+))')


@dataclass(frozen=True)
class Form:
    """A body that is not JSON, and its type."""

    body: bytes = field(repr=False)
    content_type: str


def read_file(file: OutboundFile, limit_bytes: int) -> bytes:
    """All of a file of 1 to `limit_bytes` bytes, whole MB. Blocks for the disk.

    Follows no symbolic link and never waits for a pipe. Raises Refused (no_file, empty, too_large).
    """
    name = sender_name(file.name) or "file"
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Refused(f"{name} is not a file", code="no_file")
            data = opened.read(limit_bytes + 1)
    except (OSError, ValueError) as error:
        detail = ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
        raise Refused(f"the file {name} cannot be read: {detail}", code="no_file") from error
    if not data:
        raise Refused(f"the file {name} is empty", code="empty")
    if len(data) > limit_bytes:
        raise Refused(f"the file {name} has more than {limit_bytes >> 20} MB", code="too_large")
    return data


def sender_name(name: object) -> str | None:
    """What a sender calls a file: only the last part of a path, on one line; None for nothing."""
    last = name.replace("\\", "/").rpartition("/")[2] if isinstance(name, str) else ""
    return one_line(last, _MAX_NAME) or None


def downloaded_as(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Name and MIME type of a file by the fields of the answer that holds it; "bytes in general" is no type.

    https://www.rfc-editor.org/rfc/rfc6266
    """
    mime = headers.get("content-type", "").partition(";")[0].strip().lower()
    known = _MIME.fullmatch(mime) and mime not in _NO_MIME
    return _name_in(headers.get("content-disposition", "")), mime if known else None


def _name_in(disposition: str) -> str | None:
    extended = _NAME_EXTENDED.search(disposition)
    if extended is not None:
        return sender_name(unquote(extended.group(1).strip().strip('"'), "utf-8", "replace"))
    plain = _NAME_PLAIN.search(disposition)
    if plain is None:
        return None
    name = (plain.group(1) or plain.group(2) or "").replace('\\"', '"')
    # Servers write UTF-8 here, and header bytes are read as Latin-1.
    with contextlib.suppress(UnicodeError):
        name = name.encode("latin-1").decode("utf-8")
    return sender_name(unquote(name))


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
