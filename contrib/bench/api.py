"""What the OpenAI API of the port adds to a model that answers at once."""

from __future__ import annotations

import http.client
import json
import pathlib
import statistics
import time
from collections.abc import Mapping

from .stand import KEY, percentile, stand

WARM_UP, REQUESTS = 20, 300
PATIENCE_S = 10.0
CHAT = "/v1/chat/completions"


class _Caller:
    """One connection that is kept, as clients keep it."""

    def __init__(self, port: int, key: str, model: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello there"}]})

    def ask_ms(self) -> float:
        """The milliseconds of one completion."""
        begin = time.perf_counter()
        self._connection.request("POST", CHAT, self._body, self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body[:500]!r}")
        return (time.perf_counter() - begin) * 1000

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def api(name: str, script: str, python: str) -> Mapping[str, float]:
    """The time of a completion through the port less that of the model alone, asked in turns. Nothing for the floor."""
    if name != "loong":
        return {}
    with stand(name, script, python) as at:
        gateway = at.subject.gateway  # type: ignore[attr-defined]
        token = pathlib.Path(gateway.home, "gateway-runtime", "control-token").read_text().strip()
        through, alone = _Caller(gateway.port, token, "loong"), _Caller(at.model.port, KEY, "test-model")
        pairs = [(through.ask_ms(), alone.ask_ms()) for _ in range(WARM_UP + REQUESTS)][WARM_UP:]
        through.close()
        alone.close()
    added = [slow - fast for slow, fast in pairs]
    return {
        "model_p50_ms": round(statistics.median(fast for _, fast in pairs), 2),
        "through_p50_ms": round(statistics.median(slow for slow, _ in pairs), 2),
        "added_p50_ms": round(statistics.median(added), 2),
        "added_p99_ms": round(percentile(sorted(added), 0.99), 2),
    }
