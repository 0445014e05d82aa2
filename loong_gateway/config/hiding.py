"""Takes secrets out of a config that is shown, and puts them back into one that is written.

A mark stands for each secret that is written in the file itself. A reference (a variable, a file) is no secret and is
shown; of a program only the name is, for its arguments may hold one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loong_channels import catalog
from loong_channels.settings import Setting
from loong_gateway.config.provider_settings import PROVIDER
from loong_gateway.config.secret_refs import is_blank, read_ref
from loong_gateway.config.settings import SECTIONS
from loong_gateway.config.tables import fold
from loong_gateway.config.toml_lines import KeyPath, layout
from loong_gateway.config.toml_text import document_text, same

__all__ = ["DEEPEST", "REDACTED", "hidden", "hidden_text", "marked", "restored"]

# Stands for a secret in what is told; written back, it keeps what is stored.
REDACTED = "__LOONG_REDACTED__"

DEEPEST = 64

# Names of values that are secret although this build does not read them.
_SECRET_NAME = re.compile(
    r"token|secret|passw|passphrase|api_?key|(?:private|encrypt|aes|access|signing)_?key|credential|cookie"
    r"|authorization"
)
_NO_SECRET = re.compile(r"max_?tokens|_env$|_file$|_path$")
_IN_COMMENT = re.compile(rf"(?:{_SECRET_NAME.pattern})\w*[\"']?\s*[=:]\s*\S", re.IGNORECASE)
_WITH_PASSWORD = re.compile(
    r"^[a-z][a-z0-9+.-]*://[^/]*@|[?&][^=&]*(?:token|key|secret|sign)[^=&]*=", re.IGNORECASE
)
# Variables that hold secrets have such names; a secret hardly ever does.
_PLAIN_VARIABLE = re.compile(r"[A-Z]{1,16}|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_ANY = Setting("secret", "secret")


def hidden(table: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed config with the mark in place of every secret."""
    made: dict[str, Any] = _copied(table)
    for path in _secrets(table):
        _put(made, path, REDACTED)
    return made


def hidden_text(
    text: str, table: Mapping[str, Any], parse: Callable[[str], dict[str, Any]], scrub: Callable[[str], str]
) -> str:
    """The text with the same marks, and one in place of every comment that looks as if it held a secret."""
    wanted = hidden(table)
    try:
        found = layout(text)
        cuts = [
            (pair.value_at, pair.end, f'"{REDACTED}"')
            for path, pair in found.pairs.items()
            if _at(wanted, path) == REDACTED
        ]
        for start, end in found.comments:
            comment = text[start:end]
            if _IN_COMMENT.search(comment) or scrub(comment) != comment:
                cuts.append((start, end, f"# {REDACTED}"))
        for start, end, mark in sorted(cuts, reverse=True):
            text = text[:start] + mark + text[end:]
        if same(parse(text), wanted):
            return text
    except ValueError:
        # Keys that the scanner does not follow; what is secret could not be found in the text.
        return document_text(wanted)
    return document_text(wanted)


def marked(table: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Where a value or a part of one is the mark, as deep as anything is read."""
    if len(path) > DEEPEST:
        return
    if isinstance(table, str):
        if REDACTED in table:
            yield path
    elif isinstance(table, Mapping):
        for key, value in table.items():
            yield from marked(value, (*path, key))
    elif isinstance(table, (list, tuple)):
        for number, value in enumerate(table):
            yield from marked(value, (*path, number))


def restored(given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What was given with each mark replaced by the secret that is stored in the same place, where there is one."""
    made: dict[str, Any] = _copied(given)
    secrets = set(_secrets(stored))
    for path in list(marked(given)):
        own = _spelt(stored, path)
        if own in secrets and _at(made, path) == REDACTED:
            _put(made, path, _at(stored, own))
    return made


def _spelt(stored: object, path: KeyPath) -> KeyPath:
    """The path as its keys are written in `stored`."""
    made: KeyPath = ()
    for step in path:
        key = step
        if isinstance(stored, Mapping) and isinstance(step, str) and step not in stored:
            key = next((one for one in stored if fold(one) == fold(step)), step)
        stored = _at(stored, (key,))
        made = (*made, key)
    return made


def _secrets(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        own = (*path, key)
        name = fold(str(key))
        if name.endswith("_env"):
            if isinstance(inner, str) and not is_blank(inner) and _is_odd_name(inner):
                yield own
        elif _is_secret(name):
            yield from _of_secret(inner, own)
        elif name == "headers":
            yield from _texts(inner, own)
        elif name == "env" and isinstance(inner, Mapping):
            for variable, one in inner.items():
                yield from _of_secret(one, (*own, variable))
        elif isinstance(inner, Mapping):
            yield from _secrets(inner, own)
        else:
            yield from (
                found for found in _texts(inner, own) if _WITH_PASSWORD.search(str(_from(inner, found, own)))
            )
            yield from _in_list(inner, own)


def _in_list(value: object, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _secrets(item, (*path, number))


def _of_secret(value: object, path: KeyPath) -> Iterator[KeyPath]:
    """The parts of a secret setting's value that may not be shown."""
    if isinstance(value, str):
        ref = read_ref(_ANY, value, base_dir="")
        if not is_blank(value) and (ref.form != "env" or _is_odd_name(str(ref.value))):
            yield path
    elif isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in ("env", "file", "exec"):
        (form, inner), *_ = value.items()
        if form == "exec" and isinstance(inner, (list, tuple)):
            yield from _texts(list(inner), (*path, form), first=1)
        elif form != "file" and not (isinstance(inner, str) and (is_blank(inner) or not _is_odd_name(inner))):
            yield from _texts(inner, (*path, form))
    else:
        yield from _texts(value, path)


def _texts(value: object, path: KeyPath, *, first: int = 0) -> Iterator[KeyPath]:
    """Every text and number in a value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, (list, tuple)):
        for number, inner in list(enumerate(value))[first:]:
            yield from _texts(inner, (*path, number))
    elif not isinstance(value, bool) and not (isinstance(value, str) and is_blank(value)):
        yield path


def _is_odd_name(name: str) -> bool:
    """Whether what stands for the name of a variable may be the secret itself, put in the wrong place."""
    return _PLAIN_VARIABLE.fullmatch(name.strip()) is None


def _is_secret(name: str) -> bool:
    if name in _known_names():
        return True
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET.search(name) and name not in _plain_names()


def _every_setting() -> Iterator[Setting]:
    yield from PROVIDER.settings
    for section in SECTIONS.values():
        yield from section.settings
    for name in catalog.gateway_channels():
        yield from catalog.spec(name).settings


@functools.lru_cache(maxsize=1)
def _known_names() -> frozenset[str]:
    ours = {fold(setting.name) for setting in _every_setting() if setting.kind == "secret"}
    # What channels of other versions take from the environment, which for some is an address with a key in it.
    others = {name for row in catalog.KNOWN.values() if row.package is None for name in row.env}
    return frozenset(ours | (others - _plain_names()))


@functools.lru_cache(maxsize=1)
def _plain_names() -> frozenset[str]:
    return frozenset(fold(setting.name) for setting in _every_setting() if setting.kind != "secret")


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _from(value: object, path: KeyPath, base: KeyPath) -> object:
    return _at(value, path[len(base) :])


def _at(value: Any, path: KeyPath) -> Any:
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def _put(value: Any, path: KeyPath, new: object) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new
