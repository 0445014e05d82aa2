"""Where the published clients are: the directory in LOONG_NODE_PACKAGES, with Node 24 or newer beside them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.gateway import Gateway

__all__ = ["TOKEN", "needs", "node", "packages", "serving"]

VARIABLE = "LOONG_NODE_PACKAGES"
TOKEN = "published-clients-0001"
TICK_MS = 300
OLDEST = 24
PORT = f"""
[gateway]
mode = "local"
ws.tick_interval_ms = {TICK_MS}
"""
ECHO = '[provider]\nkind = "echo"\n'


def packages() -> pathlib.Path:
    """The directory; skips the test that asks when there is none."""
    named = os.environ.get(VARIABLE)
    if not named:
        pytest.skip(f"needs {VARIABLE}, a directory with the published clients (see CONTRIBUTING.md)")
    return pathlib.Path(named).resolve()


def needs(name: str) -> pathlib.Path:
    """Where a package of that name is; skips the test that asks when it is not installed."""
    found = packages() / "node_modules" / name
    if not (found / "package.json").is_file():
        pytest.skip(f"needs the npm package {name} in {VARIABLE} (see CONTRIBUTING.md)")
    return found


def node() -> str:
    """Node itself; skips the test that asks when there is none, or one that is too old."""
    own = packages() / "node_modules" / ".bin" / "node"
    found = str(own) if own.exists() else shutil.which("node")
    if found is None:
        pytest.skip("needs node")
    done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30, check=True)
    if int(done.stdout.strip().lstrip("v").split(".")[0]) < OLDEST:
        pytest.skip(f"needs node {OLDEST} or newer, {done.stdout.strip()} was found")
    return found


@contextlib.contextmanager
def serving(directory: pathlib.Path, config: str, more: str = "") -> Iterator[Gateway]:
    """A real gateway that is ready, with TOKEN as its secret; `more` is of its table [gateway]."""
    # A token in the configuration must be the only one.
    secret = {} if "auth" in more else {"LOONG_GATEWAY_TOKEN": TOKEN}
    with Gateway(directory, config + PORT + more, environ=secret) as gateway:
        gateway.start()
        yield gateway
