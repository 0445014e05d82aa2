"""Tables, sizes and colour as people see them."""

from __future__ import annotations

import pytest

from loong_gateway.commands import render


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
        [["NAME", "IN", "PHASE"], ["飞书/工作", "5", "ready"], ["a", "12", "conflict"]], right=(1,)
    )
    assert lines == ["NAME       IN  PHASE", "飞书/工作   5  ready", "a          12  conflict"]


def test_a_narrow_terminal_cuts_identifiers_in_the_middle_and_nothing_else() -> None:
    reason = "refused 401 by the platform, next try in 9 min"
    lines = render.table(
        [["SURFACE", "WHY"], ["telegram/bot_1234567890123456", reason]], width=60, identifiers=(0,)
    )
    assert reason in lines[1]
    assert lines[1].startswith("tele")
    assert "..." in lines[1]


def test_a_stream_that_is_no_terminal_is_never_cut() -> None:
    name = "x" * 300
    assert name in render.table([["A"], [name]], identifiers=(0,))[1]


def test_cut_middle_never_exceeds_its_width() -> None:
    for width in range(20):
        assert render.cell_width(render.cut_middle("abc飞书def工作ghi", width)) <= width


def test_control_characters_cannot_steer_the_terminal() -> None:
    assert render.visible("a\x1b[2Jb\nc\x9b") == "a\\x1b[2Jb c\\x9b"


def test_colour_marks_only_what_it_was_asked_for() -> None:
    rows = [["A", "B"], ["x", "bad"]]
    assert "\x1b" not in "".join(render.table(rows, meanings={(1, 1): "bad"}))
    assert render.table(rows, color=True, meanings={(1, 1): "bad"})[1] == "x  \x1b[31mbad\x1b[0m"
    assert render.paint("x", None, color=True) == "x"
