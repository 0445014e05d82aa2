"""Every text that a command can print is one line, begins small, ends open, and names commands that exist."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
import shlex
import string

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.commandline import parser
from loong_gateway.commandline.verbs import find_verb
from loong_gateway.commands.common import error_lines
from loong_gateway.texts import AREAS, all_rows

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROWS = sorted(all_rows().items())
# Nothing that loong knows of helps against a broken output.
WITHOUT_FIX = {"usage.output"}
# Values of fields that hold a whole command.
COMMANDS = {
    "fix": "loong gateway status",
    "status": "loong gateway status",
    "stop": "loong gateway stop",
    "start": "loong gateway run",
    "check": "loong validate-config",
    "command": "loong gateway stop",
    "verb": "gateway run",
    "operation": "create",
    # Numbers within a command.
    "other": "18790",
    "port": "18789",
}


NUMBERS = ("other", "port")


class Filled(dict):
    """A value for every field of a row."""

    def __missing__(self, name: str) -> str:
        return COMMANDS.get(name, f"<{name}>")


def fields(row: tuple[str, str | None, str | None, int]) -> set[str]:
    return {name for part in row[:3] if part for _, name, _, _ in string.Formatter().parse(part) if name}


def fixes_in_code() -> list[tuple[str, str]]:
    """Where code makes a fix of its own, and that fix with a value for each of its fields."""
    found = []
    for path in sorted((ROOT / "loong_gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts: list[ast.expr] = []
            if isinstance(node, ast.Call):
                parts = [keyword.value for keyword in node.keywords if is_printed(node, keyword.arg)]
            elif isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "fix" for target in node.targets
            ):
                parts = [node.value]
            texts = [text for part in parts for text in literals(part)]
            found += [(f"{path.name}:{node.lineno}", text) for text in texts if text.strip()]
    return found


def is_printed(call: ast.Call, name: str | None) -> bool:
    """True for an argument that is a command in a text, False also where the row of the code ignores it."""
    code = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    row = all_rows().get(str(code))
    return name in COMMANDS and name not in NUMBERS and (row is None or name in fields(row))


def literals(node: ast.expr) -> list[str]:
    """The texts that an expression may give; what cannot be known is left out."""
    if isinstance(node, ast.IfExp):
        return [*literals(node.body), *literals(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in literals(value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if not isinstance(node, ast.JoinedStr):
        return []
    made = "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in node.values)
    known = isinstance(node.values[0], ast.Constant) and "loong x" not in made
    return [made] if known else []


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
    check_fix(str(row[2]).format_map(Filled()), code)


@pytest.mark.parametrize(("code", "row"), ROWS)
def test_every_command_that_a_message_names_parses(
    code: str, row: tuple[str, str | None, str | None, int]
) -> None:
    for command in re.findall(r"`(loong [^`]+)`", row[0].format_map(Filled())):
        check_command(command, code)


def test_every_command_in_a_fix_that_code_makes_parses() -> None:
    fixes = fixes_in_code()
    assert len(fixes) > 20
    for where, fix in fixes:
        check_fix(fix, where)


def check_fix(fix: str, where: str) -> None:
    assert "?" not in fix, (where, fix)
    for command in commands_in(fix):
        check_command(command, where)


def check_command(command: str, where: str) -> None:
    """Raises for a command that the command line refuses."""
    call = find_verb(shlex.split(command)[1:])
    if call.wants_help:
        return
    module = parser.load(call.module or "overview")
    assert parser.parse(call.verb, module, call.rest) is not None, (where, command)


def commands_in(fix: str) -> list[str]:
    """The `loong ...` commands of a fix; each begins it, or stands behind a colon or two spaces."""
    found = re.findall(r"(?:^|(?<=: )|(?<=  )|(?<=LOONG_HOME ))loong(?: [^ ,;]+)+", fix)
    assert len(found) == len(re.findall(r"(?<![\w./-])loong (?=[a-z-])", fix)), fix
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
