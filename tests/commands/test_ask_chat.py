"""`loong ask` and `loong chat`: in this process, through a running gateway, from a pipe and on a terminal."""

from __future__ import annotations

import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from loong_gateway.storage.lock import StoreLock
from tests.commands.loong_cli import KEY, ROOT, Loong, provider_config, running_owner
from tests.fakes.model import FakeModel


def said(model: FakeModel, call: int = -1) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in model.calls[call].body["messages"]]


def test_ask_prints_the_answer_and_nothing_else(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda _: "forty-two") as model:
        ran = Loong(tmp_path, provider_config(model.base_url))("ask", "--message", "what is it?")
    assert (ran.code, ran.out, ran.err) == (0, "forty-two\n", "")


def test_a_session_remembers_and_another_does_not(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda _: "noted") as model:
        loong = Loong(tmp_path, provider_config(model.base_url))
        loong("ask", "-m", "my name is Ada", "--session", "a")
        loong("ask", "-m", "who am I?", "--session", "a")
        assert ("user", "my name is Ada") in said(model)
        assert said(model)[-2:] == [("assistant", "noted"), ("user", "who am I?")]
        loong("ask", "-m", "who am I?", "--session", "b")
        assert ("user", "my name is Ada") not in said(model)
        loong("ask", "-m", "again", "--session", "latest")
        assert said(model)[-3:-1] == [("user", "who am I?"), ("assistant", "noted")]


def test_ask_works_without_any_configuration_in_the_dev_profile(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path)
    del loong.environ["LOONG_HOME"]
    ran = loong("--dev", "ask", "--message", "hi")
    assert ran.code == 0, ran.err
    assert "hi" in ran.out
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [".loong-dev"]


def test_ask_without_a_provider_says_what_to_write(tmp_path: pathlib.Path) -> None:
    ran = Loong(tmp_path)("ask", "--message", "hi")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert "fix:" in ran.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--message", "  "), "ask message must not be empty"),
        (("--message", "x", "--session", "latest"), "no session yet"),
        ((), "--message"),
    ],
)
def test_a_wrong_call_of_ask_is_exit_2(tmp_path: pathlib.Path, args: tuple[str, ...], message: str) -> None:
    ran = Loong(tmp_path, provider_config("http://127.0.0.1:9/v1"))("ask", *args)
    assert ran.code == 2
    assert message in ran.err


def test_a_refused_key_is_exit_2_and_never_shown(tmp_path: pathlib.Path) -> None:
    with FakeModel(key="another") as model:
        ran = Loong(tmp_path, provider_config(model.base_url))("ask", "-m", "hi", "--json")
    assert ran.code == 2
    assert ran.document["error"]["exit_code"] == 2
    assert "401" in ran.err
    assert KEY not in ran.out + ran.err


def test_ask_reads_its_message_from_standard_input_and_answers_in_json(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda messages: messages[-1]["content"].upper()) as model:
        loong = Loong(tmp_path, provider_config(model.base_url))
        ran = loong("ask", "--message", "-", "--json", stdin="a\nb\n")
    assert ran.document["text"] == "A\nB"
    assert ran.document["session"] == "default"
    assert ran.document["usage"]["total"] > 0


def test_a_store_that_cannot_be_used_costs_the_memory_and_not_the_answer(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda _: "shown") as model:
        loong = Loong(tmp_path, provider_config(model.base_url))
        loong("ask", "-m", "first")
        with StoreLock.hold(loong.places, 1.0):
            ran = loong("ask", "-m", "second")
    assert (ran.code, ran.out) == (0, "shown\n")
    assert ran.err.startswith("warning: this turn could not be kept: ")


def test_a_damaged_store_is_put_aside_and_the_answer_shown(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda _: "shown") as model:
        loong = Loong(tmp_path, provider_config(model.base_url))
        loong("ask", "-m", "first")
        pathlib.Path(loong.places.store).write_bytes(b"garbage" * 1000)
        ran = loong("ask", "-m", "second")
    assert (ran.code, ran.out) == (0, "shown\n")
    assert "warning: what was said before cannot be read" in ran.err
    files = [path for path in loong.home.iterdir() if path.is_file()]
    kept = [path for path in files if path.read_bytes().startswith(b"garbage")]
    assert len(kept) == 1


def test_ask_goes_through_a_running_gateway(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, provider_config("http://127.0.0.1:9/v1"))
    with running_owner(loong) as owner:
        owner.answers["/v1/turn"] = (200, {"output_text": "from the owner", "state": "completed"})
        ran = loong("ask", "-m", "hi", "--session", "telegram:work:-100")
    assert ran.out == "from the owner\n"
    body = owner.requests[0][1]
    assert (body["session_id"], body["input"]) == ("agent:main:telegram:work:group:-100", "hi")


def test_an_error_of_the_running_gateway_is_passed_on(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, provider_config("http://127.0.0.1:9/v1"))
    with running_owner(loong) as owner:
        owner.answers["/v1/turn"] = (502, {"error": "the provider refused the key"})
        ran = loong("ask", "-m", "hi")
    assert ran.code == 2
    assert "the provider refused the key" in ran.err


def test_chat_from_a_pipe_answers_line_by_line(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda messages: f"re: {messages[-1]['content']}") as model:
        loong = Loong(tmp_path, provider_config(model.base_url))
        ran = loong("chat", "--session", "demo", stdin="one\n\n/history\ntwo\n/new\nthree\n")
        assert ran.code == 0, ran.err
        assert ran.out.splitlines() == [
            "re: one",
            "you> one",
            "assistant> re: one",
            "re: two",
            ran.out.splitlines()[4],
            "re: three",
            "bye.",
        ]
        assert "Started a new session" in ran.out
        assert ("user", "one") not in said(model)


@pytest.mark.parametrize("word", ["/exit", "/quit"])
def test_an_exit_word_ends_the_chat(tmp_path: pathlib.Path, word: str) -> None:
    ran = Loong(tmp_path, provider_config("http://127.0.0.1:9/v1"))("chat", stdin=f"/help\n{word}\nmore\n")
    assert ran.code == 0
    assert ran.out.endswith("bye.\n")
    assert "/history" in ran.out


def test_a_chat_goes_on_after_an_answer_that_failed(tmp_path: pathlib.Path) -> None:
    with FakeModel(answer=lambda _: "fine") as model:
        model.fault("status", status=400)
        loong = Loong(tmp_path, provider_config(model.base_url))
        ran = loong("chat", stdin="bad\ngood\n")
    assert ran.err.startswith("error: ")
    assert ran.out.splitlines() == ["fine", "bye."]
    assert ran.code == 2


def test_chat_through_a_running_gateway_uses_one_session(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, provider_config("http://127.0.0.1:9/v1"))
    with running_owner(loong) as owner:
        owner.answers["/v1/turn"] = (200, {"output_text": "ok"})
        ran = loong("chat", stdin="one\n/new\n/status\n")
    assert ran.out.splitlines() == ["ok", "ok", "session default, answered by the running gateway", "bye."]
    assert [body["input"] for _, body in owner.requests] == ["one", "/new"]


def test_ctrl_c_on_a_terminal_ends_quietly(tmp_path: pathlib.Path) -> None:
    loong = Loong(tmp_path, provider_config("http://127.0.0.1:9/v1"))
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "loong.py"), "chat"],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**loong.environ, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(child)
    shown = read_until(parent, b"you> ")
    process.send_signal(signal.SIGINT)
    shown += read_until(parent, b"bye.")
    assert process.wait(10) == 0
    os.close(parent)
    assert b"Traceback" not in shown


def read_until(descriptor: int, wanted: bytes) -> bytes:
    seen, end = b"", time.monotonic() + 10
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{wanted!r} not within 10 s after {seen!r}"
        seen += os.read(descriptor, 4096)
    return seen
