"""What a model is asked: system text, window, new message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from loong_gateway.messaging.conversation import Question, build_call


def config(window: int = 12, system: str = "Be brief.", profile: str = "window_only") -> Any:
    memory = SimpleNamespace(sliding_window=window, profile=profile, profile_note="Ada is the host.")
    return SimpleNamespace(memory=memory, cli=SimpleNamespace(system_prompt=system))


def said(call: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in call.messages]


def test_system_text_history_and_message_stand_in_this_order() -> None:
    history = [("user", "one"), ("assistant", "two")]
    assert said(build_call(config(), history, Question("three"))) == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]


def test_note_and_summary_stand_in_the_system_text_after_the_configured_one() -> None:
    asked = build_call(
        config(profile="profile_plus_window"), [], Question("hi", system="Now."), before="Before."
    )
    assert said(asked)[0] == ("system", "Be brief.\n\nAda is the host.\n\nBefore.\n\nNow.")


def test_a_blank_system_text_sends_none() -> None:
    assert said(build_call(config(system="  "), [], Question("hi"))) == [("user", "hi")]


def test_only_the_newest_turns_of_the_window_are_sent() -> None:
    history = [turn for n in range(9) for turn in (("user", f"q{n}"), ("assistant", f"a{n}"))]
    assert said(build_call(config(window=2, system=""), history, Question("now"))) == [
        ("user", "q7"),
        ("assistant", "a7"),
        ("user", "q8"),
        ("assistant", "a8"),
        ("user", "now"),
    ]


def test_a_window_never_begins_with_an_answer() -> None:
    history = [("user", ""), ("assistant", "left over"), ("user", "q"), ("assistant", "a")]
    assert said(build_call(config(system=""), history, Question("now")))[0] == ("user", "q")


def test_answers_without_a_question_are_left_out() -> None:
    assert said(build_call(config(system=""), [("assistant", "hello")], Question("now"))) == [("user", "now")]


def test_a_notice_is_shown_wherever_it_stands() -> None:
    notice, later = ("system", "the disk is full"), ("system", "it is empty again")
    plain = config(system="")
    assert said(build_call(plain, [notice], Question("now"))) == [notice, ("user", "now")]
    history = [notice, ("assistant", "left over"), ("user", "q"), ("assistant", "a"), later]
    assert said(build_call(plain, history, Question("now"))) == [
        notice,
        ("user", "q"),
        ("assistant", "a"),
        later,
        ("user", "now"),
    ]
