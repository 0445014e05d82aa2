"""Every text that a command can print is one line, begins small, ends open, and names commands that exist."""

from __future__ import annotations

import importlib
import re
import shlex
import string

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.commandline import parser
from loong_gateway.commandline.verbs import find_verb, group_members
from loong_gateway.commands.common import error_lines
from loong_gateway.texts import AREAS, all_rows

ROWS = sorted(all_rows().items())
# Findings about one key of the config, printed in a list that ends with a fix of its own; and a broken output.
WITHOUT_FIX = {
    "config.channel_account.unknown_default",
    "config.file.syntax",
    "config.key.unknown",
    "config.numeric_range",
    "config.table.unknown",
    "config.validation_failed",
    "config.value.clamped",
    "config.value.type",
    "usage.output",
}
# Values of fields that hold a whole command.
COMMANDS = {
    "fix": "loong gateway status",
    "status": "loong gateway status",
    "stop": "loong gateway stop",
    "start": "loong gateway run",
    "check": "loong validate-config",
    "command": "loong gateway stop",
    "verb": "gateway run",
    # Numbers within a command.
    "other": "18790",
    "port": "18789",
}


class Filled(dict):
    """A value for every field of a row."""

    def __missing__(self, name: str) -> str:
        return COMMANDS.get(name, f"<{name}>")


def fields(row: tuple[str, str | None, str | None, int]) -> set[str]:
    return {name for part in row[:3] if part for _, name, _, _ in string.Formatter().parse(part) if name}


@pytest.mark.parametrize(("code", "row"), ROWS)
def test_a_text_is_one_line_that_begins_small_and_ends_without_a_dot(
    code: str, row: tuple[str, str | None, str | None, int]
) -> None:
    error = CommandError(code, **{name: Filled()[name] for name in fields(row)})
    print("\n".join(error_lines(error)))
    assert re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)+", code)
    message = error.message
    assert "\n" not in message
    assert not message[0].isupper() or message.split()[0].isupper(), message
    assert not message.endswith((".", "!")), message
    assert "!" not in message
    assert "sorry" not in message.lower()
    assert len(row[0]) <= 200, message
    assert row[3] in (1, 2, 3, 4, 70, 75, 78)
    assert (error.fix is not None and error.fix.strip()) or code in WITHOUT_FIX


@pytest.mark.parametrize(("code", "row"), [(code, row) for code, row in ROWS if row[2]])
def test_every_command_that_a_fix_names_parses(
    code: str, row: tuple[str, str | None, str | None, int]
) -> None:
    fix = str(row[2]).format_map(Filled())
    for command in commands_in(fix):
        words = shlex.split(command)[1:]
        if words == ["--version"]:
            continue
        call = find_verb(words)
        if call.wants_help and (group_members(call.verb) or not call.verb):
            continue
        module = importlib.import_module(f"loong_gateway.commands.{call.module or 'overview'}")
        if call.wants_help:
            continue
        arguments = parser.parse(call.verb, module, call.rest)
        assert arguments is not None, (code, command)


def commands_in(fix: str) -> list[str]:
    """The `loong ...` commands of a fix; two of them are apart by more than one space or by a comma."""
    found = re.findall(r"(?:^|(?<=: )|(?<=  ))loong(?: [^ ,;]+)+", fix)
    assert found or "loong " not in fix, fix
    return found


def test_no_code_is_defined_in_two_areas() -> None:
    seen: dict[str, str] = {}
    for area in AREAS:
        for code in importlib.import_module(f"loong_gateway.texts.{area}").TEXTS:
            assert code not in seen, f"{code} in {area} and {seen[code]}"
            seen[code] = area


def test_every_area_is_in_the_table() -> None:
    import pkgutil

    import loong_gateway.texts

    assert {m.name for m in pkgutil.iter_modules(loong_gateway.texts.__path__)} == set(AREAS)
