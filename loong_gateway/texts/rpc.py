"""Texts about asking a gateway over the WebSocket side of its port, here or on another host."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "rpc.bad_url": (
        "the address of the gateway cannot be used: {detail}",
        "{source}",
        "loong gateway health --url ws://127.0.0.1:18789 --token-file token.txt",
        2,
    ),
    "rpc.in_the_clear": (
        "ws:// would carry the token unencrypted to {host}, which is not on a private network",
        "{source}",
        "use wss:// through a proxy with TLS, or a tunnel: loong gateway health --url ws://127.0.0.1:18789",
        2,
    ),
    "rpc.no_token": (
        "a gateway named by its address needs a token, and there is none",
        "--token-file, env LOONG_GATEWAY_TOKEN",
        "put it into a file, then: loong gateway health --url {url} --token-file token.txt",
        2,
    ),
    "rpc.token_file": (
        "the token cannot be read: {detail}",
        "{path}",
        "put the token alone into a file, then: loong gateway health --url {url} --token-file token.txt",
        2,
    ),
    "rpc.token_alone": (
        "--token-file is for a gateway that --url names; the one of this home has left its token",
        None,
        "loong gateway health",
        2,
    ),
    "rpc.unreachable": (
        "the gateway at {address} does not answer: {detail}",
        None,
        "{look}",
        2,
    ),
    "rpc.unauthorized": (
        "unauthorized: the gateway at {address} refused this token ({detail})",
        "{source}",
        "take the value of gateway.auth.token there, then: {look}",
        2,
    ),
    "rpc.not_admitted": (
        "the gateway at {address} did not admit this client: {detail}",
        None,
        "{look}",
        2,
    ),
    "rpc.no_answer": (
        "the gateway at {address} was asked for {method} and did not answer within {waited}",
        None,
        "{look}",
        2,
    ),
    "rpc.no_approval": (
        'no call waits under the id "{id}": it was decided, or its time was over',
        None,
        "loong approvals list",
        1,
    ),
    "rpc.closed": (
        "the gateway at {address} ended the connection before it answered {method}: {detail}",
        None,
        "{look}",
        2,
    ),
    "rpc.bad_answer": (
        "what {address} answered is not the gateway protocol: {detail}",
        None,
        "{look}",
        2,
    ),
    "rpc.refused": (
        "the gateway refused {method} with {said}: {detail}",
        None,
        "{look}",
        1,
    ),
    "rpc.run_failed": (
        "the run ended without an answer: {detail}",
        None,
        "{look}",
        1,
    ),
    "rpc.bad_params": (
        "--params is not a JSON object: {detail}",
        None,
        "loong gateway call logs.tail --params '{{\"limit\":5}}'",
        2,
    ),
    "rpc.bad_time": (
        "--timeout {given} is not {expected}",
        None,
        "give, for example: --timeout {example}",
        2,
    ),
}
