"""Reads a reference to a secret from the config: which form it has, and what is wrong with it. Resolves nothing.

A value is never part of a message, whatever it looks like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from loong_channels.settings import Setting
from loong_gateway.config.casting import Problem, kind_of
from loong_gateway.config.secrets import parts_of, shape_problem
from loong_gateway.config.snapshot import SecretRef

__all__ = ["RefCast", "is_blank", "pointer_problem", "read_ref"]

_ENV_TEXT = re.compile(r"\$\{([^{}$]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)|env:(.*)|%([A-Za-z_][A-Za-z0-9_]*)%")
_ENV_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_USUAL_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_SECRET_STARTS = ("sk-", "rk-", "pk-", "ya29.", "bearer ", "ghp_", "glpat-")
_TELEGRAM_TOKEN = re.compile(r"\d{6,12}:.{12,}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FORMS = ("env", "file", "exec")


@dataclass(frozen=True)
class RefCast:
    """What was read: form and value of a SecretRef, and the problems, each with the part of the value it is about."""

    form: str = "absent"
    value: object = None
    problems: tuple[Problem, ...] = ()

    def ref(self, setting: str, fallback_env: tuple[str, ...]) -> SecretRef:
        """The reference for the config key `setting`."""
        return SecretRef(self.form, self.value, setting, fallback_env if self.form == "absent" else ())


def is_blank(raw: object) -> bool:
    """True for a value that counts as not written: empty text, or a reference to an empty name."""
    if isinstance(raw, str):
        return not raw.strip()
    if isinstance(raw, dict) and len(raw) == 1:
        (form, value), *_ = raw.items()
        return form in _FORMS and (value == [] or (isinstance(value, str) and not value.strip()))
    return False


def read_ref(setting: Setting, raw: object, *, base_dir: str) -> RefCast:
    """Read the value of a secret setting: text, or a table with one of env, file and exec."""
    if is_blank(raw):
        return RefCast()
    if isinstance(raw, str):
        return _read_text(setting, raw)
    if isinstance(raw, dict):
        return _read_table(setting, raw, base_dir)
    values = {"expected": 'text or a table such as { env = "NAME" }', "got": kind_of(raw)}
    return RefCast(problems=(Problem("config.value.type", values),))


def pointer_problem(raw: object, *, key: str, default_env: str | None) -> Problem | None:
    """What is wrong with `raw` as the name of a variable, or None. `key` is the name of the setting that holds it."""
    if not isinstance(raw, str):
        return Problem("config.value.type", {"expected": "the name of a variable", "got": kind_of(raw)})
    text = raw.strip()
    code, suggested = _judge_name(text)
    if not code:
        return None
    usable = suggested if suggested and _USUAL_NAME.fullmatch(suggested) else None
    if suggested and suggested == default_env:
        usable = suggested
    example = usable or default_env or "MY_SECRET"
    values = {"key": key, "example": example}
    if usable:
        values["suggested_env_name"] = usable
    return Problem(code, values)


def _judge_name(text: str) -> tuple[str, str | None]:
    """The code of what is wrong with a name, and the name that was probably meant."""
    name, equals, rest = text.partition("=")
    if equals and rest.strip("=") and _ENV_NAME.fullmatch(name.strip()):
        return "config.env_pointer.assignment", name.strip()
    if text.startswith("$"):
        return "config.env_pointer.dollar_prefix", text[1:].strip("{}")
    if len(text) > 2 and text.startswith("%") and text.endswith("%"):
        return "config.env_pointer.percent_wrapped", text.strip("%")
    if _looks_like_a_secret(text):
        return "config.env_pointer.secret_literal", None
    if not _ENV_NAME.fullmatch(text):
        return "config.env_pointer.invalid_name", None
    return "", None


def _looks_like_a_secret(text: str) -> bool:
    if text.lower().startswith(_SECRET_STARTS) or _TELEGRAM_TOKEN.fullmatch(text) or _UUID.fullmatch(text):
        return True
    return len(text) >= 24 and any(c in "-.:/+" for c in text) and re.fullmatch(r"\w+", text) is None


def _read_text(setting: Setting, raw: str) -> RefCast:
    match = _ENV_TEXT.fullmatch(raw.strip())
    if match is not None:
        return _env(setting, next(group for group in match.groups() if group is not None).strip())
    problem = next(filter(None, map(shape_problem, parts_of(raw, several=setting.several))), "")
    if problem:
        values = {"detail": f"{problem}; it cannot be a secret", "example": setting.env or "NAME"}
        return RefCast(problems=(Problem("config.secret.shape", values),))
    return RefCast("inline", raw)


def _read_table(setting: Setting, raw: Mapping[str, object], base_dir: str) -> RefCast:
    if len(raw) != 1 or not set(raw) <= set(_FORMS):
        return _bad_form("expected a table with exactly one of env, file, exec")
    (form, value), *_ = raw.items()
    if form == "exec":
        words = value if isinstance(value, list) else []
        if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or not words[0]:
            return _bad_form("exec: expected a list of texts, the program first", (form,))
        return RefCast("exec", tuple(words))
    if not isinstance(value, str) or "\0" in value:
        return _bad_form(f"{form}: expected text, got {kind_of(value)}", (form,))
    if form == "file":
        return RefCast("file", os.path.join(base_dir, os.path.expanduser(value.strip())))
    return _env(setting, value.strip(), (form,))


def _env(setting: Setting, name: str, item: tuple[str | int, ...] = ()) -> RefCast:
    if not name:
        return RefCast()
    problem = pointer_problem(name, key="env", default_env=setting.env)
    if problem is not None:
        return RefCast(problems=(Problem(problem.code, problem.values, item),))
    return RefCast("env", name)


def _bad_form(detail: str, item: tuple[str | int, ...] = ()) -> RefCast:
    return RefCast(problems=(Problem("config.secret.form", {"detail": detail}, item),))
