"""Reads the arguments of one verb and prints its help; a bad argument becomes an error with a next step."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import nearest
from loong_gateway.commandline.mistakes import explain, pasted, replaced
from loong_gateway.commandline.verbs import (
    ALIASES,
    GLOBAL_SWITCHES,
    GLOBAL_VALUES,
    SELDOM,
    VERBS,
    find_verb,
    group_members,
)

__all__ = ["group_help", "load", "parse"]

GLOBAL_LINE = "Also: --config PATH  --profile NAME  --dev  --verbose  --no-color"
# Options that mean nothing without a value, wherever they occur.
NEVER_EMPTY = ("config", "profile", "session", "account")
USUAL_EXIT_CODES = "0 done; 2 wrong usage, or it could not run; 70 internal error"


class _Help(argparse.HelpFormatter):
    """One line per flag where it fits, with its default."""

    def __init__(self, prog: str) -> None:
        width = min(110, max(60, shutil.get_terminal_size((100, 24)).columns))
        super().__init__(prog, max_help_position=30, width=width)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        shown = action.default not in (None, False, True, "", argparse.SUPPRESS, [], ())
        return f"{text} (default %(default)s)" if shown and "default" not in text else text


class _VerbParser(argparse.ArgumentParser):
    """An argument parser that raises instead of leaving, and prints help in the house's order.

    `line` is the whole command line, from which a correction is made; `words` are what follows the verb in it.
    """

    examples: tuple[str, ...] = ()
    exit_codes = USUAL_EXIT_CODES
    line: Sequence[str] = ()
    words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        unknown = _mistyped(self)
        if unknown is not None:
            # What is said to be missing may well be there, mistyped.
            raise _unexpected(self, unknown)
        mistake = explain(message)
        fixed = _corrected(self.line, mistake.given, mistake.meant) if mistake.meant else None
        raise CommandError("usage.bad_arguments", detail=mistake.detail, fix=fixed or f"{self.prog} --help")

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)  # noqa: SLF001  argparse offers no other way
            formatter.end_section()
        lines = [self.description or "", "", formatter.format_help().rstrip(), ""]
        lines += [self.epilog] if self.epilog else []
        lines.append(GLOBAL_LINE)
        lines += [f"Example: {example}" for example in self.examples[:2]]
        lines.append(f"Exit codes: {self.exit_codes}")
        return "\n".join(lines) + "\n"


def load(name: str) -> Any:
    """What answers a verb: a module of `commands`, or with `module:NAME` what it has in `COMMANDS` under that name."""
    module, _, inner = name.partition(":")
    found = import_module(f"loong_gateway.commands.{module}")
    return found.COMMANDS[inner] if inner else found


def parse(verb: str, module: Any, rest: list[str], line: Sequence[str] = ()) -> argparse.Namespace:
    """The arguments of `verb`, global flags included. Prints help and leaves with 0 when it is asked for.

    `line` is everything that was typed after `loong`; the fix of a mistake repeats it, corrected.
    Raises CommandError for what the verb does not take.
    """
    parser = _build(verb, module, rest, line)
    namespace, unknown = parser.parse_known_args(rest)
    if unknown:
        raise _unexpected(parser, unknown[0])
    for name in NEVER_EMPTY:
        value = getattr(namespace, name, None)
        if value is not None and not str(value).strip():
            raise CommandError(
                "usage.bad_arguments", detail=f"--{name} needs a value", fix=f"{parser.prog} --help"
            )
    return namespace


def _build(verb: str, module: Any, words: Sequence[str], line: Sequence[str]) -> _VerbParser:
    parser = _VerbParser(
        prog=f"loong {verb}".strip(),
        description=_sentence(module.HELP),
        formatter_class=_Help,
        allow_abbrev=False,
        add_help=False,
    )
    parser.examples = tuple(module.EXAMPLES)
    parser.exit_codes = getattr(module, "EXIT_CODES", USUAL_EXIT_CODES)
    parser.words = words
    _add_globals(parser, json=getattr(module, "JSON", True))
    module.add_arguments(parser)
    parser.line = line
    return parser


def _corrected(line: Sequence[str], given: str, meant: str) -> str | None:
    """The command line with `meant` in the place of `given`, None when that is still not one that can be run."""
    tokens = replaced(line, given, meant)
    if tokens == list(line):
        return None
    try:
        call = find_verb(tokens)
        if not call.wants_help:
            parse(call.verb, load(call.module or "overview"), call.rest)
    except CommandError:
        return None
    return pasted(tokens)


def group_help(group: str) -> str:
    """What can follow the words of `group`; the overview of every verb for ""."""
    members = group_members(group)
    about = {row[0]: row[2] for row in VERBS}
    said = {**{name: about.get(verb, "") for name, verb in ALIASES.items()}, **about}
    width = max(len(name) for name in members)
    head = f"loong {group}".strip()
    lines = [f"usage: {head} VERB [flags]", ""]
    lines += [f"  {name:<{width}}  {said.get(name, '')}".rstrip() for name in members]
    return "\n".join(
        [
            *lines,
            "",
            *_seldom(group),
            f"Flags, examples and exit codes of a verb: loong VERB --help.  {GLOBAL_LINE}",
        ]
    )


def _seldom(group: str) -> list[str]:
    groups: dict[str, dict[str, None]] = {}
    for name in () if group else SELDOM:
        first, second, *_ = name.split()
        groups.setdefault(first, {})[second] = None
    said = "; ".join(f"loong {first} {', '.join(rest)}" for first, rest in groups.items())
    return [f"Also: {said}."] if said else []


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _add_globals(parser: argparse.ArgumentParser, *, json: bool) -> None:
    hidden = argparse.SUPPRESS
    parser.add_argument("-h", "--help", action="help", help=hidden)
    parser.add_argument("--config", metavar="PATH", help=hidden)
    parser.add_argument("--profile", metavar="NAME", help=hidden)
    parser.add_argument("--dev", action="store_true", help=hidden)
    parser.add_argument("--verbose", action="store_true", help=hidden)
    parser.add_argument("--no-color", action="store_true", help=hidden)
    if json:
        parser.add_argument("--json", action="store_true", help="print one JSON document")
    else:
        parser.set_defaults(json=False)


def _mistyped(parser: _VerbParser) -> str | None:
    """The first word of the line that looks like an option of this parser and is none."""
    line = list(parser.line)
    known = {name for action in parser._actions for name in action.option_strings}  # noqa: SLF001  as above
    words = (word.split("=", 1)[0] for word in line[: line.index("--") if "--" in line else None])
    unknown = (word for word in words if word.startswith("--") and word not in known)
    return next((word for word in unknown if nearest(word, sorted(known)) is not None), None)


def _unexpected(parser: _VerbParser, given: str) -> CommandError:
    flag = given.split("=", 1)[0]
    if not given.startswith("-"):
        return CommandError(
            "usage.bad_arguments", detail=f'unexpected argument "{given}"', fix=f"{parser.prog} --help"
        )
    flags = [name for action in parser._actions for name in action.option_strings]  # noqa: SLF001  as above
    meant = nearest(flag, [name for name in flags if name.startswith("--")])
    fix = _corrected(parser.line, flag, meant) if meant else None
    if fix is None:
        # A mistyped global flag before the verb hides the verb.
        known = [name for name in (*GLOBAL_SWITCHES, *GLOBAL_VALUES) if name.startswith("--")]
        general = nearest(flag, known)
        fix = _corrected(parser.line, flag, general) if general else None
        meant = general if fix else meant
    detail = f'unknown option "{flag}"' + (f"; did you mean {meant}?" if meant else "")
    return CommandError("usage.bad_arguments", detail=detail, fix=fix or f"{parser.prog} --help")
