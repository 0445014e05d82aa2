from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.storage import inbox, migrations
from loong_gateway.storage.file import StoreFile
from tests.gateway.storage.store_help import events, keep, opened
from tests.waiting import wait_until

SIDE_FILES = ("", "-wal", "-shm")
# In a process of its own: closing a descriptor of the file would drop the store's locks on it.
_SPOIL = """
import os, sys
with open(sys.argv[1], "r+b") as file:
    file.seek(4096)
    file.write(b"\\xee" * (os.stat(sys.argv[1]).st_size - 4096))
"""


def fill(path: pathlib.Path, count: int = 3) -> None:
    with opened(path) as store:
        for n in range(count):
            keep(store, f"m{n}")


def refused(path: pathlib.Path) -> CommandError:
    with pytest.raises(CommandError) as caught:
        StoreFile(str(path)).open()
    return caught.value


def aside_files(directory: pathlib.Path) -> list[str]:
    return sorted(n for n in os.listdir(directory) if ".damaged-" in n and not n.endswith(("-wal", "-shm")))


def test_every_file_is_private_from_the_first_byte_whatever_the_umask(tmp_path: pathlib.Path) -> None:
    old = os.umask(0)
    try:
        with opened(tmp_path / "s") as store:
            keep(store, "a")
            modes = {stat.S_IMODE(os.stat(f"{tmp_path / 's'}{suffix}").st_mode) for suffix in SIDE_FILES}
    finally:
        os.umask(old)
    assert modes == {0o600}


def test_a_file_that_others_can_read_is_made_private_at_the_start(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "s")
    os.chmod(tmp_path / "s", 0o664)
    with opened(tmp_path / "s"):
        assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600


def test_the_file_keeps_a_log_and_syncs_every_commit(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path / "s") as store:
        pragmas = store.write(
            lambda conn: [
                conn.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "busy_timeout")
            ]
        )
    assert pragmas == ["wal", 2, 1, 2, 5000]


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_was(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    fill(path)
    with opened(path) as store:
        store.write(lambda conn: conn.execute("INSERT INTO migration(name) VALUES('of_tomorrow')"))
    before = path.read_bytes()
    error = refused(path)
    assert error.code == "store.newer"
    assert error.exit_code == 78
    assert "of_tomorrow" in error.message
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["s"]


def test_a_step_that_fails_in_the_middle_leaves_nothing_and_is_done_again(
    tmp_path: pathlib.Path,
) -> None:
    class Failing(sqlite3.Connection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            if "CREATE TABLE session" in statement:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *values)

    path = str(tmp_path / "s")
    failing = StoreFile(path, connect=lambda p: sqlite3.connect(p, isolation_level=None, factory=Failing))
    with pytest.raises(CommandError) as caught:
        failing.open()
    assert (caught.value.code, caught.value.exit_code) == ("store.disk", 75)
    conn = sqlite3.connect(path)
    assert conn.execute("SELECT name FROM sqlite_master").fetchall() == []
    conn.close()
    fill(tmp_path / "s")


def test_applying_the_steps_twice_changes_nothing(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "s")
    with opened(tmp_path / "s") as store:
        assert store.read(migrations.unknown_steps) == []
        assert store.read(events) == ["m0", "m1", "m2"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is no database at all, but long enough to look like one " * 20,
        lambda data: data[:10],
        lambda data: data[: len(data) // 2],
        lambda data: data[:100] + b"\xff" * 4000 + data[4100:],
        lambda data: data[:4096] + os.urandom(len(data) - 4096),
        lambda data: data[:18] + b"\x01\x01" + data[20:4096],
    ],
    ids=["text", "stump", "half", "schema", "noise", "first page"],
)
def test_a_damaged_file_is_set_aside_whole_and_an_empty_one_is_used(tmp_path: pathlib.Path, damage) -> None:
    path = tmp_path / "s"
    fill(path, 30)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with opened(path) as store:
        assert store.set_aside is not None
        assert pathlib.Path(store.set_aside).read_bytes() == damaged
        assert store.read(events) == []
        keep(store, "new")
    with opened(path) as store:
        # A restart must not make anybody forget the file; moving it away does.
        aside = pathlib.Path(store.set_aside)
        assert store.read(events) == ["new"]
        assert aside_files(tmp_path) == [aside.name]
        for left in tmp_path.glob(f"{aside.name}*"):
            left.unlink()
        assert store.set_aside is None


def test_the_log_of_a_damaged_file_is_set_aside_with_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    fill(path, 30)
    with opened(path) as store:
        keep(store, "a")
        subprocess.run(["cp", f"{path}-wal", f"{tmp_path / 'copy'}-wal"], check=True)
    log = pathlib.Path(f"{tmp_path / 'copy'}-wal").read_bytes()
    (tmp_path / "copy").write_bytes(b"nothing of use " * 2000)
    with opened(tmp_path / "copy") as store:
        assert pathlib.Path(f"{store.set_aside}-wal").read_bytes() == log


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_log_without_its_file_is_set_aside_and_not_deleted(tmp_path: pathlib.Path, is_empty: bool) -> None:
    path = tmp_path / "s"
    if is_empty:
        path.touch()
    pathlib.Path(f"{path}-wal").write_bytes(b"frames")
    with opened(path) as store:
        keep(store, "a")
        assert pathlib.Path(f"{store.set_aside}-wal").read_bytes() == b"frames"
    with opened(path) as store:
        assert pathlib.Path(f"{store.set_aside}-wal").read_bytes() == b"frames"


def test_two_damages_in_one_second_do_not_overwrite_each_other(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    for n in range(3):
        path.write_bytes(b"damage %d " % n * 100)
        file = StoreFile(str(path))
        file.open()
        file.close(checkpoint=True)
    contents = {(tmp_path / name).read_bytes()[:8] for name in aside_files(tmp_path)}
    assert contents == {b"damage 0", b"damage 1", b"damage 2"}


def test_damage_found_while_running_sets_the_file_aside_and_the_store_goes_on(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    fill(path, 50)
    told = threading.Event()
    with opened(path, on_trouble=told.set) as store:
        subprocess.run([sys.executable, "-c", _SPOIL, str(path)], check=True)
        keep(store, "after")
        with pytest.raises(StoreUnwritable):
            store.read(events)
        wait_until(lambda: store.set_aside is not None)
        assert told.wait(10)
        assert store.unwritable_reason() is None
        keep(store, "later")
        assert set(store.read(events)) <= {"after", "later"}
        assert "later" in store.read(events)
    assert len(aside_files(tmp_path)) == 1


@pytest.mark.parametrize(
    ("finding", "damaged"),
    [
        ("*** in database main *** Tree 4 page 9: unable to get the page. error code=7", False),
        ("Tree 4 page 9: unable to get the page. error code=266", False),
        ("*** in database main *** out of memory", False),
        ("Tree 4 page 9: btreeInitPage() returns error code 11", True),
        ("Tree 4 page 9: unable to get the page. error code=267", True),
        ("row 3 missing from index inbox_state", True),
    ],
)
def test_a_check_that_could_not_be_made_does_not_cost_the_file(
    tmp_path: pathlib.Path, finding: str, damaged: bool
) -> None:
    path = tmp_path / "s"
    fill(path, 3)

    class Checked(sqlite3.Connection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            if statement.startswith("PRAGMA quick_check") and not aside_files(tmp_path):
                return super().execute("SELECT ?", (finding,))
            return super().execute(statement, *values)

    def connect(name: str) -> sqlite3.Connection:
        return sqlite3.connect(name, isolation_level=None, check_same_thread=False, factory=Checked)

    file = StoreFile(str(path), connect=connect)
    if damaged:
        file.open()
    else:
        with pytest.raises(CommandError) as caught:
            file.open()
        assert (caught.value.code, caught.value.exit_code) == ("store.disk", 75)
    file.close()
    assert bool(aside_files(tmp_path)) is damaged


@pytest.mark.parametrize("ending", ["", "-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_taken_while_the_file_is_gone_and_all_is_well_once_it_is_back(
    tmp_path: pathlib.Path, ending: str, replaced: bool
) -> None:
    path = tmp_path / "s"
    with opened(path, probe_s=0.01) as store:
        keep(store, "a")
        moved = pathlib.Path(f"{path}{ending}")
        moved.rename(tmp_path / "elsewhere")
        if replaced:
            moved.write_bytes(b"")
        store.look()
        wait_until(store.is_gone)
        with pytest.raises(StoreUnwritable, match="removed or replaced"):
            keep(store, "b")
        assert store.read(events) == ["a"]
        (tmp_path / "elsewhere").replace(moved)
        wait_until(lambda: store.unwritable_reason() is None)
        keep(store, "c")
        assert not store.is_gone()
    with opened(path) as store:
        assert store.read(events) == ["a", "c"]
    assert aside_files(tmp_path) == []


def test_a_report_of_damage_that_is_not_true_does_not_set_a_sound_file_aside(tmp_path: pathlib.Path) -> None:
    reports = [sqlite3.DatabaseError("database disk image is malformed")]

    def doubtful(conn: sqlite3.Connection) -> str:
        if reports:
            raise reports.pop()
        return "fine"

    with opened(tmp_path / "s") as store:
        keep(store, "a")
        assert store.write(doubtful) == "fine"
        assert store.set_aside is None
        assert store.read(events) == ["a"]


def test_a_broken_index_is_built_anew_and_no_row_is_lost(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    fill(path, 3)
    # An index that lacks entries, as a lost page write leaves it: its definition is taken out of the schema while
    # a row is written.
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA writable_schema=ON")
    entry = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = 'inbox_state'"
    index = conn.execute(entry).fetchone()
    conn.execute("DELETE FROM sqlite_master WHERE name = 'inbox_state'")
    conn.execute("PRAGMA schema_version=900")
    conn.execute("UPDATE inbox SET state = 'claimed' WHERE event_id = 'm1'")
    conn.execute("INSERT INTO sqlite_master VALUES(?, ?, ?, ?, ?)", index)
    conn.execute("PRAGMA schema_version=901")
    conn.close()
    with opened(path) as store:
        assert store.set_aside is None
        ((seq,),) = store.read(lambda c: c.execute("SELECT seq FROM inbox WHERE event_id = 'm1'").fetchall())
        store.write(lambda c: inbox.finish(c, seq))
        assert store.set_aside is None
        assert store.read(events) == ["m0", "m1", "m2"]
        assert store.read(inbox.counts) == {("telegram", "work"): {"new": 2}}
        assert store.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"


def test_numbers_go_on_after_a_file_was_set_aside(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    fill(path, 5)
    with opened(path) as store:
        last = store.read(lambda conn: conn.execute("SELECT max(seq) FROM inbox").fetchone()[0])
    path.write_bytes(b"x" * 9000)
    # The clock has to reach the next second, as it would have in any real damage.
    wait_until(lambda: _now_s() * 1000 > last)
    with opened(path) as store:
        keep(store, "a")
        assert store.read(lambda conn: conn.execute("SELECT min(seq) FROM inbox").fetchone()[0]) > last


def test_a_directory_in_its_place_is_an_error_that_says_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "s").mkdir()
    error = refused(tmp_path / "s")
    assert (error.code, error.exit_code) == ("store.cannot_open", 78)
    assert "not a regular file" in error.message
    assert error.where == str(tmp_path / "s")


def test_a_link_that_leads_nowhere_is_not_followed_into_a_new_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "s").symlink_to(tmp_path / "elsewhere")
    assert refused(tmp_path / "s").code == "store.cannot_open"
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_directory_is_an_error_that_names_the_path(tmp_path: pathlib.Path) -> None:
    error = refused(tmp_path / "none" / "s")
    assert error.code == "store.cannot_open"
    assert "No such file" in error.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_an_error_with_the_matching_fix(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o500)
    try:
        error = refused(tmp_path / "s")
    finally:
        tmp_path.chmod(0o700)
    assert "write access" in (error.fix or "")


def test_the_file_of_another_program_is_refused_and_not_set_aside(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE inbox(subject TEXT)")
    other.commit()
    other.close()
    error = refused(path)
    assert error.code == "store.cannot_open"
    assert "already exists" in error.message
    assert aside_files(tmp_path) == []


def _now_s() -> int:
    conn = sqlite3.connect(":memory:")
    try:
        return int(conn.execute("SELECT strftime('%s','now')").fetchone()[0])
    finally:
        conn.close()


def test_a_schema_whose_names_are_no_text_is_damage(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "s"
    with contextlib.closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("CREATE TABLE thing(a)")
        conn.execute("CREATE INDEX finder ON thing(a)")
    data = path.read_bytes()
    # The first is its name, the second the statement that makes it.
    path.write_bytes(data.replace(b"finder", b"f\xa0nder", 1).replace(b"CREATE INDEX", b"CREATE JNDEX", 1))
    with opened(path) as store:
        assert store.set_aside is not None
        assert store.unwritable_reason() is None
