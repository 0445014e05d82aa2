"""A disk with little room, for the tests of what happens when it is full."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def mounted(directory: pathlib.Path, size: str) -> Iterator[pathlib.Path]:
    """A file system of that size, in memory, below the directory; skips the test where none may be mounted."""
    disk = directory / "small"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(disk)]
    try:
        permitted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        permitted = False
    if not permitted:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def occupy(disk: pathlib.Path) -> pathlib.Path:
    """Take all space that is left; the file to delete when there shall be space again."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as file:
        for size in (1 << 16, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return filler
