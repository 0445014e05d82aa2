"""A real `loong gateway run` in a home of its own, for end-to-end tests, benchmarks and the kill harness.

with FakeTelegram() as telegram, FakeModel() as model, Gateway(tmp_path, config_for(telegram, model)) as gateway:
    gateway.start()
    telegram.say("hello")
    telegram.wait_messages(1)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Callable, Protocol

from tests.waiting import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TELEGRAM_VARIABLE = "TELEGRAM_BOT_TOKEN"
MODEL_VARIABLE = "CUSTOM_PROVIDER_API_KEY"
# Longer than elsewhere: each look starts a process.
LOOK_S = 0.03


class Endpoint(Protocol):
    """A double, in this process or in another one."""

    @property
    def base_url(self) -> str:
        """Where it listens."""


def config_for(
    telegram: Endpoint | None,
    model: str | Endpoint | None,
    *,
    chats: Iterable[int] = (1001,),
    telegram_extra: str = "",
    provider_extra: str = "",
    more: str = "",
) -> str:
    """A config with one Telegram account and one provider of kind "custom"; secrets come from the environment."""
    lines = []
    if model is not None:
        url = model if isinstance(model, str) else model.base_url
        lines += ["[provider]", 'kind = "custom"', 'model = "test-model"', f'base_url = "{url}"']
        lines += [f'api_key = {{ env = "{MODEL_VARIABLE}" }}', provider_extra, ""]
    if telegram is not None:
        lines += ["[telegram]", "enabled = true", f'base_url = "{telegram.base_url}"']
        lines += [f'bot_token = {{ env = "{TELEGRAM_VARIABLE}" }}', "polling_timeout_s = 20"]
        lines += [f"allowed_chat_ids = {sorted(chats)}", telegram_extra, ""]
    return "\n".join([*lines, more, ""])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """One home and the daemon that is started in it, again and again if need be.

    `command` runs loong, `launcher` the daemon where that is another; `environ` is added to an otherwise bare
    environment. Everything that the daemon prints is in `output()`. Leaving the context kills what still runs.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        config: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        arguments: Sequence[str] = ("gateway", "run"),
        launcher: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        self.directory = os.path.abspath(os.fspath(directory))
        self.home = os.path.join(self.directory, "loong-home")
        self.command = list(command) or [sys.executable, os.path.join(ROOT, "loong.py")]
        self.arguments = list(arguments)
        self.launcher = list(launcher) or self.command
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.environ = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": self.directory,
            "LANG": "C.UTF-8",
            "PYTHONPATH": "" if command else ROOT,
            "LOONG_HOME": self.home,
            "LOONG_GATEWAY_PORT": str(self.port),
            TELEGRAM_VARIABLE: "123456789:AAExampleExampleExampleExampleExamp",
            MODEL_VARIABLE: "sk-test-0123456789abcdef",
            **(environ or {}),
        }
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        if config is not None:
            self.write_config(config)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs."""
        self.kill()
        if self._log is not None:
            self._log.close()
            self._log = None

    @property
    def config_path(self) -> str:
        """The config file of the home."""
        return os.path.join(self.home, "config.toml")

    @property
    def store_path(self) -> str:
        """The store of the home. Open it only through sqlite3, never as a file while the daemon runs."""
        return os.path.join(self.home, "loong.sqlite3")

    @property
    def pid(self) -> int:
        """The pid of the daemon that was started last."""
        assert self.process is not None
        return self.process.pid

    @property
    def url(self) -> str:
        """The root of the gateway's port."""
        return f"http://127.0.0.1:{self.port}"

    def write_config(self, text: str) -> None:
        """Replace the config in one step, private as the product wants it."""
        temporary = f"{self.config_path}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, self.config_path)

    # --- the daemon

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the daemon and do not wait for anything. `arguments` are added to the command line."""
        assert self.process is None or self.process.poll() is not None, "still running"
        if self._log is None:
            self._log = open(os.path.join(self.directory, "gateway-output.txt"), "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*self.launcher, *self.arguments, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self.environ,
            cwd=self.directory,
        )
        return self.process

    def start(self, *arguments: str, timeout: float = 20.0) -> None:
        """Start the daemon and wait until it is ready."""
        self.spawn(*arguments)
        self.wait_ready(timeout)

    def wait_ready(self, timeout: float = 20.0) -> dict[str, Any]:
        """Wait until `gateway status --json` says that the daemon started last is ready; the document."""
        return self.wait_status(
            lambda document: document.get("ready") is True and document.get("pid") == self.pid, timeout
        )

    def wait_status(
        self, condition: Callable[[dict[str, Any]], Any], timeout: float = 20.0
    ) -> dict[str, Any]:
        """Wait until the status document satisfies the condition; the document."""

        def look() -> dict[str, Any] | None:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(
                    f"the gateway ended with {self.process.returncode}\n{self.output()[-4000:]}"
                )
            document, _ = self.status()
            return document if condition(document) else None

        try:
            found: dict[str, Any] = wait_until(look, timeout, "status", pause_s=LOOK_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; last status {self.status()}\n{self.output()[-4000:]}") from None
        return found

    def status(self) -> tuple[dict[str, Any], int]:
        """The document of `gateway status --json` ({} when it printed none) and the exit code."""
        done = self.run("gateway", "status", "--json")
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = {}
        return document, done.returncode

    def document(self) -> dict[str, Any]:
        """The document that the daemon has published last, read from its file; {} when there is none."""
        try:
            with open(os.path.join(self.home, "gateway-runtime", "owner-active.json"), "rb") as file:
                found: dict[str, Any] = json.load(file)
        except (OSError, ValueError):
            return {}
        return found

    def surface(self, channel: str = "telegram") -> dict[str, Any]:
        """The first surface of the channel in the status, {} when there is none."""
        surfaces = self.status()[0].get("surfaces") or []
        return next((one for one in surfaces if one["channel"] == channel), {})

    def stop(self, timeout: float = 40.0) -> int:
        """Stop as an operator does, with `gateway stop`; the daemon's exit code."""
        done = self.run("gateway", "stop", timeout=timeout + 5)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.output()[-4000:]}"
        return self.wait_exit(timeout)

    def terminate(self, timeout: float = 40.0) -> int:
        """Stop as a service manager does, with SIGTERM; the daemon's exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def wait_exit(self, timeout: float = 40.0) -> int:
        """Wait for the end of the daemon; its exit code."""
        assert self.process is not None
        return self.process.wait(timeout)

    def kill(self) -> None:
        """kill -9, and wait until the process is gone. Nothing happens when nothing runs."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the daemon."""
        os.kill(self.pid, number)

    def restart(self, timeout: float = 20.0) -> None:
        """Kill what runs and start again, ready at the end."""
        self.kill()
        self.start(timeout=timeout)

    def output(self) -> str:
        """Everything that the daemons of this home printed."""
        try:
            with open(
                os.path.join(self.directory, "gateway-output.txt"), encoding="utf-8", errors="replace"
            ) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    # --- other commands

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        timeout: float = 30.0,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run another command on the same home to its end."""
        return subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.environ, **(environ or {})},
            cwd=self.directory,
            check=False,
        )
