"""Reads a form with files (RFC 7578) as strictly as a platform does."""

from __future__ import annotations

import re

BOUNDARY = re.compile(r"multipart/form-data;\s*boundary=([^;\s\"]{1,70})")
PART_HEAD = re.compile(
    rb'Content-Disposition: form-data; name="([^"]*)"(?:; filename="([^"]*)")?', re.IGNORECASE
)


def read_form(
    content_type: str, body: bytes, nameless: str = ""
) -> tuple[dict[str, str], dict[str, tuple[str, bytes]]]:
    """The fields of a form, and its files by part: name and bytes. Raises ValueError for what is no form.

    The part `nameless` is a file even if it says no name of one.
    """
    boundary = BOUNDARY.match(content_type)
    if boundary is None:
        raise ValueError("no boundary")
    pieces = body.split(b"--" + boundary.group(1).encode())
    if pieces[0] or pieces[-1] != b"--\r\n":
        raise ValueError("not delimited")
    fields: dict[str, str] = {}
    files: dict[str, tuple[str, bytes]] = {}
    for piece in pieces[1:-1]:
        head, blank, value = piece.partition(b"\r\n\r\n")
        found = PART_HEAD.search(head)
        if found is None or not blank or not head.startswith(b"\r\n") or not value.endswith(b"\r\n"):
            raise ValueError("a part that is none")
        name = found.group(1).decode()
        if name in fields or name in files:
            raise ValueError("a part is there twice")
        if found.group(2) is None and name != nameless:
            fields[name] = value[:-2].decode()
        else:
            files[name] = ((found.group(2) or b"").decode(), value[:-2])
    return fields, files
