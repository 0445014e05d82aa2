"""The platform's own Python SDK: URL CA_FILE BOT_ID SECRET. Says what it hears and does what it is told by message."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

from aibot import WSClient, WSClientOptions, ws


class Quiet:
    """A log on standard output, beside the lines."""

    def __getattr__(self, level: str) -> Any:
        return lambda *words: print(level, *words, flush=True)


def say(**what: object) -> None:
    """One line."""
    print(json.dumps(what, ensure_ascii=False), flush=True)


async def told(name: str, *calls: Awaitable[Any]) -> None:
    """Await all of them at once; say what became of each."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    say(
        done=name, results=[str(one) if isinstance(one, Exception) else one.get("errcode") for one in results]
    )


async def obey(client: WSClient, frame: dict[str, Any], text: str) -> None:
    """What a message asks for."""
    body = frame["body"]
    chat = body.get("chatid") or body["from"]["userid"]
    if text == "stream":
        steps = [("…", False), ("half", False), ("half and whole", True)]
        await told(text, *(client.reply_stream(frame, "s-1", words, finish) for words, finish in steps))
    elif text == "too long":
        await told(text, client.reply_stream(frame, "s-2", "汉" * 7000, True))
    elif text == "text":
        await told(text, client.reply(frame, {"msgtype": "text", "text": {"content": "no"}}))
    elif text == "push":
        markdown = {"msgtype": "markdown", "markdown": {"content": "**pushed**"}}
        await told(text, client.send_message(chat, markdown), client.send_message("stranger", markdown))
    elif text == "twice":
        card = {"card_type": "text_notice", "main_title": {"title": "t"}}
        await told(
            text, client.reply_template_card(frame, card), client.reply_stream(frame, "s-3", "x", True)
        )


async def main() -> None:
    """Run until killed."""
    url, authority, bot_id, secret = sys.argv[1:]
    ws._SSL_CONTEXT.load_verify_locations(authority)
    options = WSClientOptions(
        bot_id=bot_id,
        secret=secret,
        ws_url=url,
        heartbeat_interval=200,
        reconnect_interval=100,
        logger=Quiet(),
    )
    client = WSClient(options)
    client.on("authenticated", lambda: say(ready=True))
    client.on("disconnected", lambda reason: say(lost=str(reason)))
    client.on("error", lambda error: say(error=str(error)))

    async def on_message(frame: dict[str, Any]) -> None:
        text = frame["body"].get("text", {}).get("content", "")
        say(kind=frame["body"]["msgtype"], text=text, user=frame["body"]["from"]["userid"])
        await obey(client, frame, text)

    async def on_enter(frame: dict[str, Any]) -> None:
        await told("welcome", client.reply_welcome(frame, {"msgtype": "text", "text": {"content": "hello"}}))

    client.on("message", on_message)
    client.on("event.enter_chat", on_enter)
    client.on("event.disconnected_event", lambda _: say(kicked=True))
    await client.connect()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
