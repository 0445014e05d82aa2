"""What an operator who sends is told at once."""

from __future__ import annotations

import functools

import pytest

from loong_gateway.config.loading import validate_source
from loong_gateway.control import SendRequest
from loong_gateway.messaging.operator_sends import OperatorSends
from loong_gateway.storage import outbox
from loong_gateway.storage.outgoing import Outgoing
from tests.gateway.messaging.engine_rig import CONFIG, lanes_for, rig_at

ACCOUNT = b"""
[telegram]
enabled = true
account_id = "work"
bot_token = "1:a"
allowed_chat_ids = [7]
"""


@pytest.mark.parametrize(
    ("of_row", "of_surface", "told"),
    [("", "", ""), ("", "no connection", "no connection"), ("HTTP 503", "no connection", "HTTP 503")],
)
def test_a_send_that_waits_says_why(tmp_path, of_row, of_surface, told):
    config, problems = validate_source("config.toml", CONFIG + ACCOUNT, environ={})
    assert config is not None, problems
    with rig_at(tmp_path / "store.sqlite3") as rig:
        rig.surface.sendable = False
        lanes = lanes_for(rig)
        sends = OperatorSends(
            rig.store,
            lanes,
            rig.delivery,
            config=lambda: config,
            ready_to_send=lambda account: None,
            last_error=lambda account: of_surface,
            outgoing=Outgoing(str(tmp_path / "outgoing")),
            clock=rig.clock,
        )
        request = SendRequest("telegram", "work", "7", "", "hello", wait_s=0, idempotency_key="k")
        sends.send(request)
        lanes.close()
        if of_row:
            failed = functools.partial(
                outbox.mark_queued, id=rig.rows("send-k")[0].id, not_before_ms=0, error=of_row, count=True
            )
            rig.store.write(failed)
        outcome = sends.send(request)
        assert (outcome.state, outcome.error) == ("queued", told)
