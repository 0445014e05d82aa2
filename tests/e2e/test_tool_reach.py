"""The tools that act, in a turn of a chat through a real gateway: each within what the configuration names."""

from __future__ import annotations

import json
import pathlib

from tests.e2e.world import staged

CALLS = (
    ("file_write", {"path": "a.txt", "text": "kept"}),
    ("file_read", {"path": "a.txt"}),
    ("shell_run", {"program": "cat", "args": ["a.txt"]}),
    ("channels_send", {"target": "telegram:bot_123456789:2002", "text": "told"}),
    ("http_request", {"url": "{origin}/v1/models"}),
    ("file_read", {"path": "../config.toml"}),
    ("file_list", {"path": ".."}),
    ("shell_run", {"program": "sh", "args": ["-c", "id"]}),
    ("channels_send", {"target": "telegram:bot_123456789:1001", "text": "told"}),
    ("web_fetch", {"url": "{origin}/v1/models"}),
    ("sessions_history", {"sessionKey": "main"}),
)


def test_a_turn_acts_within_what_the_configuration_names(tmp_path: pathlib.Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with staged(tmp_path / "own", chats=(1001, 2002)) as (gateway, telegram, model):
        origin = model.base_url.partition("/v1")[0]
        names = sorted({name.replace("_", ".", 1) for name, _ in CALLS} - {"sessions.history"})
        settings = f"""
[tools]
allow = {json.dumps([*names, "sessions_history"])}
file_root = {json.dumps(str(files))}
shell_allow = ["cat"]
max_rounds = 20
[tools.approval]
mode = "disabled"
[tools.http]
origins = [{json.dumps(origin)}]
[tools.messages]
enabled = true
targets = ["telegram:bot_123456789:2002"]
"""
        with open(gateway.config_path, "a", encoding="utf-8") as config:
            config.write(settings)
        telegram.add_private(2002)
        gateway.start()
        lines = [f"call {name} {json.dumps(given).replace('{origin}', origin)}" for name, given in CALLS]
        telegram.say("\n".join(lines))
        telegram.wait_messages(2)
        results = [one["content"] for one in model.calls[-1].body["messages"] if one["role"] == "tool"]
    done, refused = [json.loads(one) for one in results[:5]], results[5:]
    assert (files / "a.txt").read_text() == "kept"
    assert done[1]["text"] == done[2]["stdout"] == "kept"
    assert (done[3]["state"], done[4]["status"] < 500) == ("sent", True)
    assert "told" in telegram.texts()
    assert all(one.startswith("Error: ") for one in refused), refused
    assert len(refused) == 6
