"""A client of somebody else's in a process of its own: it prints one JSON object per line, and we read along."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Puppet"]

HERE = pathlib.Path(__file__).resolve().parent
WAIT_S = 30.0


class Puppet:
    """Use as a context manager; the process ends with it. `lines` are what it has said so far."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self._noise: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            command,
            cwd=HERE,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Puppet:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait(self, name: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait for the `count`-th line that has `name` and these fields; the line."""

        def found() -> list[dict[str, Any]]:
            return [
                line
                for line in self.lines
                if name in line and all(line.get(key) == value for key, value in fields.items())
            ]

        with self._changed:
            arrived = self._changed.wait_for(lambda: len(found()) >= count, WAIT_S)
            assert arrived, (name, fields, self.lines[-5:], self._noise[-20:])
            return found()[count - 1]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            with self._changed:
                try:
                    line = json.loads(text)
                except ValueError:
                    line = None
                if isinstance(line, dict):
                    self.lines.append(line)
                else:
                    # What it logs; shown when it is waited for in vain.
                    self._noise.append(text)
                self._changed.notify_all()
