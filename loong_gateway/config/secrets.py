"""Fetches a secret from where the config says it is: a variable, a file, the output of a program, or the config itself.

The value goes to the caller and nowhere else; no text made here holds it, nor its length.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.child import run_child
from loong_gateway.base.child_process import NotStarted
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.config.snapshot import SecretRef

__all__ = [
    "SecretUnavailable",
    "is_configured",
    "open_to_others",
    "parts_of",
    "peek",
    "resolve",
    "resolve_variables",
    "shape_problem",
]

EXEC_TIMEOUT_S = 5.0
MAX_SECRET_BYTES = 65_536
_SEPARATORS = re.compile(r"[,;\r\n]")
_WORLD_BITS = ((stat.S_IROTH, "readable"), (stat.S_IWOTH, "writable"))


class SecretUnavailable(CommandError):
    """Raised when a reference leads to no usable secret. Has `code`, `message`, `where` and `fix`; never the value."""


def resolve(ref: SecretRef, environ: Mapping[str, str]) -> str:
    """The secret that `ref` leads to. A reference that is present decides alone; only an absent one falls back.

    Where there may be several, each stands on a line of its own.
    Blocks for a file, and up to 5 s for a program. Thread-safe. Raises SecretUnavailable.
    """
    if ref.form == "env":
        return _from_env((str(ref.value),), ref, environ)
    if ref.form == "file":
        return _checked(_from_file(str(ref.value), ref), f"file {one_line(ref.value)}", ref)
    if ref.form == "exec":
        command = [str(word) for word in ref.value] if isinstance(ref.value, (tuple, list)) else []
        return _checked(_from_program(command, ref, environ), f"command {_program(command)}", ref)
    if ref.form == "inline":
        return _checked(str(ref.value), "the config", ref)
    return _from_env(ref.fallback_env, ref, environ)


def resolve_variables(written: Mapping[str, object], secret: Callable[[SecretRef], str]) -> dict[str, str]:
    """The variables of a program, each text or a SecretRef, with what `secret` gives for the latter.

    Blocks and raises as `secret` does.
    """
    return {
        name: secret(value) if isinstance(value, SecretRef) else str(value) for name, value in written.items()
    }


def is_configured(ref: SecretRef, environ: Mapping[str, str]) -> bool:
    """Whether there is something to resolve: a reference, or a variable that stands in for one."""
    return ref.form != "absent" or any(environ.get(name) for name in ref.fallback_env)


def peek(ref: SecretRef, environ: Mapping[str, str]) -> str | None:
    """The secret if it can be had without running a program, else None."""
    if ref.form == "exec":
        return None
    try:
        return resolve(ref, environ)
    except SecretUnavailable:
        return None


def shape_problem(value: str) -> str:
    """What is wrong with `value` as a secret, or "". Only emptiness and unusable characters are judged."""
    if not value:
        return "it is empty"
    if any(c.isspace() for c in value):
        return "it holds white space"
    if not value.isascii() or not value.isprintable():
        return "it holds characters that are not printable ASCII"
    return ""


def open_to_others(mode: int) -> str:
    """What everybody on the host may do with a file of this mode: "", "readable", "writable" or both."""
    return " and ".join(word for bit, word in _WORLD_BITS if mode & bit)


def parts_of(value: str, *, several: bool) -> list[str]:
    """The secrets in a text, at least one: where there may be several they are separated by `,` or `;` or new lines."""
    pieces = [piece.strip() for piece in _SEPARATORS.split(value)] if several else [value]
    return list(dict.fromkeys(piece for piece in pieces if piece)) or [""]


def _checked(value: str, source: str, ref: SecretRef) -> str:
    parts = parts_of(value, several=ref.several)
    for part in parts:
        problem = shape_problem(part)
        if problem:
            raise SecretUnavailable("secret.bad_shape", source=source, detail=problem, setting=ref.setting)
    return "\n".join(parts)


def _from_env(names: tuple[str, ...], ref: SecretRef, environ: Mapping[str, str]) -> str:
    for name in names:
        value = environ.get(name, "").strip()
        if value:
            return _checked(value, f"env {name}", ref)
    if not names:
        raise SecretUnavailable("secret.not_set", setting=ref.setting)
    raise SecretUnavailable("secret.env_not_set", name=" or ".join(names), setting=ref.setting)


def _from_file(path: str, ref: SecretRef) -> str:
    try:
        # Without O_NONBLOCK opening a pipe that nobody writes to would block for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unreadable(path, "not a regular file", ref)
            content = os.read(handle, MAX_SECRET_BYTES + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unreadable(path, (error.strerror or "unreadable").lower(), ref) from None
    if len(content) > MAX_SECRET_BYTES:
        raise _unreadable(path, "larger than 64 KiB", ref)
    return _text(content)


def _unreadable(path: str, detail: str, ref: SecretRef) -> SecretUnavailable:
    return SecretUnavailable(
        "secret.file_unreadable", path=one_line(path), detail=detail, setting=ref.setting
    )


def _from_program(command: list[str], ref: SecretRef, environ: Mapping[str, str]) -> str:
    try:
        result = run_child(
            command,
            cwd=None,
            env=environ,
            max_bytes=MAX_SECRET_BYTES,
            deadline=Deadline(EXEC_TIMEOUT_S),
            stop=StopToken(),
            bounded=False,
        )
    except NotStarted as error:
        raise _failed(command, str(error), ref) from None
    if result.ending == "flooded":
        raise _failed(command, "more than 64 KiB of output", ref)
    if result.ending != "exited":
        raise _failed(command, f"no answer within {EXEC_TIMEOUT_S:g} s", ref)
    if result.code:
        raise _failed(command, f"exit code {result.code}", ref)
    return _text(result.stdout)


def _failed(command: list[str], detail: str, ref: SecretRef) -> SecretUnavailable:
    return SecretUnavailable(
        "secret.exec_failed", program=_program(command), detail=detail, setting=ref.setting
    )


def _program(command: list[str]) -> str:
    # Arguments may be secrets themselves.
    return one_line(command[0], 100) if command else "(none)"


def _text(content: bytes) -> str:
    # Bytes that are no text become characters that the shape check refuses.
    return content.decode("utf-8", "replace").rstrip("\r\n")
