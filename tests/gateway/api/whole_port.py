"""A port with everything that its HTTP side offers, over small parts that keep what they were asked for."""

from __future__ import annotations

from loong_gateway.api.auth import Auth
from loong_gateway.api.hooks import hook_auth
from loong_gateway.api.port import all_routes
from loong_gateway.base.bus import Bus
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.control.sessions import SessionInfo, SessionPage, Transcript, TranscriptMessage
from loong_gateway.tools.desk import Tools
from loong_gateway.tools.looks import built_in_tools
from tests.gateway.api.port_kit import Port, SmallGateway
from tests.gateway.api.small_runs import NOW_MS, SmallRuns
from tests.gateway.config.reading import valid

HOOK_TOKEN = "token-of-the-hooks-01"
CONFIG = """
[provider]
kind = "echo"
model = "echo-1"

[telegram]
enabled = true
bot_token = { env = "TELEGRAM_BOT_TOKEN" }
allowed_chat_ids = [1001]

[hooks]
enabled = true
token = { env = "LOONG_HOOKS_TOKEN" }
"""
ENVIRON = {"TELEGRAM_BOT_TOKEN": "110201543:telegram-secret-value", "LOONG_HOOKS_TOKEN": HOOK_TOKEN}


class SmallSessions:
    """Implements what is used of control.sessions.Sessions over a dictionary of lists of (role, text)."""

    def __init__(self) -> None:
        self.said: dict[str, list[tuple[str, str]]] = {"agent:main:main": [("user", "hello")]}
        self.fault: StoreUnwritable | None = None

    def resolve(self, given: str) -> str | None:
        self._look()
        if given.startswith("agent:") and not given.startswith("agent:main:"):
            return None
        return given if given.startswith("agent:main:") else f"agent:main:{given}"

    def list(
        self,
        *,
        limit: int,
        offset: int = 0,
        search: str = "",
        active_since_ms: int = 0,
        previews: bool = False,
    ) -> SessionPage:
        self._look()
        found = [key for key in self.said if search in key][offset:]
        rows = [
            SessionInfo(
                key, f"id of {key}", "direct", "", key, NOW_MS, NOW_MS + active_since_ms, len(self.said[key])
            )
            for key in found[:limit]
        ]
        assert not previews
        return SessionPage(tuple(rows), len(found))

    def describe(self, key: str, *, preview: bool = False) -> SessionInfo | None:
        assert not preview
        page = self.list(limit=200, search=key)
        return next((row for row in page.rows if row.key == key), None)

    def history(
        self, key: str, *, limit: int, before: int | None = None, max_bytes: int = 6 << 20
    ) -> Transcript:
        self._look()
        assert before is None
        assert max_bytes > 0
        said = self.said.get(key, [])
        messages = tuple(TranscriptMessage(n, role, text, NOW_MS) for n, (role, text) in enumerate(said, 1))
        shown = messages[-limit:]
        return Transcript(
            key, key if key in self.said else None, shown, len(said), len(shown) < len(messages)
        )

    def inject(self, key: str, text: str, *, role: str = "assistant") -> int:
        self._look()
        self.said.setdefault(key, []).append((role, text))
        return len(self.said[key])

    def _look(self) -> None:
        if self.fault is not None:
            raise self.fault


class WholeGateway(SmallGateway):
    """A control plane with all that the HTTP side asks for. `surfaces` and `reasons` are those of its status."""

    def __init__(self, more: str = "") -> None:
        super().__init__()
        self.applied = valid(CONFIG + more, ENVIRON)
        self.bus = Bus(lambda: NOW_MS)
        self.metrics = Metrics()
        self.runs = SmallRuns()
        self.sessions = SmallSessions()
        self.tools = Tools(self.config, built_in_tools(self, lambda: NOW_MS))
        self.reasons: list[str] = []
        self.surfaces: list[dict[str, object]] = []

    def config(self) -> object:
        return self.applied

    def status(self) -> dict[str, object]:
        return {
            **super().status(),
            "ready": True,
            "degraded_reasons": list(self.reasons),
            "surfaces": list(self.surfaces),
            "last_heartbeat_at": NOW_MS,
            "bind_address": "127.0.0.1",
            "port": 18789,
            "token_path": "/nowhere/gateway-runtime/control-token",
            "provider": {"profile": "main", "kind": "echo"},
        }

    def models(self, *, refresh: bool, timeout_s: float) -> list[dict[str, object]]:
        assert not refresh
        assert timeout_s > 0
        return [{"id": "echo-1", "profile": "main", "kind": "echo", "available": True}]


def whole_port(more: str = "", **options: object) -> tuple[Port, WholeGateway, Auth]:
    """A port that is not started yet, its gateway, and the judge of its hook tokens."""
    control = WholeGateway(more)
    hooks = hook_auth(HOOK_TOKEN)
    port = Port(control=control, routes=all_routes(control, control.applied, ENVIRON, hooks), **options)
    return port, control, hooks
