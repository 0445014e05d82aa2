"""Texts about the model provider: where it is, what it refused, how it failed."""

from __future__ import annotations

_CHECK = "look at the address and the key, then: loong list-models"

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    # Before anything is asked
    "provider.missing": (
        "no provider is configured",
        "{config}",
        'write [providers.main] with kind = "openai" (or another kind) and api_key, then: loong list-models',
        2,
    ),
    "provider.region_missing": (
        "kind {kind} needs a region, and none is set in {names}",
        "{setting}",
        "set {name}, or write base_url, then: loong list-models",
        2,
    ),
    "provider.base_url_missing": (
        "kind {kind} has no address of its own",
        "{setting}",
        "write the root of the API as base_url, then: loong list-models",
        2,
    ),
    "provider.address_unusable": (
        "{setting} is not a usable http or https address",
        "{setting}",
        "correct it, then: loong list-models",
        2,
    ),
    "provider.base_url_too_long": (
        "{setting} already ends in the path of the chat call",
        "{setting}",
        "write the root of the API, or use endpoint for the full address, then: loong list-models",
        2,
    ),
    "provider.coding_lane": (
        "{setting} is the coding lane, which kind {kind} would bill as ordinary use",
        "{setting}",
        'write kind = "{kind}_coding", then: loong list-models',
        2,
    ),
    "provider.not_coding_lane": (
        "{setting} lacks {piece}; every other lane bills beside the coding plan",
        "{setting}",
        "correct the address or choose the kind without _coding, then: loong list-models",
        2,
    ),
    # Refused
    "provider.auth_rejected": (
        "provider {profile} refused the key ({status})",
        "{setting} ({source})",
        "replace the key{region}, then: loong list-models",
        2,
    ),
    "provider.key_missing": (
        "provider {profile} wants a key and none is configured ({status})",
        "{setting} ({source})",
        "set the key, then: loong list-models",
        2,
    ),
    "provider.account": (
        "provider {profile} refused the account, not the key ({status}): {detail}",
        "{setting} ({source})",
        "settle it in the provider's console, then: loong list-models",
        2,
    ),
    "provider.quota": (
        "provider {profile} says that the quota is used up ({status}): {detail}",
        "{setting} ({source})",
        "raise the quota in the provider's console, then: loong list-models",
        2,
    ),
    "provider.model_mismatch": (
        "provider {profile} does not offer model {model} ({status}): {detail}",
        "{where}.model",
        "choose a listed model: loong list-models",
        2,
    ),
    "provider.wrong_address": (
        "nothing answers chat calls at {url} ({status})",
        "{where}.base_url",
        "correct the address, then: loong list-models",
        2,
    ),
    "provider.redirected": (
        "{url} redirects elsewhere ({status}); redirects are not followed",
        "{where}.base_url",
        "write the final address, then: loong list-models",
        2,
    ),
    "provider.payload_incompatible": (
        "provider {profile} refused a parameter of the request ({status}): {detail}",
        "{where}",
        "remove the named setting, then: loong ask --message hi",
        2,
    ),
    "provider.request_rejected": (
        "provider {profile} refused the request ({status}): {detail}",
        "{where}",
        _CHECK,
        2,
    ),
    "provider.content_filter": (
        "provider {profile} withheld the answer: its content filter applied",
        "{where}",
        "word the message differently, or choose another model: loong list-models",
        2,
    ),
    "provider.context_length": (
        "the conversation is too long for model {model} ({status})",
        "memory.sliding_window",
        "lower the window, or choose another model: loong list-models",
        2,
    ),
    "provider.no_embeddings": (
        "provider {profile} has no embeddings",
        "{where}",
        "name a profile of a service that has them, then: loong list-models",
        2,
    ),
    "provider.embedding_model_missing": (
        "no model for embeddings is named for provider {profile}",
        "{where}.embedding_model",
        "write embedding_model, then: loong list-models",
        2,
    ),
    # Failing
    "provider.rate_limited": (
        "provider {profile} asks to slow down ({status}){hint}{tries}",
        "{where}",
        "wait, or raise the limit in the provider's console; then: loong ask --message hi",
        2,
    ),
    "provider.overloaded": (
        "provider {profile} is failing ({status}){hint}{tries}: {detail}",
        "{where}",
        "try again later: loong ask --message hi",
        2,
    ),
    "provider.transport": (
        "provider {profile} cannot be reached{tries}: {detail}",
        "{where} ({url})",
        "check the address, network.proxy and network.ca_bundle, then: loong list-models",
        2,
    ),
    "provider.certificate": (
        "provider {profile} cannot be trusted: {detail}",
        "{where} ({url})",
        "if a proxy inspects TLS, name its CA as network.ca_bundle, then: loong list-models",
        2,
    ),
    "provider.timed_out": (
        "provider {profile} did not answer in time{tries}: {detail}",
        "{where}.request_timeout_ms",
        "raise it if the model is slow, then: loong ask --message hi",
        2,
    ),
    "provider.interrupted": (
        "the call to provider {profile} was stopped",
        None,
        "ask again: loong ask --message hi",
        2,
    ),
    "provider.not_json": (
        "provider {profile} sent no usable answer{tries}: {detail}",
        "{where} ({url})",
        _CHECK,
        2,
    ),
    "provider.web_page": (
        "{url} answered with a web page ({status}): a wrong address or a sign-in portal in between",
        "{where}.base_url",
        "correct the address, then: loong list-models",
        2,
    ),
    "provider.shape": (
        "provider {profile} sent an answer without a reply{tries}: {detail}",
        "{where}.model",
        "choose another model: loong list-models",
        2,
    ),
    "provider.broken_stream": (
        "provider {profile} broke off in the middle of its answer: {detail}",
        "{where} ({url})",
        "ask again: loong ask --message hi",
        2,
    ),
    "provider.models_empty": (
        "provider {profile} lists no model that can chat; the model list is empty",
        "{where}.model",
        "write the model's name as model, then: loong ask --message hi",
        2,
    ),
    "provider.auto_unknown": (
        'provider {profile} cannot resolve model = "auto": this lane does not list what the plan holds',
        "{where}.model",
        "write model or preferred_models, then: loong ask --message hi",
        2,
    ),
}
