"""The double of the whole open platform: the REST side, and the long connections that it sends clients to."""

from __future__ import annotations

from typing import Callable

from .feishu import APP_ID, APP_SECRET, FakeFeishu
from .feishu_long_connection import FakeLongConnection
from .feishu_state import Refusal
from .http_server import Call

__all__ = ["FakeFeishuPlatform"]


class FakeFeishuPlatform(FakeFeishu):
    """As FakeFeishu; endpoints are those of `pushes`. `lead` changes the port that clients are told."""

    def __init__(self, *, port: int = 0, app_id: str = APP_ID, app_secret: str = APP_SECRET) -> None:
        self.pushes = FakeLongConnection(app_id, app_secret)
        self.lead: Callable[[int], int] = lambda port: port
        super().__init__(port=port, app_id=app_id, app_secret=app_secret)

    def close(self) -> None:
        """Stop serving, both sides."""
        self.pushes.__exit__()
        super().close()

    def _do_endpoint(self, params: dict[str, object], call: Call) -> object:
        if call.headers.get("authorization"):
            self.complaints.append("endpoint: a token where none belongs")
        status, body = self.pushes.endpoint_answer(params)
        assert isinstance(body, dict)
        if body["code"] != 0:
            raise Refusal(body["code"], body["msg"], status=status)
        old = self.pushes.server.port
        url = body["data"]["URL"].replace(f":{old}/", f":{self.lead(old)}/")
        return {**body, "data": {**body["data"], "URL": url}}
