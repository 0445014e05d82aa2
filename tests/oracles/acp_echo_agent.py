"""A small agent made with the published package of the protocol, which refuses what its schema does not know."""

from __future__ import annotations

import asyncio
from typing import Any

import acp
from acp import schema


class EchoAgent(acp.Agent):
    def __init__(self) -> None:
        self._cancelled = asyncio.Event()

    def on_connect(self, conn: Any) -> None:
        self._client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> Any:
        assert protocol_version == acp.PROTOCOL_VERSION
        return schema.InitializeResponse(
            protocol_version=protocol_version,
            agent_capabilities=schema.AgentCapabilities(load_session=True),
            agent_info=schema.Implementation(name="echo", version="1"),
        )

    async def new_session(self, cwd: str, **_: Any) -> Any:
        assert cwd.startswith("/")
        return schema.NewSessionResponse(session_id="one")

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> Any:
        assert cwd.startswith("/")
        await self._say(session_id, "told again")
        return schema.LoadSessionResponse()

    async def cancel(self, session_id: str, **_: Any) -> None:
        self._cancelled.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> Any:
        text = prompt[0].text
        self._cancelled.clear()
        if text == "wait":
            await self._cancelled.wait()
            return schema.PromptResponse(stop_reason="cancelled")
        if text == "permission":
            answer = await self._client.request_permission(
                session_id=session_id,
                tool_call=schema.ToolCallUpdate(tool_call_id="1", title="write a file"),
                options=[
                    schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
                    schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
                ],
            )
            text = answer.outcome.option_id
        await self._client.session_update(
            session_id=session_id, update=acp.start_tool_call("1", "look", kind="read", status="pending")
        )
        await self._client.session_update(session_id=session_id, update=acp.update_agent_thought_text("hm"))
        await self._say(session_id, "echo: ")
        await self._say(session_id, text)
        return schema.PromptResponse(stop_reason="end_turn")

    async def _say(self, session_id: str, text: str) -> None:
        await self._client.session_update(session_id=session_id, update=acp.update_agent_message_text(text))


if __name__ == "__main__":
    asyncio.run(acp.run_agent(EchoAgent()))
