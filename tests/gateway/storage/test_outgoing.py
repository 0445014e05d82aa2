"""Copies of files that wait to be sent: made whole or not at all, found by name only, gone when nobody needs them."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import stat
import threading
from collections.abc import Iterator

import pytest
from store_help import NOW_MS, memory

from loong_channels.contract import Address, Outbound, OutboundFile
from loong_gateway.base.faults import CommandError
from loong_gateway.storage import outbox, outgoing
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.outgoing import Outgoing, discard

LIMIT = 1000
HOUR_MS = 3_600_000


@pytest.fixture
def copies(tmp_path: pathlib.Path) -> Outgoing:
    return Outgoing(str(tmp_path / "outgoing"))


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    connection = memory()
    yield connection
    connection.close()


def source(tmp_path: pathlib.Path, data: bytes = b"data", name: str = "report.pdf") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    return str(path)


def kept(tmp_path: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "outgoing").iterdir())


def refusal(copies: Outgoing, path: str, limit: int = LIMIT) -> CommandError:
    with pytest.raises(CommandError) as caught:
        copies.keep(path, limit_bytes=limit)
    return caught.value


def test_a_copy_is_whole_private_and_independent_of_its_source(
    tmp_path: pathlib.Path, copies: Outgoing
) -> None:
    data = os.urandom(3 << 20)
    path = source(tmp_path, data)
    os.chmod(path, 0o644)
    copy = copies.path_of(copies.keep(path, limit_bytes=4 << 20), limit_bytes=4 << 20)
    pathlib.Path(path).write_bytes(b"changed")
    assert pathlib.Path(copy).read_bytes() == data
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "outgoing").st_mode) == 0o700


def test_what_cannot_be_sent_is_refused_and_leaves_nothing(tmp_path: pathlib.Path, copies: Outgoing) -> None:
    link = tmp_path / "link"
    link.symlink_to(source(tmp_path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = {
        str(tmp_path / "nothing"): "no such file or directory",
        str(link): "it is a symbolic link",
        str(pipe): "it is not a regular file",
        str(tmp_path): "it is not a regular file",
        source(tmp_path, b"", "empty"): "it is empty",
        source(tmp_path, bytes(LIMIT + 1), "large"): "it has more than",
        "a\0b": "embedded null",
    }
    for path, words in said.items():
        error = refusal(copies, path)
        sized = words in ("it is empty", "it has more than")
        assert (error.code, error.exit_code) == ("channels.file_size" if sized else "channels.file", 2)
        assert words in error.message
    assert not (tmp_path / "outgoing").exists()


def test_a_file_that_grows_while_it_is_copied_is_refused(
    tmp_path: pathlib.Path, copies: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source(tmp_path, bytes(LIMIT))
    monkeypatch.setattr(outgoing, "_PIECE_BYTES", 100)
    make = copies._make

    def growing() -> None:
        make()
        with open(path, "ab") as opened:
            opened.write(b"more")

    monkeypatch.setattr(copies, "_make", growing)
    assert "it has more than" in refusal(copies, path).message
    assert kept(tmp_path) == []


def test_all_copies_together_are_bounded(
    tmp_path: pathlib.Path, copies: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MAX_TOTAL_BYTES", 1000)
    path = source(tmp_path, bytes(600))
    copies.keep(path, limit_bytes=LIMIT)
    assert refusal(copies, path).code == "channels.files_waiting"
    assert len(kept(tmp_path)) == 1


def test_copies_that_go_meanwhile_are_no_reason_to_refuse_another(
    tmp_path: pathlib.Path, copies: Outgoing
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    refused: list[CommandError] = []

    def come_and_go() -> None:
        try:
            for _ in range(60):
                copies.discard(copies.keep(str(source), limit_bytes=10))
        except CommandError as error:
            refused.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../report.pdf", "/etc/passwd", "a" * 31, "A" * 32, "a" * 32]
)
def test_nothing_but_a_copy_is_found(tmp_path: pathlib.Path, copies: Outgoing, name: str) -> None:
    source(tmp_path)
    copies.keep(source(tmp_path), limit_bytes=LIMIT)
    with pytest.raises(CommandError) as caught:
        copies.path_of(name, limit_bytes=LIMIT)
    assert caught.value.code == "channels.no_copy"


@pytest.mark.parametrize("kind", ["link", "directory", "large"])
def test_what_somebody_put_there_is_no_copy(tmp_path: pathlib.Path, copies: Outgoing, kind: str) -> None:
    copies.keep(source(tmp_path), limit_bytes=LIMIT)
    name = "0" * 32
    path = tmp_path / "outgoing" / name
    if kind == "link":
        path.symlink_to(source(tmp_path))
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(bytes(LIMIT + 1))
    with pytest.raises(CommandError):
        copies.path_of(name, limit_bytes=LIMIT)


def test_a_directory_that_others_can_enter_is_closed_and_a_link_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "outgoing").mkdir(mode=0o755)
    Outgoing(str(tmp_path / "outgoing")).keep(source(tmp_path), limit_bytes=LIMIT)
    assert stat.S_IMODE(os.stat(tmp_path / "outgoing").st_mode) == 0o700
    (tmp_path / "elsewhere").symlink_to(tmp_path / "outgoing")
    assert (
        "not a directory of our own"
        in refusal(Outgoing(str(tmp_path / "elsewhere")), source(tmp_path)).message
    )


def test_only_copies_are_ever_removed(tmp_path: pathlib.Path, copies: Outgoing) -> None:
    path = copies.path_of(copies.keep(source(tmp_path), limit_bytes=LIMIT), limit_bytes=LIMIT)
    for other in (source(tmp_path), source(tmp_path, name="0" * 32), str(tmp_path / "outgoing")):
        discard(other)
        assert os.path.exists(other)
    discard(path)
    discard(path)
    assert kept(tmp_path) == []


def test_a_sweep_leaves_what_a_row_needs_and_what_may_still_get_one(
    tmp_path: pathlib.Path, copies: Outgoing, conn: sqlite3.Connection
) -> None:
    names = {}
    for number, state in enumerate(("queued", "sending", "unknown", "sent", "failed", "no row")):
        name = names[state] = copies.keep(source(tmp_path), limit_bytes=LIMIT)
        if state == "no row":
            continue
        file = OutboundFile(copies.path_of(name, limit_bytes=LIMIT), '报告 "file":.pdf')
        outbound = Outbound(Address("telegram", "work", "7"), "", state, file=file)
        row = Part(state, state, 0, None, outbound, NOW_MS)
        outbox.add(conn, [row], now_ms=NOW_MS, first_sending=False)
        conn.execute("UPDATE outbox SET state = ? WHERE id = ?", (state, state))
        assert number < 5
    (tmp_path / "outgoing" / "note.txt").write_text("not ours")

    def left_at(now_ms: int) -> set[str]:
        copies.sweep(lambda: outbox.files(conn), now_ms)
        return {state for state, name in names.items() if name in kept(tmp_path)}

    now_ms = int(os.stat(source(tmp_path)).st_mtime * 1000)
    assert left_at(now_ms + HOUR_MS - 60_000) == set(names)
    assert left_at(now_ms + HOUR_MS + 60_000) == {"queued", "sending", "unknown"}
    assert left_at(now_ms + 8 * 24 * HOUR_MS) == {"queued", "sending"}
    assert "note.txt" in kept(tmp_path)


def test_without_copies_nobody_asks_the_store(tmp_path: pathlib.Path, copies: Outgoing) -> None:
    def asked() -> dict[str, str]:
        raise AssertionError("asked")

    assert copies.sweep(asked, NOW_MS) == 0
    (tmp_path / "outgoing").mkdir()
    assert copies.sweep(asked, NOW_MS) == 0
