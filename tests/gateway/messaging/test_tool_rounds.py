"""Turns that use tools: what the model is told, what is done, what is refused, and what is left after an end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.control.origin import Origin
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.turns import TurnTask
from loong_gateway.providers.contract import Completion, Message, ProviderCall, ProviderFault, ToolCall, Usage
from loong_gateway.tools.contract import Tool, ToolFailed
from tests.gateway.messaging.engine_rig import CONFIG, Rig, rig_at

WAIT_S = 15.0
TOOLS = (
    CONFIG
    + b"""
[tools]
allow = ["note.add", "look.up", "look.fail", "mcp.files.*"]
deny = ["mcp.files.rm"]
max_rounds = 6
max_calls = 8
max_result_bytes = 1024

[tools.approval]
mode = "disabled"
"""
)


class Killed(BaseException):
    """As if the process had ended here."""


class World(Rig):
    """A rig with tools: `notes` is what the one that acts has written."""

    def __init__(self, path: str, config: bytes = TOOLS) -> None:
        super().__init__(path, config)
        self.notes: list[str] = []
        self.looks: list[str] = []
        self.during = lambda: None
        self.available = True
        text = {"type": "string", "maxLength": 20_000}
        needed = frozenset({"text"})
        self.tools.add(
            lambda: [
                Tool("note.add", "adds", self.add, {"text": text}, needed, acts=True),
                Tool("look.up", "looks", self.look, {"text": text}, needed),
                Tool("look.fail", "fails", self.fail, available=lambda: self.available),
                Tool("look.hidden", "not allowed", self.look),
            ]
        )

    def add(self, given, _context):
        self.notes.append(given["text"])
        self.during()
        return {"added": given["text"]}

    def look(self, given, _context):
        self.looks.append(given["text"])
        self.during()
        return {"found": given["text"] * 2}

    def fail(self, _given, _context):
        raise ToolFailed("it is broken")

    def rows(self) -> list[tuple[int, int, str]]:
        return self.store.read(
            lambda conn: conn.execute(
                "SELECT round, call, state FROM tool_call ORDER BY round, call"
            ).fetchall()
        )

    def results(self, call: int = -1) -> list[str]:
        """What the model was told of calls in one question."""
        return [one.content for one in self.provider.calls[call].messages if one.role == "tool"]


def calls(*wanted: tuple[str, object], text: str = "", usage: Usage | None = None):
    made = tuple(
        ToolCall(f"c{number}", name, given if isinstance(given, str) else json.dumps(given))
        for number, (name, given) in enumerate(wanted)
    )

    def step(_call, _stop, on_text):
        if on_text is not None and text:
            on_text(text)
        return Completion(text, "scripted", usage=usage, tool_calls=made)

    return step


def note(text: str):
    return calls(("note_add", {"text": text}))


def look(text: str):
    return calls(("look_up", {"text": text}))


@pytest.fixture(name="rig")
def _rig(tmp_path) -> Iterator[World]:
    rig = World(str(tmp_path / "store.sqlite3"))
    try:
        yield rig
    finally:
        rig.close()


def test_a_model_that_is_allowed_no_tools_is_asked_as_ever(tmp_path):
    with rig_at(tmp_path / "store.sqlite3") as rig:
        rig.tools.add(lambda: [Tool("look.up", "", lambda given, context: {})])
        rig.ask("hello")
        assert rig.provider.calls[0].options.tools == ()
        assert rig.channel.texts() == ["re: hello"]


def test_what_is_offered_is_what_is_allowed_under_names_that_services_take(rig):
    rig.tools.add(
        lambda: [
            Tool(f"mcp.files.{name}", "", lambda given, context: {}, schema={"type": "object"})
            for name in ("read", "rm", "x" * 80)
        ]
    )
    rig.available = False
    rig.ask("hello")
    offered = rig.provider.calls[0].options.tools
    names = [one.name for one in offered]
    assert names[:3] == ["look_up", "mcp_files_read", names[2]]
    assert names[3:] == ["note_add"]
    assert len(names[2]) == 64
    assert offered[0].parameters == {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 20_000}},
        "required": ["text"],
        "additionalProperties": False,
    }
    assert rig.rows() == []


def test_five_rounds_are_one_answer(rig):
    rig.provider.script = [look("a"), look("b"), note("c"), look("d"), note("e"), "done"]
    assert rig.ask("do it") is None
    assert rig.channel.texts() == ["done"]
    assert (rig.looks, rig.notes) == (["a", "b", "d"], ["c", "e"])
    assert rig.results() == [
        '{"found": "aa"}',
        '{"found": "bb"}',
        '{"added": "c"}',
        '{"found": "dd"}',
        '{"added": "e"}',
    ]
    assert rig.rows() == []
    assert rig.audit.of("ConnectorInvoked") == [{"tool": "note.add", "entry": "chat", "outcome": "ok"}] * 2
    # The next turn is shown question and answer, not what was between.
    rig.ask("again")
    said = [(one.role, one.content) for one in rig.provider.calls[-1].messages if one.role != "system"]
    assert said == [("user", "do it"), ("assistant", "done"), ("user", "again")]


def test_texts_and_counts_of_all_rounds_add_up(rig):
    rig.provider.script = [
        calls(("look_up", {"text": "a"}), text="I look.", usage=Usage(10, 2, 12)),
        lambda call, stop, on_text: Completion("Found.", "scripted", usage=Usage(20, None, 20)),
    ]
    pieces: list[str] = []
    completion = ask_directly(rig, pieces)
    assert completion.text == "I look.\n\nFound."
    assert completion.usage == Usage(30, 2, 32)
    assert pieces == ["I look."]
    assert completion.tool_calls == ()


def ask_directly(rig: World, pieces: list[str]):
    call = ProviderCall((Message("user", "hello"),))
    return rig.rounds.complete(
        rig.provider,
        call,
        Origin("http", "run:x", durable=False),
        deadline=Deadline(WAIT_S),
        stop=StopToken(),
        on_text=pieces.append,
    )


def test_what_is_streamed_is_the_answer_in_the_end(rig):
    rig.provider.script = [
        calls(("look_up", {"text": "a"}), text="One."),
        calls(("look_up", {"text": "b"})),
        calls(("look_up", {"text": "c"}), text="Two."),
        "Three.",
    ]
    pieces: list[str] = []
    completion = ask_directly(rig, pieces)
    assert "".join(pieces) == completion.text == "One.\n\nTwo.\n\nThree."
    assert rig.rows() == []


DENIALS = {
    "unknown": (calls(("nope", {})), "Error: Tool not available: nope", "unknown", "(unknown)"),
    "not allowed": (
        calls(("look_hidden", {})),
        "Error: Tool not available: look.hidden",
        "not_allowed",
        "look.hidden",
    ),
    "broken": (
        calls(("look_up", '{"text": ')),
        "Error: the arguments are not valid JSON",
        "bad_arguments",
        "look.up",
    ),
    "no number": (
        calls(("look_up", '{"text": NaN}')),
        "Error: the arguments are not valid JSON",
        "bad_arguments",
        "look.up",
    ),
    "no object": (
        calls(("look_up", "[1]")),
        "Error: the arguments must be a JSON object",
        "bad_arguments",
        "look.up",
    ),
    "missing": (calls(("look_up", {})), "Error: args.text: is needed", "bad_arguments", "look.up"),
    "more": (
        calls(("look_up", {"text": "a", "x": 1})),
        "Error: args may hold text",
        "bad_arguments",
        "look.up",
    ),
    "wrong": (
        calls(("look_up", {"text": 5})),
        "Error: args.text: must be a string of at most 20000 characters",
        "bad_arguments",
        "look.up",
    ),
}


@pytest.mark.parametrize("case", sorted(DENIALS))
def test_what_is_denied_is_told_recorded_counted_and_ends_nothing(rig, case):
    step, told, reason, name = DENIALS[case]
    rig.provider.script = [step, "sorry"]
    rig.ask("do it")
    assert rig.channel.texts() == ["sorry"]
    assert rig.results() == [told]
    assert rig.audit.records == [("AuthorizationDenied", {"tool": name, "entry": "chat", "reason": reason})]
    assert rig.metrics.get(f"tools_denied:{reason}:chat") == 1
    assert (rig.notes, rig.looks) == ([], [])


def test_what_is_switched_off_is_not_available_and_what_fails_says_so(rig):
    rig.provider.script = [calls(("look_fail", {})), "a", calls(("look_fail", {})), "b"]
    rig.ask("do it")
    assert rig.results() == ["Error: it is broken"]
    rig.available = False
    rig.ask("do it")
    assert rig.results() == ["Error: Tool not available: look.fail"]
    assert rig.audit.of("AuthorizationDenied")[0]["reason"] == "not_available"


def test_a_long_result_is_cut_and_says_so(rig):
    rig.provider.script = [look("x" * 1000), "ok"]
    rig.ask("do it")
    (told,) = rig.results()
    assert told.startswith('{"found": "xxxx')
    assert told.endswith("[…cut: 1024 of 2013 bytes]")


@pytest.mark.parametrize(
    ("script", "limit", "made"),
    [
        ([look(str(n)) for n in range(200)], "6 rounds", 6),
        ([calls(*(("look_up", {"text": f"{r}{n}"}) for n in range(5))) for r in range(9)], "8 tool calls", 8),
        ([look("same") for _ in range(9)], "3 times for the same call", 3),
    ],
    ids=["rounds", "calls", "repeats"],
)
def test_a_limit_ends_the_rounds_and_not_the_answer(rig, script, limit, made):
    rig.provider.script = list(script)
    rig.ask("do it")
    assert len(rig.looks) == made
    last = rig.provider.calls[-1]
    assert last.options.tool_choice == "none"
    assert limit in rig.results()[-1]
    assert "Answer with what you have" in rig.results()[-1]
    (text,) = rig.channel.texts()
    assert limit in text


def test_after_a_limit_the_model_answers(rig):
    rig.provider.script = [*(look(str(n)) for n in range(6)), "that is all I know"]
    rig.ask("do it")
    assert rig.channel.texts() == ["that is all I know"]


# Ends and what follows


def begun(rig: World, *script: object) -> int:
    """A message whose turn was killed in the middle, as the script says."""
    rig.provider.script = list(script)
    seq = rig.put(rig.message("do it"))
    with pytest.raises(Killed):
        TurnTask(rig.turns, seq).run(StopToken())
    rig.settle()
    rig.forget()
    return seq


def killed(_call=None, _stop=None, _on_text=None):
    raise Killed


def test_killed_while_the_model_is_asked_again_nothing_is_done_twice(rig):
    seq = begun(rig, note("a"), look("b"), killed)
    asked = len(rig.provider.calls)
    rig.provider.script = ["done"]
    rig.run(TurnTask(rig.turns, seq))
    assert len(rig.provider.calls) == asked + 1
    assert rig.results() == ['{"added": "a"}', '{"found": "bb"}']
    assert (rig.notes, rig.looks) == (["a"], ["b"])
    assert rig.channel.texts() == ["done"]
    assert rig.rows() == []


def test_killed_within_a_call_that_acts_it_is_marked_and_not_repeated(rig):
    rig.during = killed
    seq = begun(rig, calls(("look_up", "{"), ("note_add", {"text": "a"}), ("look_up", {"text": "b"})))
    assert rig.rows() == [(0, -1, "said"), (0, 0, "done"), (0, 1, "started"), (0, 2, "planned")]
    rig.during = lambda: None
    rig.provider.script = [killed]
    with pytest.raises(Killed):
        TurnTask(rig.turns, seq).run(StopToken())
    rig.settle()
    assert rig.rows() == [(0, -1, "said"), (0, 0, "done"), (0, 1, "unknown"), (0, 2, "done")]
    rig.forget()
    rig.provider.script = ["done"]
    rig.run(TurnTask(rig.turns, seq))
    assert rig.notes == ["a"]
    assert "may have happened, or not" in rig.results()[1]
    assert rig.results()[2] == '{"found": "bb"}'
    assert rig.metrics.get("tools:unknown:note.add") == 1
    assert rig.audit.of("ConnectorInvoked") == [{"tool": "note.add", "entry": "chat", "outcome": "unknown"}]
    assert rig.channel.texts() == ["done"]


def test_killed_within_a_call_that_looks_it_is_made_again(rig):
    rig.during = killed
    seq = begun(rig, look("a"))
    rig.during = lambda: None
    rig.provider.script = ["done"]
    rig.run(TurnTask(rig.turns, seq))
    assert rig.looks == ["a", "a"]
    assert len(rig.provider.calls) == 2


def test_what_goes_on_after_a_crash_waits_for_tool_servers(rig):
    tool = Tool("mcp.files.add", "", rig.add, acts=True, schema={"type": "object"})
    running = [tool]
    rig.tools.add(lambda: list(running), lambda: running.append(tool))
    rig.during = killed
    seq = begun(rig, calls(("look_up", {"text": "a"}), ("mcp_files_add", {"text": "b"})))
    running.clear()
    rig.during = lambda: None
    rig.provider.script = ["done"]
    rig.run(TurnTask(rig.turns, seq))
    assert rig.notes == ["b"]
    assert "mcp_files_add" in [function.name for function in rig.provider.calls[-1].options.tools]


@pytest.mark.parametrize("fault", [ProviderFault("transport_failure", "gone"), None], ids=["fault", "stop"])
def test_a_turn_that_is_given_back_goes_on_where_it_was(rig, fault):
    stop = StopToken()

    def end(*_):
        if fault is not None:
            raise fault
        stop.set("stopping")
        raise ProviderFault("interrupted", "stopped")

    rig.provider.script = [note("a"), end]
    seq = rig.put(rig.message("do it"))
    later = rig.run(TurnTask(rig.turns, seq), stop)
    assert isinstance(later, Later) == (fault is not None)
    assert rig.inbox_states() == {seq: "new"}
    rig.provider.script = ["done"]
    rig.run(TurnTask(rig.turns, seq))
    assert rig.notes == ["a"]
    assert rig.channel.texts() == ["done"]


def test_tools_that_are_forbidden_meanwhile_are_not_called_again(rig):
    seq = begun(rig, calls(("look_up", {"text": "a"}), text="I look."), killed)
    rig.config = replace(rig.config, tools=replace(rig.config.tools, allow=()))
    rig.provider.script = ["done"]
    rig.run(TurnTask(rig.turns, seq))
    assert rig.provider.calls[-1].options.tools == ()
    assert rig.channel.texts() == ["I look.\n\ndone"]


@pytest.mark.parametrize("where", ["model", "tool"])
@pytest.mark.parametrize("reason", ["user", "stopping"])
def test_a_stop_ends_the_turn_wherever_it_is(rig, where, reason):
    stop = StopToken()
    rig.during = lambda: stop.set(reason) if where == "tool" else None

    def asked(_call, stop, _on_text):
        stop.set(reason)
        raise ProviderFault("interrupted", "stopped")

    rig.provider.script = [look("a"), asked if where == "model" else "never"]
    seq = rig.put(rig.message("do it"))
    assert rig.run(TurnTask(rig.turns, seq), stop) is None
    assert rig.inbox_states()[seq] == ("done" if reason == "user" else "new")
    assert (rig.rows() == []) == (reason == "user")
    rig.during = lambda: None
    rig.provider.script = []
    rig.ask("and now?")
    assert rig.channel.texts() == ["re: and now?"]


class Fuse:
    """Ends the turn at one of the moments before and after each change of the store, as a kill would."""

    def __init__(self, rig: World, at: int) -> None:
        self._at = at
        self.moments = 0
        for name in ("write", "submit", "submit_lazy"):
            setattr(rig.store, name, self._fused(getattr(rig.store, name)))

    def _fused(self, method):
        def fused(*given, **more):
            self._burn()
            result = method(*given, **more)
            self._burn()
            return result

        return fused

    def _burn(self) -> None:
        self.moments += 1
        if self.moments == self._at:
            raise Killed


def unfused(rig: World) -> None:
    for name in ("write", "submit", "submit_lazy"):
        vars(rig.store).pop(name, None)


class Model:
    """Says what comes after the results that it is shown."""

    def __init__(self, *rounds: object) -> None:
        self.rounds = rounds
        self.asked: list[int] = []

    def __call__(self, call, stop, on_text):
        last = max(place for place, one in enumerate(call.messages) if one.role == "user")
        done = sum(1 for one in call.messages[last:] if one.role == "assistant")
        self.asked.append(done)
        if done == len(self.rounds):
            return Completion("done", "scripted")
        return self.rounds[done](call, stop, on_text)


def test_killed_at_any_moment_no_call_that_acts_is_made_twice(rig):
    at, marked = 0, 0
    while True:
        at += 1
        model = Model(calls(("note_add", {"text": f"n{at}"}), ("look_up", {"text": "a"})), look("b"))
        rig.provider.script = [model] * 20
        unknown = rig.metrics.get("tools:unknown:note.add")
        sent = len(rig.channel.sent)
        survived = False
        seq = rig.put(rig.message("do it"))
        Fuse(rig, at)
        try:
            rig.run(TurnTask(rig.turns, seq))
            survived = True
        except Killed:
            pass
        unfused(rig)
        rig.settle()
        rig.forget()
        assert rig.notes.count(f"n{at}") <= 1
        rig.run(TurnTask(rig.turns, seq))
        assert rig.inbox_states()[seq] == "done"
        is_marked = rig.metrics.get("tools:unknown:note.add") - unknown
        assert is_marked <= 1
        assert rig.notes.count(f"n{at}") + is_marked >= 1
        assert rig.notes.count(f"n{at}") <= 1
        # A part that was being sent may be sent again, under the same key.
        assert len({one.idempotency_key for one in rig.channel.sent[sent:]}) == 1
        assert rig.rows() == []
        # What the model has said is not asked for again, but for the last answer that was not kept.
        assert len(model.asked) <= 4
        marked += is_marked
        if survived:
            break
    assert at > 15
    assert marked >= 1


# Approvals

ASKING = TOOLS.replace(b'"disabled"', b'"medium_balanced"')


@pytest.fixture(name="careful")
def _careful(tmp_path) -> Iterator[World]:
    rig = World(str(tmp_path / "store.sqlite3"), ASKING)
    try:
        yield rig
    finally:
        rig.close()


def asked_in_a_thread(rig: World, stop: StopToken) -> tuple[threading.Thread, str, str]:
    """A turn that waits for a person: its thread, the id of the call, and what the conversation was told."""
    seq = rig.put(rig.message("do it"))
    thread = threading.Thread(target=lambda: rig.run(TurnTask(rig.turns, seq), stop), daemon=True)
    thread.start()
    id, told = rig.asked_people.get(timeout=WAIT_S)
    return thread, id, told


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_call_that_acts_waits_for_who_asked(careful, decision):
    careful.provider.script = [calls(("look_up", {"text": "a"}), ("note_add", {"text": "b\n/x"})), "done"]
    thread, id, told = asked_in_a_thread(careful, StopToken())
    assert careful.notes == []
    assert told.startswith(f"May I run note.add with text=b /x? Answer /approve {id} or /deny {id} within ")
    approvals = careful.approvals
    for where, who in (("telegram:work:8", "42"), ("telegram:work:7", "43"), ("telegram:work:7", None)):
        assert not approvals.resolve_in_chat(id, where, who, approved=True)
    approved = decision == "approve"
    assert approvals.resolve_in_chat(id, "telegram:work:7", "42", approved=approved)
    thread.join(WAIT_S)
    assert not approvals.resolve_in_chat(id, "telegram:work:7", "42", approved=True)
    assert careful.notes == (["b\n/x"] if approved else [])
    assert careful.looks == ["a"]
    assert careful.channel.texts() == ["done"]
    refused = [{"tool": "note.add", "entry": "chat", "reason": "refused"}]
    assert careful.audit.of("AuthorizationDenied") == ([] if approved else refused)
    careful.ask(f"/{decision} {id}")
    careful.ask(f"/{decision} {id}", sender_id="43")
    said = "Approved." if approved else "Refused."
    assert careful.channel.texts()[1:] == [said, "Nothing waits for you under this name."]


def test_nobody_there_is_a_refusal(careful):
    impatient = replace(careful.config.tools.approval, timeout_s=0)
    careful.config = replace(careful.config, tools=replace(careful.config.tools, approval=impatient))
    careful.provider.script = [note("a"), "done"]
    careful.ask("do it")
    assert careful.notes == []
    assert careful.results() == ["Error: nobody approved this call in time, so it was not made"]


@pytest.mark.parametrize("reason", ["user", "stopping", "closed"])
def test_a_stop_ends_the_wait(careful, reason):
    stop = StopToken()
    careful.provider.script = [note("a"), "never"]
    thread, id, _ = asked_in_a_thread(careful, stop)
    if reason == "closed":
        careful.approvals.close()
    else:
        stop.set(reason)
    thread.join(WAIT_S)
    assert careful.notes == []
    assert careful.approvals.waiting() == []
    assert not careful.approvals.resolve(id, approved=True)
    assert set(careful.inbox_states().values()) == {"done" if reason == "user" else "new"}
    assert careful.channel.texts() == []


def test_too_many_that_wait_are_refused(careful):
    careful.config = replace(careful.config, gateway=replace(careful.config.gateway, workers=1))
    careful.provider.script = [note("a"), "done"]
    careful.ask("do it")
    assert "too many calls wait" in careful.results()[0]
    assert careful.notes == []


def test_an_abort_by_a_client_ends_the_wait_and_the_conversation_goes_on(careful):
    careful.provider.script = [note("a"), "never"]
    thread, _, _ = asked_in_a_thread(careful, StopToken())
    assert len(careful.turns.runs.abort(None, None, "rpc")) == 1
    thread.join(WAIT_S)
    assert careful.notes == []
    assert careful.rows() == []
    careful.provider.script = []
    careful.ask("and now?")
    assert careful.channel.texts() == ["re: and now?"]


def test_a_crash_while_a_person_is_asked_asks_again(careful):
    stop = StopToken()
    careful.provider.script = [note("a")]
    thread, first, _ = asked_in_a_thread(careful, stop)
    stop.set("stopping")
    thread.join(WAIT_S)
    careful.forget()
    (seq,) = careful.inbox_states()
    careful.provider.script = ["done"]
    thread = threading.Thread(target=lambda: careful.run(TurnTask(careful.turns, seq)), daemon=True)
    thread.start()
    second, _ = careful.asked_people.get(timeout=WAIT_S)
    assert second != first
    assert careful.approvals.resolve(second, approved=True)
    thread.join(WAIT_S)
    assert careful.notes == ["a"]
    assert len(careful.provider.calls) == 2
    assert careful.channel.texts() == ["done"]
