"""The long-connection client of the platform's own SDK: BASE_URL APP_ID APP_SECRET. Says what reaches its handler."""

from __future__ import annotations

import json
import sys
from typing import Any

import lark_oapi as lark
from lark_oapi.ws.exception import ClientException


def say(**what: object) -> None:
    """One line."""
    print(json.dumps(what), flush=True)


def take(data: Any) -> None:
    """A message; "fail" makes the handler fail."""
    message = data.event.message
    text = json.loads(message.content)["text"]
    say(event=data.header.event_id, message=message.message_id, chat=message.chat_id, text=text)
    if text == "fail":
        raise RuntimeError("as asked")


def main() -> None:
    """Run until killed."""
    base_url, app_id, secret = sys.argv[1:]
    handler = lark.EventDispatcherHandler.builder("", "").register_p2_im_message_receive_v1(take).build()
    client = lark.ws.Client(
        app_id, secret, event_handler=handler, domain=base_url, log_level=lark.LogLevel.WARNING
    )
    client.on_reconnecting = lambda: say(reconnecting=True)
    client.on_reconnected = lambda: say(reconnected=True)
    try:
        client.start()
    except ClientException as error:
        say(refused=error.code)


if __name__ == "__main__":
    main()
