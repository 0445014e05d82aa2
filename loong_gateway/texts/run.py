"""Texts about starting a gateway."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "run.no_config": (
        "there is no configuration, nothing was started",
        "{path}",
        "write it, then: {check}    or try without one: loong --dev gateway run",
        78,
    ),
    "run.remote_mode": (
        "gateway start blocked: gateway.mode is {mode}, not local",
        "gateway.mode in {path}",
        'set gateway.mode = "local", then: {check}',
        78,
    ),
    "run.secret_missing": (
        "{detail}; nothing was started",
        "{where}",
        "{fix}",
        78,
    ),
    "run.hook_token_reused": (
        "the token of the hooks is the secret of the port: whoever may call a hook could do everything",
        "{setting} ({source})",
        "give the hooks a token of their own, then: loong gateway run",
        78,
    ),
    "run.disk": (
        "the disk refuses what a start has to write: {detail}",
        "{path}",
        "make room there or correct its mode, then: loong gateway run",
        75,
    ),
    "run.webhook_flag": (
        "{flag}: {detail}",
        None,
        "loong channels serve feishu --bind 127.0.0.1:8080 --path /feishu/events",
        2,
    ),
    "run.crypto_missing": (
        "{channel}/{account} receives by webhook, and the Python package cryptography is missing",
        None,
        "pip install 'loong[crypto]'",
        2,
    ),
    "run.not_up": (
        "the gateway is {phase}; it takes no work now",
        None,
        "loong gateway status",
        2,
    ),
    "run.channels_off": (
        "the channels are kept off: too many starts in a row ended early",
        None,
        "find the cause: loong logs --lines 50    then: loong gateway resume",
        2,
    ),
    "run.force_needs_yes": (
        "--force would {act}, and there is no terminal to ask on",
        None,
        "loong gateway run --force --yes",
        2,
    ),
    "run.force_declined": (
        "nothing was done: --force would {act}",
        None,
        "loong gateway run --port 0",
        2,
    ),
    "run.owner_not_stopped": (
        "the running gateway did not stop within {waited}",
        None,
        "loong gateway status",
        78,
    ),
    "run.nobody_allowed": (
        "{setting} is empty; configure at least one trusted {word}",
        "{path}",
        "list who may talk to it there, then: loong validate-config",
        2,
    ),
    "run.owned_by_gateway": (
        "a gateway owns this home (pid {pid}), not a serve of one channel",
        None,
        "loong gateway stop",
        2,
    ),
    "run.serves_another": (
        "{given} is not served here, nothing was stopped: pid {pid} serves {served}",
        None,
        "{fix}",
        2,
    ),
    "run.nothing_to_serve": (
        "{channel} cannot receive messages",
        None,
        "see what it can do: loong channels list --all",
        2,
    ),
}
