"""Tables, sizes and colour as people see them."""

from __future__ import annotations

import io
import os
import pty

import pytest

from loong_gateway.commands import render
from loong_gateway.commands.render import Style


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (12_300, "12 kB"),
        (1_400_000_000, "1.4 GB"),
        (999_999, "1.0 MB"),
    ],
)
def test_a_size_carries_its_unit(amount: int | None, text: str) -> None:
    assert render.size(amount) == text


def test_latencies_change_their_unit_at_a_second() -> None:
    assert [render.latency(s) for s in (0.084, 1.42, 12.0)] == ["84 ms", "1.4 s", "12 s"]


def test_columns_are_aligned_by_cells_and_stand_two_spaces_apart() -> None:
    lines = render.table(
        [["NAME", "IN", "PHASE"], ["飞书/工作", "5", "ready"], ["a", "12", "conflict"]], Style(), right=(1,)
    )
    assert lines == ["NAME       IN  PHASE", "飞书/工作   5  ready", "a          12  conflict"]


def test_a_narrow_terminal_cuts_identifiers_in_the_middle_and_nothing_else() -> None:
    reason = "refused 401 by the platform, next try in 9 min"
    lines = render.table(
        [["SURFACE", "WHY"], ["telegram/bot_1234567890123456", reason]], Style(width=60), identifiers=(0,)
    )
    assert reason in lines[1]
    assert lines[1].startswith("tele")
    assert "..." in lines[1]


def test_a_stream_that_is_no_terminal_is_never_cut() -> None:
    name = "x" * 300
    assert name in render.table([["A"], [name]], Style(), identifiers=(0,))[1]


def test_cut_middle_never_exceeds_its_width() -> None:
    for width in range(20):
        assert render.cell_width(render.cut_middle("abc飞书def工作ghi", width)) <= width


def test_control_characters_cannot_steer_the_terminal() -> None:
    assert render.table([["NAME"], ["a\x1b[2Jb\nc\x9b"]], Style()) == ["NAME", "a\\x1b[2Jb\\nc\\x9b"]


def test_a_file_gets_no_colour() -> None:
    style = render.style_of(io.StringIO(), {"TERM": "xterm"})
    assert style.paint("x", "bad") == "x"
    assert style.width is None


@pytest.mark.parametrize(
    ("environ", "no_color", "coloured"),
    [
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm"}, True, False),
    ],
)
def test_a_terminal_gets_colour_unless_it_is_unwanted(
    environ: dict[str, str], no_color: bool, coloured: bool
) -> None:
    parent, child = pty.openpty()
    os.set_blocking(parent, False)
    with open(child, "w", encoding="utf-8") as stream:
        style = render.style_of(stream, environ, no_color=no_color)
    os.close(parent)
    assert style.colour is coloured
