"""Mistakes in a command line: what argparse says about them in our own words, and the line without the mistake."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from loong_gateway.base.wording import nearest, one_line

__all__ = ["Mistake", "explain", "pasted", "replaced"]

LONGEST_FIX = 200
FEW = 8
_NUMBERS = {"int": "a whole number", "float": "a number"}
_ABOUT = re.compile(r"argument (?P<name>[^:]+): (?P<what>.*)", re.DOTALL)
_TYPE = re.compile(r"invalid (?P<type>\w+) value: (?P<given>.*)", re.DOTALL)
_CHOICE = re.compile(r"invalid choice: (?P<given>.*) \(choose from (?P<choices>.*)\)", re.DOTALL)
_VALUE = re.compile(r"expected (one|at least one|\d+) arguments?")
_EXPLICIT = re.compile(r"ignored explicit argument .*", re.DOTALL)
_EXCLUDES = re.compile(r"not allowed with argument (?P<other>.*)")
_REQUIRED = re.compile(r"the following arguments are required: (?P<names>.*)")


class Mistake(NamedTuple):
    """What is wrong, and with what to replace which word; both are "" when no word is the obvious one."""

    detail: str
    given: str = ""
    meant: str = ""


def explain(message: str) -> Mistake:
    """What argparse says, said as everything else here is. What is not known is passed on."""
    required = _REQUIRED.fullmatch(message)
    if required is not None:
        names = [_first(name) for name in required["names"].split(", ")]
        return Mistake(f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing")
    about = _ABOUT.fullmatch(message)
    if about is None:
        return Mistake(one_line(message))
    return _about(_first(about["name"]), about["what"])


def _about(name: str, what: str) -> Mistake:
    choice = _CHOICE.fullmatch(what)
    if choice is not None:
        return _no_choice(name, _bare(choice["given"]), [_bare(c) for c in choice["choices"].split(", ")])
    wrong_type = _TYPE.fullmatch(what)
    if wrong_type is not None:
        kind = _NUMBERS.get(wrong_type["type"], f"of the kind {wrong_type['type']}")
        return Mistake(f'{name} "{one_line(_bare(wrong_type["given"]), 60)}" is not {kind}')
    if _VALUE.fullmatch(what):
        return Mistake(f"{name} needs a value")
    if _EXPLICIT.fullmatch(what):
        return Mistake(f"{name} takes no value")
    excludes = _EXCLUDES.fullmatch(what)
    if excludes is not None:
        return Mistake(f"{_first(excludes['other'])} and {name} exclude each other")
    return Mistake(f"{name}: {one_line(what)}")


def _no_choice(name: str, given: str, choices: list[str]) -> Mistake:
    meant = nearest(given.lower(), choices) or ""
    detail = f'{name} "{one_line(given, 60)}" is not known'
    if meant:
        return Mistake(f"{detail}; did you mean {meant}?", given, meant)
    return Mistake(f"{detail}; known: {', '.join(choices)}" if len(choices) < FEW else detail)


def replaced(line: Sequence[str], given: str, meant: str) -> list[str]:
    """`line` with `meant` for the first word that is `given`, or for `given` as the name or value in `NAME=VALUE`."""
    tokens = list(line)
    for index, token in enumerate(tokens):
        name, equals, value = token.partition("=")
        if token == given:
            tokens[index] = meant
        elif equals and name == given:
            tokens[index] = f"{meant}={value}"
        elif equals and value == given and name.startswith("--"):
            tokens[index] = f"{name}={meant}"
        else:
            continue
        break
    return tokens


def pasted(tokens: Sequence[str]) -> str | None:
    """The command line as it can be pasted into a shell; None when it is too long or cannot be shown."""
    command = f"loong {shlex.join(tokens)}"
    return command if command.isprintable() and len(command) <= LONGEST_FIX else None


def _first(names: str) -> str:
    spellings = names.split("/")
    return next((name for name in spellings if name.startswith("--")), spellings[0])


def _bare(shown: str) -> str:
    return shown[1:-1] if len(shown) > 1 and shown[0] == shown[-1] and shown[0] in "'\"" else shown
