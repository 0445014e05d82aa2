"""Good input to begin with: the published vectors of the platforms and messages of every kind that they send."""

from __future__ import annotations

import json

__all__ = ["FEISHU_ANSWERS", "FEISHU_EVENTS", "FEISHU_FRAMES", "HANDSHAKES", "HOOK_HEADS", "TELEGRAM_ANSWERS"]
__all__ += ["CLIENT_FRAMES", "TELEGRAM_UPDATES", "WEB_SOCKET_BYTES", "WECOM_FRAMES"]

APP = "cli_a1b2c3"
BOT_ID = "aibExampleRobot0001"

_EVENT = (
    "08ac0210ffffffffffffffffff0118f681801020012a0d0a047479706512056576656e742a110a0a6d6573736167655f696412036d2d31"
    "2a080a0373756d1201312a080a037365711201302a0e0a0874726163655f69641202653142107b22736368656d61223a22322e30227d"
    "4a024c31"
)
_ACK = (
    "08ac0210ffffffffffffffffff0118f681801020012a0d0a047479706512056576656e742a110a0a6d6573736167655f696412036d2d31"
    "2a080a0373756d1201312a080a037365711201302a0e0a0874726163655f6964120265312a0c0a0662697a5f727412023132420c7b22"
    "636f6465223a3230307d4a024c31"
)
# A ping, an event with its acknowledgement, a negative service; then three pieces of one event.
FEISHU_FRAMES = tuple(
    bytes.fromhex(text)
    for text in (
        "0800100018f681801020002a0c0a0474797065120470696e67",
        _EVENT,
        _ACK,
        "0801100218ffffffffffffffffff0120012a0d0a047479706512056576656e744200",
        *(
            "0801100218f681801020012a0d0a047479706512056576656e742a110a0a6d6573736167655f696412036d2d322a080a0373756d1201"
            f"332a080a0373657112013{seq}4206616263646566"
            for seq in range(3)
        ),
    )
)


def _event(message_type: str, content: object, **message: object) -> dict[str, object]:
    body = {
        "message_id": "om_1",
        "root_id": "om_0",
        "thread_id": "omt_1",
        "create_time": "1774004591214",
        "chat_id": "oc_chat",
        "chat_type": "group",
        "message_type": message_type,
        "content": content if isinstance(content, str) else json.dumps(content, ensure_ascii=False),
        "mentions": [
            {
                "key": "@_user_1",
                "id": {"union_id": "on_1", "user_id": "", "open_id": "ou_bot"},
                "mentioned_type": "bot",
                "name": "loong-bot",
            }
        ],
        **message,
    }
    header = {
        "event_id": "ev-1",
        "token": "v-token",
        "create_time": "1774004591300",
        "event_type": "im.message.receive_v1",
        "tenant_key": "t",
        "app_id": APP,
    }
    ids = {"union_id": "on_9", "user_id": "e33", "open_id": "ou_ann"}
    sender = {"sender_id": ids, "sender_type": "user", "tenant_key": "t"}
    return {"schema": "2.0", "header": header, "event": {"sender": sender, "message": body}}


_POST = {
    "title": "T",
    "content": [
        [
            {"tag": "text", "text": "a", "style": ["bold"]},
            {"tag": "at", "user_id": "@_user_1", "user_name": "x"},
        ],
        [{"tag": "a", "text": "b", "href": "https://e.test"}, {"tag": "img", "image_key": "img_1"}],
        [
            {"tag": "code_block", "language": "PY", "text": "x\n"},
            {"tag": "hr"},
            {"tag": "emotion", "emoji_type": "OK"},
        ],
        [{"tag": "media", "file_key": "f", "file_name": "v.mp4"}, {"tag": "md", "text": "**c**"}],
    ],
}
FEISHU_EVENTS: tuple[dict[str, object], ...] = (
    _event("text", {"text": "@_user_1 hi @_all @_user_10"}),
    _event("post", _POST),
    _event("post", {"zh_cn": _POST}),
    _event("image", {"image_key": "img_1"}),
    _event("file", {"file_key": "file_1", "file_name": "a/b.pdf"}),
    _event("audio", {"file_key": "file_1", "duration": 2000}),
    _event("media", {"file_key": "file_1", "image_key": "img", "file_name": "v.mp4", "duration": 1}),
    _event(
        "interactive",
        {"title": "t", "elements": [[{"tag": "text", "text": "x"}], {"content": {"text": "y"}}]},
    ),
    _event("location", {"name": "n", "latitude": "1", "longitude": "2"}),
    _event("share_chat", {"chat_id": "oc_2"}),
    _event("merge_forward", "Merged and Forwarded Message"),
    {"challenge": "c", "token": "v-token", "type": "url_verification"},
    {"uuid": "u", "token": "v-token", "ts": "1.2", "type": "event_callback", "event": {"type": "message"}},
    {
        "schema": "2.0",
        "header": {"event_type": "im.chat.disbanded_v1", "app_id": APP, "token": "v-token"},
        "event": {},
    },
)
FEISHU_ANSWERS: tuple[object, ...] = (
    {"code": 0, "msg": "ok", "tenant_access_token": "t-g104example", "expire": 7200},
    {"code": 0, "msg": "ok", "bot": {"activate_status": 2, "app_name": "loong", "open_id": "ou_bot"}},
    {
        "code": 0,
        "msg": "success",
        "data": {"message_id": "om_1", "chat_id": "oc_1", "body": {"content": "{}"}},
    },
    {
        "code": 0,
        "msg": "",
        "data": {
            "URL": "wss://host/ws/v2?fpid=493&device_id=70&access_key=k&service_id=33554678&ticket=t",
            "ClientConfig": {
                "ReconnectCount": -1,
                "ReconnectInterval": 120,
                "ReconnectNonce": 30,
                "PingInterval": 120,
            },
        },
    },
    *(
        {
            "code": code,
            "msg": "refused, ErrCode: 11310; t-g104exampleexample",
            "error": {
                "log_id": "2026",
                "field_violations": [{"field": "uuid", "value": "", "description": "too long"}],
            },
        }
        for code in (1, 403, 514, 9499, 10014, 11232, 230001, 230020, 230049, 99991400, 99991663, 1000040350)
    ),
)

_HEAD = (
    b"POST /feishu/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"X-Lark-Request-Timestamp: 1736480000\r\nX-Lark-Request-Nonce: nonce-1\r\n"
    b"X-Lark-Signature: c4da5213ba4323331fe07eaf45256e2aa2bc81964de98280c93d146b79930af3\r\n\r\n{}"
)
HOOK_HEADS = (
    _HEAD,
    _HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    _HEAD.replace(b"/feishu/events", b"/feishu/events?x=1&y=%20"),
    b"POST /feishu/events HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)


def _callback(msgtype: str, **payload: object) -> dict[str, object]:
    body = {
        "msgid": "m1",
        "aibotid": BOT_ID,
        "chatid": "wrC1",
        "chattype": "group",
        "from": {"userid": "zhangsan"},
        "create_time": 1700000000,
        "response_url": "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=x",
        "msgtype": msgtype,
        "quote": {"msgtype": "text", "text": {"content": "before\nthat"}},
        **payload,
    }
    return {"cmd": "aibot_msg_callback", "headers": {"req_id": "R1"}, "body": body}


def _wecom_event(name: str, **event: object) -> dict[str, object]:
    body = {
        "msgid": "e1",
        "create_time": 1700000000,
        "aibotid": BOT_ID,
        "chattype": "single",
        "from": {"userid": "zhangsan", "corpid": "c"},
        "msgtype": "event",
        "event": {"eventtype": name, **event},
    }
    return {"cmd": "aibot_event_callback", "headers": {"req_id": "E1"}, "body": body}


_FILE = {"url": "https://e.test/f", "aeskey": "A" * 43}
_ITEMS = [{"msgtype": "text", "text": {"content": "a"}}, {"msgtype": "image", "image": _FILE}]
WECOM_FRAMES: tuple[dict[str, object], ...] = (
    _callback("text", text={"content": "@RobotA hello"}),
    _callback("mixed", mixed={"msg_item": _ITEMS}),
    _callback("voice", voice={"content": "spoken"}),
    _callback("image", image=_FILE),
    _callback("file", file=_FILE),
    _wecom_event("enter_chat"),
    _wecom_event("disconnected_event"),
    _wecom_event("feedback_event", feedback_event={"id": "trace_1", "type": 1}),
    _wecom_event(
        "template_card_event", template_card_event={"card_type": "vote", "task_id": "t", "event_key": "k"}
    ),
    {"headers": {"req_id": "ping_1"}, "errcode": 0, "errmsg": "ok"},
    {
        "headers": {"req_id": "line"},
        "errcode": 846609,
        "errmsg": "not subscribed, hint: [177_a], from ip: 1.2.3.4",
    },
    {"headers": {"req_id": "line"}, "errcode": 0, "errmsg": "ok", "body": {"upload_id": "u"}},
)

_USER = {"id": 5001, "is_bot": False, "first_name": "Ann", "last_name": "B", "username": "ann"}
_GROUP = {"id": -1001234567890, "type": "supergroup", "title": "G", "is_forum": True}


def _message(**content: object) -> dict[str, object]:
    return {"message_id": 7, "date": 1700000000, "chat": _GROUP, "from": _USER, **content}


TELEGRAM_UPDATES: tuple[dict[str, object], ...] = (
    {
        "update_id": 1,
        "message": _message(
            text="/do@test_bot 😀 @test_bot hi",
            entities=[
                {"type": "bot_command", "offset": 0, "length": 12},
                {"type": "mention", "offset": 16, "length": 9},
                {"type": "text_mention", "offset": 26, "length": 2, "user": {"id": 42, "is_bot": True}},
            ],
            message_thread_id=9,
            is_topic_message=True,
            reply_to_message=_message(text="before"),
        ),
    },
    {
        "update_id": 2,
        "message": _message(caption="c", photo=[{"file_id": "a"}, {"file_id": "b", "file_size": 9}]),
    },
    {
        "update_id": 3,
        "message": _message(document={"file_id": "d", "file_name": "a/b.txt", "mime_type": "text/x"}),
    },
    {"update_id": 4, "message": _message(location={"latitude": 1.5, "longitude": -2.5})},
    {"update_id": 5, "message": _message(dice={"emoji": "🎲", "value": 3})},
    {"update_id": 6, "message": _message(migrate_to_chat_id=-1009)},
    {"update_id": 7, "edited_message": _message(text="again", edit_date=1700000001)},
    {"update_id": 8, "channel_post": {**_message(text="news"), "from": None, "sender_chat": _GROUP}},
    {"update_id": 9, "message": _message(venue={"title": "v"}, sticker={"file_id": "s", "emoji": "x"})},
    {"update_id": 10, "callback_query": {"id": "1", "from": _USER, "data": "x"}},
)
TELEGRAM_ANSWERS: tuple[object, ...] = (
    {"ok": True, "result": [TELEGRAM_UPDATES[0]]},
    {"ok": True, "result": {"id": 42, "is_bot": True, "first_name": "B", "username": "test_bot"}},
    {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 7",
        "parameters": {"retry_after": 7},
    },
    {
        "ok": False,
        "error_code": 400,
        "description": "Bad Request: x",
        "parameters": {"migrate_to_chat_id": -1009},
    },
    *(
        {
            "ok": False,
            "error_code": code,
            "description": "Bad Request: can't parse entities: bot1234567:AAAAAAAAAA",
        }
        for code in (400, 401, 403, 404, 409, 500)
    ),
)

WEB_SOCKET_BYTES = (
    b"\x81\x05hello",
    b"\x82\x03\x00\x01\x02",
    b"\x01\x03hel\x89\x02hi\x80\x02lo",
    b"\x01\x01\xf0\x00\x01\x9f\x80\x02\x98\x80",
    b"\x82\x7e\x01\x00" + b"x" * 256,
    b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"y" * 65536,
    b"\x88\x05\x03\xe9bye",
    b"\x88\x00",
    b"\x8a\x00\x89\x00",
    b"\x02\x00" + b"\x00\x00" * 20 + b"\x80\x00",
)
# What a client sends is masked: with nothing, so that a changed byte stays one, and with something.
CLIENT_FRAMES = (
    b"\x81\x85\0\0\0\0hello",
    b"\x82\x83\x01\x02\x03\x04\x00\x01\x02",
    b"\x01\x83\0\0\0\0hel\x89\x82\0\0\0\0hi\x80\x82\0\0\0\0lo",
    b"\x01\x81\0\0\0\0\xf0\x00\x81\0\0\0\0\x9f\x80\x82\0\0\0\0\x98\x80",
    b"\x82\xfe\x01\x00\x37\xfa\x21\x3d" + b"x" * 256,
    b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x37\xfa\x21\x3d" + b"y" * 65536,
    b"\x88\x85\0\0\0\0\x03\xe9bye",
    b"\x88\x80\0\0\0\0",
    b"\x8a\x80\0\0\0\0\x89\x80\0\0\0\0",
    b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 20 + b"\x80\x80\0\0\0\0",
)
HANDSHAKES = (
    (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi"
    ),
    b"HTTP/1.1 403 Forbidden\r\nhandshake-status: 403\r\nhandshake-msg: no\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:9/\r\nSet-Cookie: a=b; Path=/; Max-Age=x\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\nContent-Length: -1\r\n\r\n",
)
