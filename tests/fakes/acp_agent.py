"""An agent of the Agent Client Protocol in one file, run as a process: `python acp_agent.py MANNER [NOTES]`.

It refuses what a real one refuses: a call before `initialize`, a session that it does not know, a directory that is not
absolute. MANNER is how it behaves badly, "good" for not at all. What happened to it is appended to the file NOTES, one
JSON list a line.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import threading
from typing import Any

MANNER = sys.argv[1] if len(sys.argv) > 1 else "good"
NOTES = sys.argv[2] if len(sys.argv) > 2 else os.devnull
# A session outlives the process, as with agents that can load one.
SESSIONS = f"{NOTES}.sessions"


class Agent:
    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.initialized = False
        self.cwd: dict[str, str] = {}
        self.cancelled = threading.Event()
        self.waiting: dict[int, tuple[threading.Event, list[Any]]] = {}
        self.number = 1000

    def note(self, *what: Any) -> None:
        with self.guard, open(NOTES, "a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")

    def send(self, **message: Any) -> None:
        with self.guard:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()

    def update(self, session: str, **update: Any) -> None:
        self.send(method="session/update", params={"sessionId": session, "update": update})

    def say(self, session: str, text: str) -> None:
        self.update(session, sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})

    def ask(self, method: str, params: Any) -> Any:
        with self.guard:
            self.number += 1
            number = self.number
            come, answers = self.waiting[number] = (threading.Event(), [])
        self.send(id=number, method=method, params=params)
        come.wait()
        return answers[0]

    def permission(self, session: str, title: str) -> Any:
        answer = self.ask(
            "session/request_permission",
            {
                "sessionId": session,
                "toolCall": {"toolCallId": "call-1", "title": title, "kind": "execute"},
                "options": [
                    {"optionId": "always", "name": "Always", "kind": "allow_always"},
                    {"optionId": "once", "name": "Once", "kind": "allow_once"},
                    {"optionId": "no", "name": "No", "kind": "reject_once"},
                ],
            },
        )
        outcome = answer["result"]["outcome"]
        return outcome.get("optionId", outcome["outcome"])

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            if "method" not in message:
                come, answers = self.waiting.pop(message["id"])
                answers.append(message)
                come.set()
            elif "id" not in message:
                self.note("notice", message["method"], message["params"])
                if message["method"] == "session/cancel" and MANNER != "deaf":
                    self.cancelled.set()
            else:
                threading.Thread(target=self.answer, args=(message,), daemon=True).start()
        self.note("input closed")

    def answer(self, message: dict[str, Any]) -> None:
        method, params = message["method"], message["params"]
        self.note("request", method, params)
        try:
            result = getattr(self, "on_" + method.replace("/", "_"))(params)
        except Refused as refused:
            self.send(id=message["id"], error={"code": refused.args[0], "message": refused.args[1]})
        else:
            self.send(id=message["id"], result=result)

    def on_initialize(self, params: Any) -> Any:
        assert params["protocolVersion"] == 1
        assert params["clientCapabilities"]["terminal"] is False
        if MANNER == "garbage":
            for _ in range(100):
                sys.stdout.write("this is no protocol\n")
            sys.stdout.flush()
        if MANNER == "silent":
            threading.Event().wait()
        if MANNER == "stillborn":
            os._exit(3)
        self.initialized = True
        return {
            "protocolVersion": 2 if MANNER == "newer" else 1,
            "agentCapabilities": {"loadSession": MANNER != "forgetful"},
            "agentInfo": {"name": "fake", "version": "1.0"},
            "authMethods": [{"id": "web", "name": "Log in on the web"}] if MANNER == "locked" else [],
        }

    def on_session_new(self, params: Any) -> Any:
        self.check(params)
        if MANNER == "locked":
            raise Refused(-32000, "Authentication required")
        session = f"sess-{os.getpid()}-{len(self.cwd)}"
        if MANNER == "surrogate":
            session = "sess-\ud800"
            self.cwd[session] = params["cwd"]
            return {"sessionId": session}
        self.cwd[session] = params["cwd"]
        with open(SESSIONS, "a", encoding="utf-8") as file:
            file.write(session + "\n")
        return {"sessionId": session}

    def on_session_load(self, params: Any) -> Any:
        self.check(params)
        session = params["sessionId"]
        known = pathlib.Path(SESSIONS).read_text(encoding="utf-8").split()
        if MANNER == "forgetful" or session not in known:
            raise Refused(-32602, "no such session")
        self.cwd[session] = params["cwd"]
        self.say(session, "what was said before")
        return None

    def check(self, params: Any) -> None:
        if not self.initialized:
            raise Refused(-32600, "not initialized")
        if not os.path.isabs(params["cwd"]) or params["mcpServers"] != []:
            raise Refused(-32602, "cwd must be absolute")

    def on_session_prompt(self, params: Any) -> Any:
        session, text = params["sessionId"], params["prompt"][0]["text"]
        if session not in self.cwd:
            raise Refused(-32602, "no such session")
        self.cancelled.clear()
        thought = {"type": "text", "text": "hm"}
        self.update(session, sessionUpdate="agent_thought_chunk", content=thought)
        self.update(session, sessionUpdate="plan", entries=[])
        self.update(session, sessionUpdate="available_commands_update", availableCommands=[])
        reason = self.work(session, text)
        return {"stopReason": "cancelled" if self.cancelled.is_set() else reason}

    def work(self, session: str, text: str) -> str:
        if MANNER == "mortal":
            self.say(session, "I beg")
            os._exit(9)
        if MANNER == "huge":
            self.say(session, "x" * (5 << 20))
        if MANNER == "flood":
            while not self.cancelled.is_set():
                self.say(session, "x" * 60_000)
        if MANNER == "storm":
            answers = [self.permission(session, f"rm {number}") for number in range(300)]
            self.say(session, f"{answers.count('once')} of {len(answers)}")
            return "end_turn"
        if MANNER == "slow":
            self.cancelled.wait(0.2)
            self.say(session, f"re: {text}")
            return "end_turn"
        if MANNER == "odd":
            return "no such reason"
        if text == "wait":
            self.say(session, "waiting ")
            self.cancelled.wait()
            if MANNER == "deaf":
                threading.Event().wait()
        elif text == "permission":
            self.say(session, self.permission(session, "delete  all\nfiles"))
        elif text == "read":
            answer = self.ask("fs/read_text_file", {"sessionId": session, "path": "/etc/passwd"})
            self.say(session, str(answer["error"]["code"]))
        elif text == "environment":
            self.say(session, json.dumps({"cwd": os.getcwd(), **os.environ}))
        elif text.startswith("quote "):
            raise Refused(-32603, f"I do not know how to: {text}")
        elif text == "refuse":
            return "refusal"
        elif text == "long":
            self.say(session, "half")
            return "max_tokens"
        elif text != "nothing":
            self.update(
                session, sessionUpdate="tool_call", toolCallId="call-1", title="look", status="pending"
            )
            self.say(session, "echo: ")
            self.say(session, text)
        return "end_turn"


class Refused(Exception):
    pass


if __name__ == "__main__":
    Agent().serve()
