"""Cutting text: never over the limit, never through a character, nothing lost."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest

from loong_channels.text import clean, code_blocks, measure, one_line, split

UNITS = ("utf16", "utf8", "codepoint")
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1e9\U0001f1ea"
THUMB = "\U0001f44d\U0001f3fd"
HEART = "\u2764\ufe0f"
ACCENT = "e\u0301\u0323"
KEYCAP = "1\ufe0f\u20e3"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
HANGUL = "\u1112\u1161\u11ab"
CLUSTERS = (FAMILY, FLAG, THUMB, HEART, ACCENT, KEYCAP, ENGLAND, HANGUL)


def units(text: str, unit: str) -> int:
    """An independent count, one code point at a time."""
    if unit == "codepoint":
        return len(text)
    if unit == "utf16":
        return sum(2 if ord(char) > 0xFFFF else 1 for char in text)
    return sum(len(char.encode("utf-8")) for char in text)


def says_the_same(text: str, pieces: list[str]) -> bool:
    """Whether the pieces are the text, apart from fences: a piece may be closed if the next reopens it."""
    openers = {match.group() for match in re.finditer(r"^[ \t]*(?:```+|~~~+)[^\n]*\n", text, re.MULTILINE)}
    openers |= {re.sub(r"\s+$", "", opener) + "\n" for opener in openers}
    states = {(0, "")}
    for piece in pieces:
        reached = set()
        for position, opener in states:
            if not piece.startswith(opener):
                continue
            rest = piece[len(opener) :]
            if text.startswith(rest, position):
                reached.add((position + len(rest), ""))
            for following in openers:
                fence = re.match(r"[ \t]*[`~]+", following).group()
                for added in (fence, "\n" + fence):
                    body = rest[: len(rest) - len(added)]
                    if rest.endswith(added) and text.startswith(body, position):
                        reached.add((position + len(body), following))
        states = reached
    return (len(text), "") in states


@pytest.mark.parametrize("unit", UNITS)
def test_a_text_within_the_limit_is_left_alone(unit: str) -> None:
    assert split("hello *world*\n", 40, unit) == ["hello *world*\n"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("text", ["", " ", "\n\n\t", "\u3000" * 50])
def test_white_space_alone_is_nothing_to_send(text: str, unit: str) -> None:
    assert split(text, 20, unit) == []


def test_a_limit_in_which_no_code_point_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="below 4"):
        split("abc", 3, "utf8")


@pytest.mark.parametrize("unit", UNITS)
def test_measure_agrees_with_counting_code_points(unit: str) -> None:
    for text in ("", "abc", "äöü", "漢字", FAMILY, "a\U0001f600b", ENGLAND + ACCENT):
        assert measure(text, unit) == units(text, unit)


def test_lone_surrogates_become_replacement_characters_and_pairs_are_joined() -> None:
    assert clean("a\ud83d") == "a\ufffd"
    assert clean("\ude00\ud83db") == "\ufffd\ufffdb"
    assert clean("x\ud83d\ude00y") == "x\U0001f600y"
    assert split("\udfff" * 10, 4, "utf16") == ["\ufffd" * 4, "\ufffd" * 4, "\ufffd" * 2]
    assert measure("\ud83d", "utf8") == 3


def test_a_name_from_outside_is_one_short_printable_line() -> None:
    assert one_line("  a\n\x1b[2Jb\u202e\ud83d ", 20) == "a [2Jb \ufffd"
    assert one_line("x" * 300, 20) == "x" * 20
    assert one_line(7, 20) == "7"


def test_blank_line_is_preferred_to_line_end_to_sentence_to_space() -> None:
    assert split("one two three.\n\nfour five.\nsix seven", 30, "utf16")[0] == "one two three.\n\n"
    assert split("one two three four.\nfive six. seven", 30, "utf16")[0] == "one two three four.\n"
    assert split("one two three. four five six seven", 30, "utf16")[0] == "one two three. "
    assert split("one two three four five six seven", 30, "utf16")[0] == "one two three four five six "
    assert split("你好世界你好世界。你好世界你好", 12, "utf16")[0] == "你好世界你好世界。"
    assert split("x" * 50, 30, "utf16") == ["x" * 30, "x" * 20]


def test_a_no_break_space_is_no_place_for_a_cut() -> None:
    assert split("ab cd\u00a0ef gh", 9, "utf16")[0] == "ab cd\u00a0ef "
    assert split("abcd cd\u00a0efgh", 9, "utf16")[0] == "abcd "


def test_an_early_break_is_taken_when_there_is_no_later_one() -> None:
    assert split("hi\n" + "x" * 40, 30, "utf16")[0] == "hi\n"


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("unit", UNITS)
def test_what_looks_like_one_character_is_not_cut(cluster: str, unit: str) -> None:
    text = cluster * 40
    for limit in range(units(cluster, unit), units(cluster, unit) * 3 + 1):
        if limit < 4:
            continue
        pieces = split(text, limit, unit)
        assert "".join(pieces) == text
        for piece in pieces:
            assert units(piece, unit) <= limit
            assert piece == cluster * (len(piece) // len(cluster))


def test_a_character_with_endless_accents_is_cut_rather_than_refused() -> None:
    text = "e" + "\u0301" * 500
    pieces = split(text, 100, "utf16")
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 100


def test_a_torn_code_block_is_closed_and_opened_again_with_its_info_string() -> None:
    code = "".join(f"line {n}\n" for n in range(20))
    pieces = split(f"Look:\n\n```python title=x\n{code}```\nDone.", 80, "utf16")
    assert len(pieces) > 2
    assert "Look:" in pieces[0]
    for piece in pieces:
        assert units(piece, "utf16") <= 80
        assert piece.count("```") in (0, 2)
    torn = [piece for piece in pieces if "line" in piece]
    assert all(piece.startswith("```python title=x\n") for piece in torn[1:])
    lines = [line for piece in pieces for line in piece.splitlines() if line.startswith("line")]
    assert lines == [f"line {n}" for n in range(20)]


def test_a_line_longer_than_the_limit_inside_code_gets_a_line_end_before_the_closing_fence() -> None:
    pieces = split("```\n" + "y" * 100 + "\n```", 40, "utf16")
    assert pieces[0] == "```\n" + "y" * 32 + "\n```"
    assert all(piece.startswith("```\n") for piece in pieces)
    assert sum(piece.count("y") for piece in pieces) == 100


def test_no_piece_ends_with_an_opening_line_or_starts_with_a_lonely_closing_line() -> None:
    for limit in range(30, 90):
        text = "para one is here\n\n```js\n" + "let a = 1;\n" * 9 + "```\n\nlast words of it all"
        for piece in split(text, limit, "utf16"):
            assert not piece.rstrip().endswith("```js")
            assert not piece.startswith("```js\n```")


def test_inline_code_with_three_backticks_is_no_fence() -> None:
    assert code_blocks("```inline``` text\nmore") == []


def test_tilde_fences_and_indented_fences_count() -> None:
    (block,) = code_blocks("1. x\n    ~~~sh\n    ls\n    ~~~\nafter")
    assert (block.indent, block.fence, block.info) == ("    ", "~~~", "sh")


def test_a_block_that_is_never_closed_runs_to_the_end() -> None:
    text = "```\nabc"
    (block,) = code_blocks(text)
    assert (block.body, block.body_end, block.end) == (4, 7, 7)


def test_the_end_of_a_text_never_becomes_a_piece_of_white_space() -> None:
    for tail in ("\n", "\n\n", "  \n", "\n" * 20):
        pieces = split("word " * 19 + "final" + tail, 100, "utf16")
        assert "".join(pieces) == "word " * 19 + "final" + tail
        assert all(piece.strip() for piece in pieces)


def random_text(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.randrange(1, 60)):
        kind = rng.randrange(10)
        if kind < 3:
            parts.append("".join(rng.choice("abc defg. hi?\n") for _ in range(rng.randrange(30))))
        elif kind == 3:
            parts.append(rng.choice(CLUSTERS) * rng.randrange(1, 6))
        elif kind == 4:
            parts.append("".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(20))))
        elif kind == 5:
            parts.append(
                rng.choice(["\u0645\u0631\u062d\u0628\u0627 ", "\u05e9\u05dc\u05d5\u05dd\n", "漢字。仮名、"])
            )
        elif kind == 6:
            parts.append("".join(chr(rng.randrange(0xD800, 0xE000)) for _ in range(rng.randrange(4))))
        elif kind == 7:
            parts.append(rng.choice(["\n\n", "\r\n", "\n \n", " ", "\t"]))
        elif kind == 8:
            parts.append(
                rng.choice(["\n```\n", "\n```py\n", "\n~~~\n", "\n```py title='x y'\n", "```", "\n````\n"])
            )
        else:
            parts.append("x" * rng.randrange(80))
    return "".join(parts)


@pytest.mark.parametrize("unit", UNITS)
def test_random_texts_without_fences_join_to_themselves(unit: str) -> None:
    rng = random.Random(f"plain-{unit}")
    for _ in range(400):
        text = clean(random_text(rng).replace("`", "'").replace("~", "-"))
        limit = rng.randrange(4, 200)
        pieces = split(text, limit, unit)
        assert "".join(pieces) == (text if text.strip() else "")
        longest_space = max(len(run) for run in _space_runs(text))
        for piece in pieces:
            assert 0 < units(piece, unit) <= limit
            assert piece.strip() or longest_space * 3 > limit - 64


def _space_runs(text: str) -> list[str]:
    runs, run = [""], ""
    for char in text:
        run = run + char if char.isspace() else ""
        runs.append(run)
    return runs


@pytest.mark.parametrize("unit", UNITS)
def test_random_texts_with_fences_keep_every_character_in_order(unit: str) -> None:
    rng = random.Random(f"fences-{unit}")
    for _ in range(400):
        text = random_text(rng)
        limit = rng.randrange(4, 300)
        pieces = split(text, limit, unit)
        assert all(units(piece, unit) <= limit for piece in pieces)
        "".join(pieces).encode("utf-8")
        assert says_the_same(clean(text), pieces) or not clean(text).strip()


def test_cuts_never_part_a_base_from_its_marks() -> None:
    rng = random.Random(7)
    for _ in range(300):
        text = clean(random_text(rng))
        for piece in split(text, rng.randrange(80, 300), "utf16")[1:]:
            if unicodedata.combining(piece[0]) or piece[0] == "\ufe0f":
                start = text.index(piece[:20])
                assert start == 0 or text[start - 1] in "\r\n"


@pytest.mark.parametrize("filler", ["x", "\n", "word ", FLAG, "```\n", "a\n```\n", ACCENT, "`", "\n\n  "])
def test_a_megabyte_of_anything_is_cut_completely(filler: str) -> None:
    text = filler * (1_000_000 // len(filler)) + "end"
    pieces = split(text, 4000, "utf16")
    assert all(units(piece, "utf16") <= 4000 for piece in pieces)
    if "`" not in filler:
        assert "".join(pieces) == text
