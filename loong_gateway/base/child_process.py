"""Other people's programs as children of this process: what they are given, and how a whole group of them is ended."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from .wording import one_line

__all__ = [
    "ChildPipes",
    "NotStarted",
    "child_environment",
    "has_ended",
    "reap",
    "signal_group",
    "start_child",
]

READ_BYTES = 65_536
# Where the system has no descriptor that tells of a child's end, it is looked for this often.
LOOK_S = 0.5
# What hardly any program does without; nothing of it is secret.
_USUAL = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


class NotStarted(Exception):
    """Raised for a program that cannot be started; `str()` is one line without its arguments."""


def child_environment(
    pass_env: Iterable[str], env: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """All that a child is given: the usual variables of `environ`, those named in `pass_env`, and `env`, which wins."""
    return {**{name: environ[name] for name in (*_USUAL, *pass_env) if name in environ}, **env}


def start_child(
    command: Sequence[str], *, cwd: str | None, env: Mapping[str, str], is_told: bool = True
) -> subprocess.Popen[bytes]:
    """Start it in a session and process group of its own, with unbuffered pipes. Raises NotStarted.

    What is told nothing (`is_told` False) finds the end of its input.

    A command without a slash is looked up in the PATH of `env`. No descriptor of this process is inherited.
    """
    try:
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE if is_told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        detail = str(getattr(error, "strerror", None) or "not a command").lower()
        of_directory = cwd is not None and getattr(error, "filename", None) == cwd
        raise NotStarted(f"its directory: {detail}" if of_directory else detail) from None


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended. It is not reaped by this, so that its number still names its group. Never blocks."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        # A system without that call: the number may be somebody else's a moment later.
        return process.poll() is not None
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the child and to all that it started. Before it is reaped, or at once after that: its number is
    nobody else's while anything of its group lives."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def reap(process: subprocess.Popen[bytes], wait_s: float) -> str:
    """Kill what is left of its group and collect it: how it ended, in words. Blocks up to `wait_s`."""
    signal_group(process, signal.SIGKILL)
    try:
        return _exit_words(process.wait(wait_s))
    except subprocess.TimeoutExpired:
        return "no end: the system does not let go of it"


def _exit_words(code: int) -> str:
    """How a child ended, from its return code: `exit code 3`, `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


class ChildPipes:
    """The three pipes of a child, its end, and what wakes their one reader. Nothing here blocks but `wait`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._files = (process.stdin, process.stdout, process.stderr)
        self._input, self._output, self._error = (file.fileno() for file in self._files)
        self._woken, self._waker = os.pipe()
        for descriptor in (self._input, self._output, self._error, self._woken, self._waker):
            os.set_blocking(descriptor, False)
        self._process = process
        self._selector = selectors.DefaultSelector()
        for descriptor in (self._output, self._error, self._woken):
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._writes = False
        self._pidfd = -1
        with contextlib.suppress(AttributeError, OSError):
            self._pidfd = os.pidfd_open(process.pid)
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    def wait(self, wait_s: float | None, writes: bool) -> bool:
        """Block until there is something to do; True when the child has ended."""
        if self._pidfd < 0:
            wait_s = LOOK_S if wait_s is None else min(LOOK_S, wait_s)
        if writes != self._writes and self._input >= 0:
            self._writes = writes
            if writes:
                self._selector.register(self._input, selectors.EVENT_WRITE)
            else:
                self._selector.unregister(self._input)
        ready = {key.fd for key, _ in self._selector.select(wait_s if wait_s is None else max(0.0, wait_s))}
        if self._woken in ready:
            os.read(self._woken, READ_BYTES)
        return self._pidfd in ready if self._pidfd >= 0 else has_ended(self._process)

    def wake(self) -> None:
        """Have `wait` return. The caller holds what keeps `close` away."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"\0")

    def write(self, line: memoryview) -> int:
        """How much of it was taken, -1 when nothing ever will be."""
        if self._input < 0:
            return -1
        try:
            return os.write(self._input, line)
        except BlockingIOError:
            return 0
        except OSError:
            self.close_input()
            return -1

    def read(self) -> bytes | None:
        """What came on its output, b"" when there is nothing now, None after its end."""
        return self._read(self._output)

    def read_error(self) -> bytes:
        """What came on its error output."""
        return self._read(self._error) or b""

    def _read(self, descriptor: int) -> bytes | None:
        try:
            piece = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return b""
        if piece:
            return piece
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)
        return None

    def close_input(self) -> None:
        """Let it see the end of its input; may be repeated."""
        if self._input >= 0:
            if self._writes:
                self._selector.unregister(self._input)
            self._input = -1
            self._files[0].close()

    def close(self) -> None:
        """Give every descriptor back."""
        self._selector.close()
        for file in self._files:
            file.close()
        for descriptor in (self._woken, self._waker, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)


class Lines:
    """Cuts what arrives into lines. Of one that grows too long nothing more is kept."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self.too_long = False

    def add(self, piece: bytes) -> list[bytes]:
        """The lines that are whole now."""
        *whole, rest = piece.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._rest, whole[0]))
            self._rest, self._rest_bytes = [], 0
        if rest:
            self._rest.append(rest)
            self._rest_bytes += len(rest)
        self.too_long = self._rest_bytes > self._longest or any(len(one) > self._longest for one in whole)
        if self.too_long:
            self._rest, self._rest_bytes = [], 0
        return [line for line in whole if len(line) <= self._longest]


class Tail:
    """The last words of a program. Written by one thread; what is read is a copy."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = b""

    def add(self, piece: bytes) -> None:
        """Keep what was written."""
        if piece:
            self._bytes = (self._bytes + piece)[-self._most :]

    def lines(self) -> list[str]:
        """The last lines without control characters, the first one perhaps cut."""
        return [one_line(line, 500) for line in self._bytes.decode("utf-8", "replace").splitlines()]
