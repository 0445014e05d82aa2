"""The journal as a file: what is written, what a dead writer leaves, what somebody changed."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

import pytest

from loong_gateway.audit.chain import SEAL, Finding, check, line_of, sealed, torn_hash
from loong_gateway.audit.journal import SEGMENTS, Journal
from tests.small_disk import mounted, occupy

ROOT = pathlib.Path(__file__).resolve().parents[3]


def journal_in(directory: pathlib.Path, **options: int) -> Journal:
    return Journal(str(directory / "audit" / "events.jsonl"), **options)


def add(journal: Journal, *numbers: int) -> None:
    journal.append([("PlaneInvoked", {"n": number}, None, 1_800_000_000) for number in numbers])


def numbers(journal: Journal, limit: int = 10_000) -> list[object]:
    return [one["kind"].get("PlaneInvoked", {}).get("n", SEAL) for one in journal.newest(limit)]


def look(journal: Journal) -> Finding:
    return check(journal.lines())


def test_a_line_is_what_the_page_says_and_its_hash_can_be_computed_elsewhere(tmp_path: pathlib.Path) -> None:
    journal = journal_in(tmp_path)
    journal.append([("ProviderFailover", {"from": "á", "to": "b"}, "main", 7), ("PlaneInvoked", {}, None, 8)])
    first, second = [json.loads(line) for line in pathlib.Path(journal.path).read_bytes().splitlines()]
    assert list(first) == ["event_id", "timestamp_epoch_s", "agent_id", "kind", "integrity"]
    assert first["kind"] == {"ProviderFailover": {"from": "á", "to": "b"}}
    assert (first["agent_id"], first["timestamp_epoch_s"]) == ("main", 7)
    assert first["integrity"]["prev_hash"] is None
    assert second["integrity"]["prev_hash"] == first["integrity"]["entry_hash"]
    canonical = (
        f'{{"agent_id":"main","event_id":"{first["event_id"]}",'
        '"kind":{"ProviderFailover":{"from":"á","to":"b"}},"prev_hash":null,"timestamp_epoch_s":7}'
    )
    assert first["integrity"]["entry_hash"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert first["integrity"]["algorithm"] == "sha256"
    assert stat.S_IMODE(os.stat(journal.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(journal.path)).st_mode) == 0o700


def test_writers_take_turns_and_the_chain_goes_on(tmp_path: pathlib.Path) -> None:
    one, two = journal_in(tmp_path), journal_in(tmp_path)
    for number in range(6):
        add((one, two)[number % 2], number)
    assert numbers(one) == list(range(6))
    assert look(two) == Finding(total=6, valid=6)
    assert numbers(one, 2) == [4, 5]


@pytest.mark.parametrize(
    ("change", "line", "reason"),
    [
        (lambda lines: [lines[0], lines[1].replace(b'"n":1', b'"n":9'), *lines[2:]], 2, "its content"),
        (lambda lines: [lines[0], *lines[2:]], 2, "does not follow"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2, "does not follow"),
        (lambda lines: [*lines[:2], b"not an entry\n", *lines[2:]], 3, "no entry"),
        (lambda lines: [*lines, b"not an entry\n"], 5, "no entry"),
        (lambda lines: [lines[0].replace(b'"sha256"', b'"md5"'), *lines[1:]], 1, "its content"),
        (lambda lines: [lines[0].replace(b"integrity", b"integritx"), *lines[1:]], 1, "no integrity"),
        (
            lambda lines: [lines[0].replace(b'{"event_id', b'{"by":"x","event_id'), *lines[1:]],
            1,
            "its content",
        ),
        (
            lambda lines: [lines[0].replace(b'{"algorithm', b'{"by":"x","algorithm'), *lines[1:]],
            1,
            "its content",
        ),
        (lambda lines: [lines[0].replace(b'{"n":0', b'{"n":9,"n":0'), *lines[1:]], 1, "no entry"),
        (lambda lines: [lines[0].replace(b'"agent_id":null,', b""), *lines[1:]], 1, "its content"),
    ],
)
def test_the_first_line_that_somebody_changed_is_named(
    tmp_path: pathlib.Path, change, line: int, reason: str
) -> None:
    journal = journal_in(tmp_path)
    add(journal, 0, 1, 2, 3)
    file = pathlib.Path(journal.path)
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))
    found = look(journal).first_break
    assert found is not None
    assert (found.file, found.line) == (journal.path, line)
    assert reason in found.reason
    before = file.read_bytes()
    assert journal.repair()["outcome"] == "refused"
    assert file.read_bytes() == before


@pytest.mark.parametrize("torn", [b'{"event_id":"x","kind":{"Pl', b'{"a', b"\xff\xfe", b'half\n{"other half'])
def test_what_a_dead_writer_left_is_kept_and_named_by_the_next_entry(
    tmp_path: pathlib.Path, torn: bytes
) -> None:
    journal = journal_in(tmp_path)
    add(journal, 0, 1)
    file = pathlib.Path(journal.path)
    before = file.read_bytes() + torn
    file.write_bytes(before)
    assert look(journal).first_break is None
    assert look(journal).unfinished_bytes == len(torn)
    add(journal_in(tmp_path), 2)
    assert file.read_bytes().startswith(before + b"\n")
    found = look(journal)
    assert (found.first_break, found.total, found.sealed_lines) == (None, 4, 1)
    assert numbers(journal) == [0, 1, SEAL, 2]
    file.write_bytes(file.read_bytes().replace(torn, torn[:-1] + b"?"))
    assert look(journal).first_break is not None


def test_what_is_no_entry_is_not_kept_while_it_is_looked_through() -> None:
    def lines() -> Iterator[tuple[str, int, bytes]]:
        for number in range(20_000):
            yield "events.jsonl", number, b"x" * 4000

    tracemalloc.start()
    try:
        assert check(lines()).unfinished_bytes == 80_000_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "pieces", [[b"\n", b"a\n", b"\n", b"b"], [b"a", b"b\n"], [b"\n\n", b"\n"], [b"\n", b"a\n", b"\n"]]
)
def test_the_hash_of_pieces_is_the_hash_of_all(pieces: list[bytes]) -> None:
    seal = sealed(
        {
            "event_id": "x",
            "kind": {SEAL: {"torn_sha256": torn_hash(b"".join(pieces))}},
            "timestamp_epoch_s": 1,
        },
        None,
    )
    found = check(("f", n, line) for n, line in enumerate([*pieces, line_of(seal)]))
    assert (found.first_break, found.sealed_lines) == (None, 1)


def test_a_grown_file_is_put_aside_and_only_the_newest_are_kept(tmp_path: pathlib.Path) -> None:
    journal = journal_in(tmp_path, segment_bytes=600)
    for number in range(40):
        add(journal, number)
    names = sorted(os.listdir(os.path.dirname(journal.path)))
    assert len([name for name in names if name.startswith("events-")]) == SEGMENTS
    found = look(journal)
    assert found.first_break is None
    assert found.starts_after is not None
    kept = numbers(journal)
    assert kept == list(range(40))[-len(kept) :]
    assert len(kept) < 40
    # A writer that begins while the last file has just been put aside goes on where that ended.
    for number in range(40, 44):
        add(journal_in(tmp_path, segment_bytes=600), number)
    assert look(journal).first_break is None
    assert numbers(journal)[-5:] == [39, 40, 41, 42, 43]


def test_a_file_that_was_removed_underneath_leaves_a_trace(tmp_path: pathlib.Path) -> None:
    journal = journal_in(tmp_path)
    add(journal, 0)
    last = journal.newest(1)[0]["integrity"]["entry_hash"]
    os.unlink(journal.path)
    add(journal, 1)
    seal = journal.newest(2)[0]
    assert seal["kind"] == {SEAL: {"removed": True}}
    assert seal["integrity"]["prev_hash"] == last
    assert look(journal).starts_after == last


def test_links_are_not_followed(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "events.jsonl").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        add(journal_in(tmp_path), 1)
    assert target.read_text() == "mine"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        add(Journal(str(tmp_path / "linked" / "events.jsonl")), 1)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_leaves_whole_entries_and_the_next_try_none_twice(tmp_path: pathlib.Path) -> None:
    with mounted(tmp_path, "64k") as disk:
        journal = journal_in(disk)
        add(journal, 0)
        filler = occupy(disk)
        with pytest.raises(OSError):
            add(journal, *range(1, 100))
        assert numbers(journal) == [0]
        filler.unlink()
        add(journal, *range(1, 100))
        assert numbers(journal) == list(range(100))
        assert look(journal).first_break is None


def test_entries_without_an_envelope_are_sealed_once(tmp_path: pathlib.Path) -> None:
    journal = journal_in(tmp_path)
    bare = [
        {"event_id": str(n), "timestamp_epoch_s": n, "agent_id": None, "kind": {"X": {}}} for n in range(3)
    ]
    file = pathlib.Path(journal.path)
    file.parent.mkdir()
    file.write_text("".join(f"{json.dumps(one)}\n" for one in bare))
    add(journal, 0)
    found = look(journal).first_break
    assert found is not None
    assert found.line == 1
    assert journal.repair() == {
        "total_events": 4,
        "repaired_events": 3,
        "already_valid_events": 1,
        "outcome": "repaired",
    }
    assert look(journal) == Finding(total=4, valid=4)
    assert journal.repair()["outcome"] == "healthy"
    assert [one["event_id"] for one in journal.newest(4)[:3]] == ["0", "1", "2"]


WRITER = """
import sys
from loong_gateway.audit.journal import Journal
journal = Journal(sys.argv[1])
n = 0
while True:
    journal.append([("PlaneInvoked", {"n": n, "who": sys.argv[2]}, None, 1)])
    print(n, flush=True)
    n += 1
    if n == int(sys.argv[3]):
        break
"""


def test_processes_that_are_killed_leave_a_chain_that_holds(tmp_path: pathlib.Path) -> None:
    journal = journal_in(tmp_path)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, journal.path, str(who), "0" if who == 0 else "15"],
            stdout=subprocess.PIPE,
            # Or lines that were read ahead would be missing in what communicate() gives.
            bufsize=0,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for who in range(3)
    ]
    victim = writers[0]
    assert victim.stdout is not None
    for _ in range(5):
        victim.stdout.readline()
    victim.send_signal(signal.SIGKILL)
    # Not `communicate`, which passes over what `readline` has read ahead.
    told = 5 + len(victim.stdout.read().splitlines())
    victim.wait(20)
    victim.stdout.close()
    for writer in writers[1:]:
        assert len(writer.communicate(timeout=20)[0].splitlines()) == 15
    add(journal, -1)
    found = look(journal)
    assert found.first_break is None
    by_victim = [
        one for one in journal.newest(10_000) if one["kind"].get("PlaneInvoked", {}).get("who") == "0"
    ]
    assert len(by_victim) in (told, told + 1)
