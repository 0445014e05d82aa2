"""Runs `loong` as a process in an empty home, and stands in for a running gateway."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import identity
from loong_gateway.commandline import parser
from loong_gateway.commandline.verbs import find_verb
from loong_gateway.commands.common import Context
from loong_gateway.owner.files import publish, write_control_token
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import Places, resolve_places
from loong_gateway.storage.lock import StoreLock

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKEN = "123456789:AAExampleExampleExampleExampleExamp"
KEY = "sk-test-0123456789abcdef"


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)

    @property
    def first_line(self) -> str:
        """Line 1 of stdout."""
        return self.out.split("\n", 1)[0]


class Loong:
    """A home and a bare environment. Secrets are in the environment unless they are taken out of `environ`."""

    def __init__(self, directory: pathlib.Path, config: str | None = None) -> None:
        self.home = directory / "home"
        self.home.mkdir(mode=0o700)
        self.environ = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "LOONG_HOME": str(self.home),
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "CUSTOM_PROVIDER_API_KEY": KEY,
        }
        self.config = self.home / "config.toml"
        if config is not None:
            self.config.touch(mode=0o600)
            self.config.write_text(config, encoding="utf-8")

    @property
    def places(self) -> Places:
        """The places of the home."""
        return resolve_places({}, self.environ)

    def __call__(self, *args: str, stdin: str | bytes = b"", environ: Mapping[str, str] = {}) -> Ran:
        """Run one command to its end."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, str(ROOT / "loong.py"), *args],
            input=given,
            capture_output=True,
            env={**self.environ, **environ},
            cwd=self.home.parent,
            timeout=30,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


class Here(Loong):
    """Runs its commands in this process, which takes a tenth of the time."""

    def __call__(self, *args: str, stdin: str | bytes = b"", environ: Mapping[str, str] = {}) -> Ran:
        """Run one command to its end; it is given no input."""
        assert not stdin
        call = find_verb(list(args))
        verb = parser.load(call.module)
        out, err = io.StringIO(), io.StringIO()
        environ = {**self.environ, **environ}
        context = Context(self.places, environ, stdin=None, stdout=out, stderr=err, json="--json" in args)
        try:
            code = verb.run(parser.parse(call.verb, verb, call.rest, args), context)
        except CommandError as error:
            code = context.report(error)
        return Ran(code, out.getvalue(), err.getvalue())


def telegram_config(base_url: str, *, chats: str = "[1001]", more: str = "") -> str:
    """A config with one Telegram account named work."""
    return f"""
[telegram]
enabled = true
default_account = "work"
base_url = "{base_url}"
[telegram.accounts.work]
bot_token = {{ env = "TELEGRAM_BOT_TOKEN" }}
allowed_chat_ids = {chats}
{more}
"""


def provider_config(base_url: str, *, model: str = "test-model") -> str:
    """A config with one provider of kind custom."""
    return f"""
[provider]
kind = "custom"
base_url = "{base_url}"
model = "{model}"
api_key = {{ env = "CUSTOM_PROVIDER_API_KEY" }}
"""


class Owner:
    """A process that holds the home and answers on a port: `answers` maps a path to (status, document)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.port = 0


@contextlib.contextmanager
def running_owner(loong: Loong, **document: object) -> Iterator[Owner]:
    """Hold the locks of the home and answer its clients while the block runs."""
    owner = Owner()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"ok": True, "status": "live"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            owner.requests.append((self.path, body))
            authorized = self.headers["Authorization"] == f"Bearer {token}"
            self._answer(*owner.answers[self.path] if authorized else (401, {"error": {"message": "no"}}))

        def _answer(self, status: int, answer: dict[str, Any]) -> None:
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    owner.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    places = loong.places
    lock = OwnerLock.acquire(places)
    try:
        token = write_control_token(places)
        facts: dict[str, object] = {
            **identity(),
            "phase": "running",
            "running": True,
            "ready": True,
            "mode": "gateway_headless",
            "version": "0.1.0",
            "config_path": places.config,
            "started_at_ms": 1,
            "bind_address": "127.0.0.1",
            "port": owner.port,
            "port_source": "default",
            "token_path": places.control_token,
            "degraded_reasons": [],
            "surfaces": [],
            "owner_token": "t",
            **document,
        }
        publish(places, facts)
        with StoreLock.hold(places, 1.0):
            yield owner
    finally:
        lock.release()
        server.shutdown()
        server.server_close()
        thread.join()


def surface(phase: str = "ready", **more: object) -> dict[str, object]:
    """A surface of telegram/work as an owner publishes it."""
    return {
        "channel": "telegram",
        "account": "work",
        "phase": phase,
        "since_ms": 1,
        "last_error": None,
        "last_inbound_ms": None,
        "last_outbound_ms": None,
        "restarts": 0,
        "identity": None,
        "next_try_ms": None,
        "fix": None,
        "where": None,
        "inbox": {"new": 0, "claimed": 0, "failed": 0, "rejected": 0},
        "outbox": {"queued": 0, "sending": 0, "unknown": 0, "failed": 0, "expired": 0},
        **more,
    }
