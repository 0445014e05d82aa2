"""Starts that die in a row are counted; work done, a clean end, time, or a changed config ends the row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loong_gateway.owner.boots import Boots
from loong_gateway.owner.paths import Places, resolve_places


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = resolve_places({}, {"LOONG_HOME": str(tmp_path / "home")})
    made.create()
    Path(made.config).write_text("a = 1\n")
    return made


def die(places: Places, clock: HandClock, times: int = 1) -> int:
    count = 0
    for _ in range(times):
        count = Boots(places, clock).begin()
        clock.now_ms += 1_000
    return count


def test_deaths_in_a_row_are_counted(places: Places, clock: HandClock) -> None:
    assert [die(places, clock) for _ in range(4)] == [0, 1, 2, 3]


def test_deaths_long_ago_do_not_count(places: Places, clock: HandClock) -> None:
    die(places, clock, 3)
    clock.now_ms += 299_000 - 1_000
    assert Boots(places, clock).begin() == 2
    clock.now_ms += 400_000
    assert Boots(places, clock).begin() == 0


@pytest.mark.parametrize("ending", ["progress", "clean", "resume"])
def test_what_ends_the_row(places: Places, clock: HandClock, ending: str) -> None:
    die(places, clock, 3)
    boots = Boots(places, clock)
    boots.begin()
    getattr(boots, ending)()
    assert die(places, clock, 2) == 1


def test_a_changed_configuration_begins_anew(places: Places, clock: HandClock) -> None:
    die(places, clock, 4)
    Path(places.config).write_text("a = 22\n")
    assert die(places, clock) == 0
    os.unlink(places.config)
    assert die(places, clock) == 0
    assert die(places, clock) == 1


def test_a_clock_that_was_set_back_counts_nothing_of_the_future(places: Places, clock: HandClock) -> None:
    die(places, clock, 3)
    clock.now_ms -= 3_600_000
    assert Boots(places, clock).begin() == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"boots_ms": 3}', b"x" * 100_000])
def test_a_damaged_file_counts_as_none(places: Places, clock: HandClock, content: bytes) -> None:
    Path(places.boots).write_bytes(content)
    assert die(places, clock, 2) == 1


def test_a_place_that_cannot_be_written_keeps_nobody_from_starting(tmp_path: Path, clock: HandClock) -> None:
    places = resolve_places({}, {"LOONG_HOME": str(tmp_path / "nowhere")})
    boots = Boots(places, clock)
    assert boots.begin() == 0
    boots.progress()
    boots.clean()


def test_the_file_stays_small(places: Places, clock: HandClock) -> None:
    for _ in range(300):
        Boots(places, clock).begin()
        clock.now_ms += 1
    assert os.path.getsize(places.boots) < 4_096
