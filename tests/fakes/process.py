"""Running a double as its own process, and driving it from another one."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import subprocess
import sys
from typing import Any, Callable

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def jsonable(value: object) -> Any:
    """The value as JSON values; records become objects, everything without a JSON form its name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: jsonable(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.repr
        }
    if isinstance(value, dict):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def serve_until_ended(port: int, close: Callable[[], None]) -> None:
    """Announce the port and stay until standard input ends, so that no double outlives whoever started it."""
    print(f"READY {port}", flush=True)
    while sys.stdin.read(4096):
        pass
    close()


class Remote:
    """A double running as `python -m MODULE`; `ask("say", text="hi")` calls its scripting methods."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().split()
        if len(line) != 2 or line[0] != "READY":
            raise RuntimeError(f"{module} did not start")
        self.port = int(line[1])
        self.pid = self._process.pid

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, control: str, **arguments: object) -> Any:
        """Call a scripting method; its result as JSON values."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=620)
        try:
            connection.request(
                "POST",
                f"/_control/{control}",
                json.dumps(arguments),
                {"Content-Type": "application/json", "Connection": "close"},
            )
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{control}: {answer.status} {body[:200]!r}")
            return json.loads(body)["result"]
        finally:
            connection.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
