"""Which scope each method takes, said a second time, so that none loses its guard unseen."""

from __future__ import annotations

from tests.gateway.api.rpc.rpc_kit import RpcPort

ADMIN = """
channels.restart channels.start channels.stop chat.inject config.apply config.patch config.set gateway.restart.request
secrets.reload sessions.archive sessions.delete sessions.reset set-heartbeats system-event
"""
WRITE = """
agent agent.wait chat.abort chat.send send sessions.compact sessions.fork tools.invoke wake
work_units.archive work_units.assign work_units.claim work_units.complete work_units.create work_units.depend
work_units.heartbeat work_units.note work_units.recover work_units.start work_units.undepend work_units.update
"""
READ = """
agent.identity.get agents.list channels.status chat.history config.get config.schema config.schema.lookup cron.list
cron.status gateway.identity.get gateway.restart.preflight last-heartbeat logs.tail models.list sessions.describe
sessions.list sessions.preview sessions.resolve sessions.subscribe sessions.unsubscribe
sessions.usage status system-presence tools.catalog tools.servers usage.status
work_units.events work_units.health work_units.list work_units.show
"""
APPROVALS = "exec.approval.list exec.approval.resolve"
WANTED = {
    **dict.fromkeys(ADMIN.split(), "operator.admin"),
    **dict.fromkeys(WRITE.split(), "operator.write"),
    **dict.fromkeys(READ.split(), "operator.read"),
    **dict.fromkeys(APPROVALS.split(), "operator.approvals"),
}
OTHERS = ("approvals", "pairing", "questions", "talk", "talk.secrets")
# So many refusals end a connection.
PATIENCE = 9


def test_every_method_is_refused_below_its_scope() -> None:
    with RpcPort() as port:
        with port.client() as client:
            assert set(client.hello["features"]["methods"]) == {*WANTED, "health"}
        refused = {
            "operator.admin": [[], ["operator.write", *(f"operator.{one}" for one in OTHERS)]],
            "operator.write": [[], ["operator.read"]],
            "operator.read": [[], [f"operator.{one}" for one in OTHERS]],
            "operator.approvals": [[], ["operator.write", "operator.pairing"]],
        }
        asked = [(name, scopes) for name, wanted in sorted(WANTED.items()) for scopes in refused[wanted]]
        for scopes in {tuple(scopes) for _, scopes in asked}:
            names = [name for name, given in asked if tuple(given) == scopes]
            for at in range(0, len(names), PATIENCE):
                with port.client(scopes=list(scopes)) as client:
                    for name in names[at : at + PATIENCE]:
                        error = client.ask(name)["error"]
                        assert (name, error["code"]) == (name, "FORBIDDEN")
                        assert error["details"]["missingScope"] == WANTED[name]
                    assert client.ask("health")["ok"] is True
