"""`loong sessions ...` and what a chat can do with sessions: in this process, and beside an owner."""

from __future__ import annotations

import io
import json
import os
import pathlib
import sqlite3
import stat
import subprocess
import sys

import pytest

from loong_channels.contract import Address, Inbound
from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import Context
from loong_gateway.commands.through_gateway import change
from loong_gateway.control.runs import RunRequest
from loong_gateway.messaging.run_rows import encode_request
from loong_gateway.messaging.sessions import session_key
from loong_gateway.storage import inbox, runs, summaries, transcripts, usage
from loong_gateway.storage.local import LocalStore
from loong_gateway.storage.usage import Spent
from tests.commands.loong_cli import ROOT, Here, Loong, provider_config, running_owner
from tests.fakes.model import FakeModel
from tests.small_disk import mounted

TELEGRAM = "agent:main:telegram:work:direct:1001"


def fill(loong: Loong) -> None:
    """Three conversations: `notes` with six messages over two stretches, `notebook`, and one of a chat."""

    def store(conn):
        notes = session_key("notes")
        for number in range(2):
            transcripts.remember(conn, notes, f"q{number}", f"a{number} \u597d\nmore", 1000 + number)
        transcripts.start_new(conn, notes, 1500)
        transcripts.remember(conn, notes, "q2", "a2", 2000)
        transcripts.remember(conn, session_key("notebook"), "x", "y", 1)
        transcripts.remember(conn, TELEGRAM, "hello", "re: hello", 3000)
        usage.add(conn, Spent("p", "m", notes, {"input": 7, "output": 2}), 2000)

    LocalStore(loong.places).write(store)


@pytest.fixture
def loong(tmp_path: pathlib.Path) -> Loong:
    loong = Here(tmp_path, provider_config("http://127.0.0.1:9/v1"))
    fill(loong)
    return loong


def test_the_list_has_the_fields_of_the_contract(loong: Loong) -> None:
    document = loong("sessions", "list", "--limit", "2", "--json").document
    assert list(document) == [
        *("command", "config", "current_session_id", "filters"),
        *("matched_count", "returned_count", "sessions"),
    ]
    assert (document["command"], document["matched_count"], document["returned_count"]) == ("list", 3, 2)
    first = document["sessions"][0]
    assert (first["session_id"], first["state"], first["kind"]) == (TELEGRAM, "ready", "root")
    assert loong("sessions", "list", "--state", "failed", "--json").document["sessions"] == []
    assert loong("sessions", "list", "--kind", "delegate_child", "--json").document["matched_count"] == 0
    shown = loong("sessions", "list").out
    assert "telegram:work:direct:1001" in shown


def test_an_empty_home_has_an_empty_list(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path)
    assert loong("sessions", "list", "--json").document["sessions"] == []
    assert not os.path.exists(loong.places.store)


@pytest.mark.parametrize(
    "given", ["telegram:work:1001", TELEGRAM, "telegram:work:direct:1001", "telegram", "latest"]
)
def test_a_session_is_found_by_every_spelling(loong: Loong, given: str) -> None:
    ran = loong("sessions", "show", given, "--json")
    assert ran.document["session"]["session_id"] == TELEGRAM


def test_a_session_that_is_not_there_or_not_only_one_is_explained(loong: Loong) -> None:
    ran = loong("sessions", "show", "note")
    assert ran.code == 2
    assert '"note" begins several sessions: notebook, notes' in ran.err
    ran = loong("sessions", "show", "notez")
    assert "did you mean notes?" in ran.err
    assert "fix: loong sessions show notes" in ran.err
    assert loong("sessions", "show", "nothing like it").err.startswith("error: there is no session")


def test_what_a_session_used_is_shown(loong: Loong) -> None:
    document = loong("sessions", "show", "notes", "--json").document
    assert document["usage"]["totals"]["input"] == 7
    assert document["session"]["messages"] == 2
    assert "1 answer, 7 tokens in, 2 out" in loong("sessions", "show", "notes").out
    assert loong("sessions", "usage", "--session", "notes", "--json").document["rows"][0]["model"] == "m"
    assert "0 answers" in loong("sessions", "usage", "--days", "7").out


def test_the_history_is_turned_page_by_page(loong: Loong) -> None:
    newest = loong("sessions", "history", "telegram", "--limit", "1", "--json").document
    assert [one["text"] for one in newest["messages"]] == ["re: hello"]
    assert newest["has_more"] is True
    before = str(newest["messages"][0]["number"])
    oldest = loong("sessions", "history", "telegram", "--before", before, "--limit", "999", "--json").document
    assert ([one["text"] for one in oldest["messages"]], oldest["has_more"]) == (["hello"], False)
    assert oldest["limit"] == 200


def test_archiving_hides_and_is_taken_back(loong: Loong) -> None:
    assert "would be archived" in loong("sessions", "archive", "notes", "--dry-run").out
    assert loong("sessions", "list", "--json").document["matched_count"] == 3
    assert loong("sessions", "archive", "notes", "--json").document["changed"] is True
    assert loong("sessions", "archive", "notes", "--json").document["changed"] is False
    assert loong("sessions", "list", "--json").document["matched_count"] == 2
    archived = loong("sessions", "list", "--include-archived", "--json").document
    assert [row["label"] for row in archived["sessions"] if row["archived"]] == ["notes"]
    loong("sessions", "archive", "notes", "--undo")
    assert loong("sessions", "list", "--json").document["matched_count"] == 3


def test_an_export_holds_everything_and_is_private(loong: Loong, tmp_path: pathlib.Path) -> None:
    lines = [json.loads(line) for line in loong("sessions", "export", "notes").out.splitlines()]
    assert [line["text"] for line in lines] == ["q0", "a0 好\nmore", "q1", "a1 好\nmore", "q2", "a2"]
    assert len({line["session"] for line in lines}) == 2
    path = tmp_path / "notes.md"
    page = ("sessions", "export", "notes", "--format", "markdown", "--output", str(path))
    assert loong(*page).err == f"6 messages in {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "a0 好\nmore" in path.read_text("utf-8")
    assert path.read_text("utf-8").count("## Begun") == 2
    path.write_text("mine")
    ran = loong(*page)
    assert (ran.code, path.read_text()) == (2, "mine")
    assert "is there already" in ran.err
    assert loong(*page, "--force").code == 0
    assert path.read_text("utf-8").startswith("# notes")
    ran = loong(*page[:-1], str(tmp_path / "no" / "where"))
    assert (ran.code, "cannot be written" in ran.err) == (2, True)


def test_a_page_steers_no_terminal_and_lines_hold_all(loong: Loong) -> None:
    key, said = session_key("a\x1b[31m"), "red \x1b]0;title\x07\nnext\ttab"
    LocalStore(loong.places).write(lambda conn: transcripts.remember(conn, key, said, "a", 1))
    page = loong("sessions", "export", key, "--format", "markdown").out
    assert page.startswith("# a\\x1b[31m\n") and "red \\x1b]0;title\\x07\nnext\ttab" in page
    assert json.loads(loong("sessions", "export", key).out.splitlines()[0])["text"] == said


def test_an_export_harms_no_file_beside_its_own(loong: Loong, tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes.jsonl.part").write_text("mine")
    before = set(os.listdir(tmp_path))
    assert loong("sessions", "export", "notes", "--output", str(tmp_path / "notes.jsonl")).code == 0
    assert (tmp_path / "notes.jsonl.part").read_text() == "mine"
    assert set(os.listdir(tmp_path)) - before == {"notes.jsonl"}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/nowhere", path), os.mkdir])
def test_an_export_replaces_nothing_but_a_file(loong: Loong, tmp_path: pathlib.Path, make) -> None:
    path = str(tmp_path / "there")
    make(path)
    before = os.lstat(path)
    ran = loong("sessions", "export", "notes", "--output", path, "--force")
    assert (ran.code, "not a regular file" in ran.err) == (2, True)
    assert os.lstat(path).st_ino == before.st_ino


def test_an_export_that_nobody_reads_on_holds_nothing(loong: Loong) -> None:
    """As with a pager that somebody looks at for an hour."""
    key, said = session_key("long"), [("user", "x" * 4000)] * 1200
    LocalStore(loong.places).write(lambda conn: transcripts.append(conn, key, said, 1))
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb") as out,
        subprocess.Popen(
            [sys.executable, str(ROOT / "loong.py"), "sessions", "export", "long"],
            stdout=writer,
            env=loong.environ,
        ) as process,
    ):
        os.close(writer)
        out.read(1)
        LocalStore(loong.places, lock_s=5.0).write(lambda conn: None)
        assert 1 + len(out.read()) > 1200 * 4000
        assert process.wait(20) == 0


def test_nothing_is_forgotten_by_mistake(loong: Loong) -> None:
    ran = loong("sessions", "delete", "notes")
    assert ran.code == 2
    assert "loong sessions delete notes --yes" in ran.err
    assert loong("sessions", "delete", "notes", "--yes").code == 0
    assert loong("sessions", "list", "--json").document["matched_count"] == 2


def test_the_store_is_read_beside_an_owner_without_asking_it(loong: Loong) -> None:
    with running_owner(loong) as owner:
        assert loong("sessions", "list", "--json").document["matched_count"] == 3
        assert len(loong("sessions", "export", "notes").out.splitlines()) == 6
    assert owner.requests == []


def test_those_that_are_answered_now_are_running_while_somebody_answers(loong: Loong) -> None:
    asked = RunRequest("run-1", "hello", session=session_key("notes"), durable=True)
    address = Address("telegram", "work", "1001")
    message = Inbound(address, "e1", "1", "42", "hello", 1, 1)

    def begin(conn):
        inbox.claim(conn, inbox.add(conn, [message], 1)[0].seq)
        runs.add(conn, "run-1", encode_request(asked), 1)
        runs.claim(conn, "run-1")

    LocalStore(loong.places).write(begin)
    listing = ("sessions", "list", "--json", "--state")
    assert loong(*listing, "running").document["matched_count"] == 0
    with running_owner(loong):
        running = loong(*listing, "running").document["sessions"]
        assert [row["session_id"] for row in running] == [TELEGRAM, session_key("notes")]
        ready = loong(*listing, "ready").document
        assert ([row["label"] for row in ready["sessions"]], ready["matched_count"]) == (["notebook"], 1)
        assert loong("sessions", "show", "notes", "--json").document["session"]["state"] == "running"


def test_a_chat_is_forked_and_resumed(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda messages: f"re: {messages[-1]['content']}") as model:
        loong = Loong(tmp_path, provider_config(model.base_url))
        ran = loong(
            "chat",
            stdin="one\n/fork other\ntwo\n/sessions\n/resume default\nthree\n/fork other\n/resume nowhere\n",
        )
    lines = ran.out.splitlines()
    assert "2 messages copied; session other" in lines[1]
    assert lines[3].startswith("* other  4 messages")
    assert lines[5].startswith("session default")
    assert [message["content"] for message in model.calls[-1].body["messages"]][-3:] == [
        *("one", "re: one", "three")
    ]
    assert "nothing was copied" in lines[7]
    assert 'there is no session "nowhere"' in ran.err


def test_a_chat_is_squeezed_and_goes_on_with_the_summary(tmp_path: pathlib.Path) -> None:
    def answer(messages):
        return "Ada likes tea." if "memory" in messages[0]["content"][:30] else "noted"

    with FakeModel(answer=answer) as model:
        config = provider_config(model.base_url) + '[memory]\nprofile = "window_plus_summary"\n'
        loong = Loong(tmp_path, config)
        ran = loong("chat", stdin="I am Ada, I like tea\n/compact\n/compact\nwho am I?\n")
    assert ran.out.splitlines() == [
        *("noted", "what was said is a summary now", "there is nothing new to squeeze", "noted", "bye.")
    ]
    first, last = model.calls[-1].body["messages"]
    assert (first["role"], last["content"]) == ("system", "who am I?")
    assert first["content"].endswith("Ada likes tea.")
    kept = LocalStore(loong.places).read(lambda conn: summaries.get(conn, session_key("default")))
    assert kept is not None
    assert kept[1] == "Ada likes tea."


def test_a_chat_asks_another_model_and_shows_what_tools_may_do(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda _: "fine") as model:
        loong = Loong(tmp_path, provider_config(model.base_url).replace("[provider]", "[providers.a]"))
        ran = loong(
            "chat", stdin="/model a:other-model\nhi\n/model default\nhi\n/model b\n/permissions\n/model\n"
        )
    assert [call.body["model"] for call in model.calls] == ["other-model", "test-model"]
    assert 'there is no provider profile "b"' in ran.err
    assert "shell: none" in ran.out
    assert "a: custom, model test-model" in ran.out


def test_a_chat_through_an_owner_names_the_model(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, provider_config("http://127.0.0.1:9/v1"))
    with running_owner(loong) as owner:
        owner.answers["/v1/turn"] = (200, {"output_text": "ok"})
        profile = loong("chat", stdin="/model\n").out.splitlines()[1].partition(":")[0]
        loong("chat", stdin=f"/model {profile}:small\nhi\n")
    assert owner.requests[-1][1]["model"] == f"{profile}:small"


def test_what_the_disk_refuses_in_the_middle_is_said_and_nothing_was_changed(tmp_path: pathlib.Path) -> None:
    with mounted(tmp_path, "2m") as disk:
        loong = Here(disk, provider_config("http://127.0.0.1:9/v1"))
        fill(loong)
        out = io.StringIO()
        context = Context(loong.places, loong.environ, stdin=None, stdout=out, stderr=out)

        def too_much(conn: sqlite3.Connection) -> None:
            transcripts.forget(conn, TELEGRAM)
            transcripts.remember(conn, "route", "x" * (4 << 20), "y", 1)

        with pytest.raises(CommandError) as caught:
            change(context, "sessions.delete", {}, too_much)
        assert (caught.value.code, caught.value.exit_code) == ("store.unwritable", 2)
        assert loong("sessions", "show", TELEGRAM).code == 0
