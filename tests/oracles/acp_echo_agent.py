"""An agent made with the published package of the protocol, which refuses what its schema does not know.

The first word of a prompt says what it does. What it is told besides prompts is a line of JSON each in NOTES.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import acp
from acp import helpers, schema

ASKED = [
    schema.PermissionOption(option_id="always", name="Always", kind="allow_always"),
    schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
    schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
]


def note(*words: Any) -> None:
    with open(os.environ["NOTES"], "a", encoding="utf-8") as file:
        file.write(json.dumps(words) + "\n")


class EchoAgent(acp.Agent):
    def __init__(self) -> None:
        self._session = ""
        self._cancelled = asyncio.Event()

    def on_connect(self, conn: Any) -> None:
        self._client = conn

    async def initialize(self, protocol_version: int, client_capabilities: Any = None, **_: Any) -> Any:
        assert protocol_version == acp.PROTOCOL_VERSION
        assert not client_capabilities.fs.read_text_file and not client_capabilities.terminal
        return schema.InitializeResponse(
            protocol_version=protocol_version,
            agent_capabilities=schema.AgentCapabilities(load_session="LOADS" in os.environ),
            agent_info=schema.Implementation(name="echo", version="1"),
            auth_methods=[schema.AuthMethodAgent(id="key", name="A key")],
        )

    async def new_session(self, cwd: str, **_: Any) -> Any:
        assert os.path.samefile(cwd, os.getcwd())
        if "LOCKED" in os.environ:
            raise acp.RequestError.auth_required()
        self._session = f"s-{os.getpid()}"
        note("new", self._session)
        return schema.NewSessionResponse(session_id=self._session)

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> Any:
        assert os.path.samefile(cwd, os.getcwd())
        note("load", session_id)
        if os.environ["LOADS"] != "1":
            raise acp.RequestError.resource_not_found(session_id)
        self._session = session_id
        await self._update(acp.update_user_message_text("asked before"))
        await self._say("told before")
        return schema.LoadSessionResponse()

    async def cancel(self, session_id: str, **_: Any) -> None:
        note("cancel", session_id == self._session)
        self._cancelled.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> Any:
        assert session_id == self._session
        (block,) = prompt
        word, _, rest = block.text.partition(" ")
        self._cancelled.clear()
        stop_reason = await getattr(self, f"_{word}")(rest)
        return schema.PromptResponse(stop_reason=stop_reason)

    async def _echo(self, text: str) -> str:
        await self._say("echo: ")
        await self._say(text)
        return "end_turn"

    async def _wait(self, text: str) -> str:
        await self._say(text)
        await self._cancelled.wait()
        await self._say(" and too late")
        return "cancelled"

    async def _permission(self, title: str) -> str:
        answer = await self._client.request_permission(
            session_id=self._session,
            tool_call=schema.ToolCallUpdate(tool_call_id="1", title=title, kind="edit", status="pending"),
            options=ASKED,
        )
        note("outcome", answer.outcome.outcome, getattr(answer.outcome, "option_id", None))
        if answer.outcome.outcome == "cancelled":
            await self._cancelled.wait()
            return "cancelled"
        await self._say(answer.outcome.option_id)
        return "end_turn"

    async def _work(self, _: str) -> str:
        """Everything that may be told besides the answer."""
        await self._update(acp.update_plan([acp.plan_entry("look, then write")]))
        await self._update(acp.update_agent_thought_text("hm"))
        offered = [schema.AvailableCommand(name="help", description="x")]
        await self._update(helpers.update_available_commands(offered))
        await self._say("first, ")
        await self._update(acp.start_tool_call("1", "look", kind="read", status="pending"))
        shown = [acp.tool_content(acp.text_block("of the tool")), acp.tool_diff_content("/a", "new", "old")]
        await self._update(acp.update_tool_call("1", status="completed", content=shown))
        await self._update(acp.update_agent_message(acp.image_block("aGk=", "image/png")))
        await self._update(helpers.update_current_mode("quick"))
        await self._say("last")
        return "end_turn"

    async def _hands(self, path: str) -> str:
        """Use what the client has not offered."""
        try:
            await self._client.read_text_file(session_id=self._session, path=path)
        except acp.RequestError as error:
            note("refused", error.code)
        try:
            await self._client.create_terminal(session_id=self._session, command="id")
        except acp.RequestError as error:
            note("refused", error.code)
        await self._say("my own")
        return "end_turn"

    async def _refuse(self, _: str) -> str:
        return "refusal"

    async def _fail(self, text: str) -> str:
        raise acp.RequestError.internal_error({"details": text})

    async def _say(self, text: str) -> None:
        await self._update(acp.update_agent_message_text(text))

    async def _update(self, update: Any) -> None:
        await self._client.session_update(session_id=self._session, update=update)


if __name__ == "__main__":
    asyncio.run(acp.run_agent(EchoAgent()))
