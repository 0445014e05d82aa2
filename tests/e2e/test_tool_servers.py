"""A gateway with a tool server: started beside it, told of when it dies, gone when the gateway is."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import urllib.request

from tests.e2e.gateway import Gateway
from tests.waiting import wait_until

FAKE = str(pathlib.Path(__file__).parents[1] / "fakes" / "mcp_server.py")
PROVIDER = '[provider]\nkind = "echo"\nmodel = "echo"\n'


def is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def test_a_tool_server_lives_and_dies_beside_the_gateway(tmp_path: pathlib.Path) -> None:
    state = tmp_path / "began"
    config = (
        f'{PROVIDER}[mcp.servers.one]\ncommand = "{sys.executable}"\n'
        f'args = ["-I", "-S", "{FAKE}", "good", "{state}"]\n'
        '[tools]\nallow = ["mcp.one.*"]\n[tools.approval]\nmode = "disabled"\n[gateway.tools]\n'
        'allow = ["mcp.one.pid", "mcp.one.die", "mcp.one.echo"]\n'
    )
    with Gateway(tmp_path, config) as gateway:
        gateway.start()
        wait_until(
            lambda: gateway.run("runtime", "mcp", "show", "one").stdout.startswith("one: ready, 9 tools")
        )

        def visible() -> int:
            document = json.loads(gateway.run("status", "--json").stdout)
            return int(document["gateway"]["runtime"]["visible_tool_count"])

        wait_until(lambda: visible() == 9)

        def invoke(tool: str, **arguments: object) -> dict[str, object]:
            token = (pathlib.Path(gateway.home) / "gateway-runtime" / "control-token").read_text().strip()
            body = json.dumps({"tool": tool, "args": arguments}).encode()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{gateway.url}/tools/invoke", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return dict(json.loads(answer.read()))
            except urllib.error.HTTPError as error:
                return dict(json.loads(error.read()))

        first = json.dumps(invoke("mcp.one.pid"))
        assert '\\"pid\\"' in first or '"pid"' in first
        pids = [int(line.split()[1]) for line in state.read_text().splitlines() if line.startswith("began")]
        assert invoke("mcp.one.die")["ok"] is False
        gateway.wait_status(lambda status: "mcp_failed:one" in status["degraded_reasons"])
        # It is started again by itself.
        gateway.wait_status(lambda status: status["degraded_reasons"] == [])
        shown = gateway.run("runtime", "mcp", "show", "one")
        assert shown.stdout.startswith("one: ready, 9 tools, started again 1 time"), shown.stdout
        assert "still here" in json.dumps(invoke("mcp.one.echo", text="still here"))
        pids += [int(line.split()[1]) for line in state.read_text().splitlines() if line.startswith("began")]
        assert gateway.stop() == 0
        assert len(set(pids)) == 2
        wait_until(lambda: all(is_gone(pid) for pid in pids))
