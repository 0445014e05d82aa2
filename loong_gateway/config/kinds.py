"""The kinds of provider as data: where each lives, how it is asked, which variable holds its key.

Adding a service that speaks a known protocol is adding a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = ["KINDS", "REGION", "REGION_ENV", "Kind", "canonical", "placed"]

# Stands in addresses for the region, which the first of these variables that is set names.
REGION = "<region>"
REGION_ENV = ("BEDROCK_AWS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
_REGION = re.compile("[a-z0-9-]{1,40}")
_ARK_EFFORTS = ("none", "minimal", "low", "medium", "high")


@dataclass(frozen=True)
class Kind:
    """One kind. `models_path` may be a full URL. `key_env` are the variables tried for the key, in order; `oauth_env`
    those for a token that goes before it.

    `own_base_url` says that there is no default worth using. A base URL must contain `always` and not `never`;
    `elsewhere` is the root of the same service for another region, whose keys are others. `open_list` says that models
    are listed without a key. `headers` go with every request.
    `cap_parameter` is the name under which the token limit is sent; `efforts` are the values of reasoning_effort that
    are taken, all where it is empty; `thinking` says that the effort is sent as a switch. For `model = "auto"` the
    provider's list is used unless `auto_lists` is false, and `auto_models` where there is nothing else. `embeds` is
    false where the service has no embeddings beside its chat call. `observed` says that the health of keys does not
    order them.
    """

    name: str
    base_url: str
    chat_path: str
    models_path: str
    aliases: tuple[str, ...] = ()
    key_env: tuple[str, ...] = ()
    auth: str = "bearer"
    key_optional: bool = False
    own_base_url: bool = False
    always: str = ""
    never: str = ""
    protocol: str = "openai_chat"
    cap_parameter: str = "max_tokens"
    auto_lists: bool = True
    auto_models: tuple[str, ...] = ()
    embeds: bool = True
    oauth_env: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    elsewhere: str = ""
    open_list: bool = False
    efforts: tuple[str, ...] = ()
    thinking: bool = False
    observed: bool = False


def _row(
    name: str,
    base_url: str,
    chat_path: str,
    models_path: str,
    *,
    aliases: str = "",
    env: str = "",
    **rest: object,
) -> Kind:
    made = Kind(name, base_url, chat_path, models_path, tuple(aliases.split()), tuple(env.split()))
    return replace(made, **rest)  # type: ignore[arg-type]


# The coding lanes list the provider's whole catalogue, not what the plan holds: no `auto_lists` there.
# fmt: off
_ROWS = (
    _row("anthropic", "https://api.anthropic.com", "/v1/messages", "/v1/models",
         aliases="anthropic_compatible", env="ANTHROPIC_API_KEY", auth="x-api-key", protocol="anthropic_messages",
         headers={"anthropic-version": "2023-06-01"}),
    _row("bailian_coding", "https://coding.dashscope.aliyuncs.com/v1", "/chat/completions", "/models",
         aliases="bailian_coding_compatible", env="BAILIAN_API_KEY",
         headers={"User-Agent": "openclaw"}, embeds=False),
    _row("bedrock", "https://bedrock-runtime.<region>.amazonaws.com", "/model/{modelId}/converse",
         "https://bedrock.<region>.amazonaws.com/foundation-models",
         aliases="aws-bedrock aws_bedrock", env="AWS_BEARER_TOKEN_BEDROCK", protocol="bedrock_converse"),
    _row("byteplus", "https://ark.ap-southeast.bytepluses.com/api/v3", "/chat/completions", "/models",
         aliases="byteplus_compatible", env="BYTEPLUS_API_KEY ARK_API_KEY", never="/api/coding",
         efforts=_ARK_EFFORTS),
    _row("byteplus_coding", "https://ark.ap-southeast.bytepluses.com/api/coding/v3", "/chat/completions", "/models",
         aliases="byteplus_coding_compatible", env="BYTEPLUS_API_KEY ARK_API_KEY", always="/api/coding/v3",
         auto_lists=False, embeds=False, efforts=_ARK_EFFORTS),
    _row("cerebras", "https://api.cerebras.ai", "/v1/chat/completions", "/public/v1/models",
         aliases="cerebras_compatible", env="CEREBRAS_API_KEY",
         open_list=True),
    _row("cloudflare_ai_gateway", "https://gateway.ai.cloudflare.com/v1/<account_id>/<gateway_name>/openai/compat",
         "/chat/completions", "/models",
         aliases="cloudflare-ai-gateway cloudflare_ai cloudflare-ai cloudflare",
         env="CLOUDFLARE_API_KEY CLOUDFLARE_AI_GATEWAY_API_KEY", own_base_url=True),
    _row("cohere", "https://api.cohere.ai/compatibility", "/v1/chat/completions", "https://api.cohere.com/v1/models",
         aliases="cohere_compatible", env="COHERE_API_KEY",
         efforts=("none", "high")),
    _row("custom", "https://<openai-compatible-host>/v1", "/chat/completions", "/models",
         aliases="openai_custom custom_openai", env="CUSTOM_PROVIDER_API_KEY", own_base_url=True),
    _row("deepseek", "https://api.deepseek.com", "/v1/chat/completions", "/v1/models",
         aliases="deepseek_compatible", env="DEEPSEEK_API_KEY",
         auto_models=("deepseek-chat",)),
    _row("fireworks", "https://api.fireworks.ai", "/inference/v1/chat/completions", "/inference/v1/models",
         aliases="fireworks_compatible fireworks-ai", env="FIREWORKS_API_KEY FIREWORKS_AI_API_KEY"),
    _row("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "/chat/completions", "/models",
         aliases="gemini_compatible google google_gemini google-gemini", env="GEMINI_API_KEY GOOGLE_API_KEY"),
    _row("github-copilot", "https://api.githubcopilot.com", "/chat/completions", "/models",
         aliases="github_copilot copilot",
         oauth_env=("GITHUB_COPILOT_OAUTH_TOKEN",),
         headers={"User-Agent": "GithubCopilot/1.155.0", "Editor-Version": "vscode/1.85.1",
                  "Editor-Plugin-Version": "copilot/1.155.0", "Copilot-Integration-Id": "vscode-chat"}),
    _row("groq", "https://api.groq.com", "/openai/v1/chat/completions", "/openai/v1/models",
         aliases="groq_compatible", env="GROQ_API_KEY"),
    _row("kimi", "https://api.moonshot.cn", "/v1/chat/completions", "/v1/models",
         aliases="kimi_compatible moonshot moonshot_compatible", env="MOONSHOT_API_KEY",
         thinking=True, elsewhere="https://api.moonshot.ai"),
    _row("kimi_coding", "https://api.kimi.com", "/coding/v1/chat/completions", "/coding/v1/models",
         aliases="kimi_coding_compatible", env="KIMI_CODING_API_KEY",
         thinking=True, auto_lists=False, auto_models=("kimi-for-coding",),
         headers={"User-Agent": "KimiCLI/Loong"}),
    _row("llamacpp", "http://127.0.0.1:8080", "/v1/chat/completions", "/v1/models",
         aliases="llama.cpp llama_cpp", key_optional=True),
    _row("lm_studio", "http://127.0.0.1:1234", "/v1/chat/completions", "/v1/models",
         aliases="lmstudio lm-studio", key_optional=True),
    _row("minimax", "https://api.minimaxi.com", "/v1/chat/completions", "/v1/models",
         aliases="minimax_compatible", env="MINIMAX_API_KEY",
         auto_models=("MiniMax-M2.7",), elsewhere="https://api.minimax.io"),
    _row("mistral", "https://api.mistral.ai", "/v1/chat/completions", "/v1/models",
         aliases="mistral_compatible", env="MISTRAL_API_KEY"),
    _row("novita", "https://api.novita.ai", "/v3/openai/chat/completions", "/v3/openai/models",
         aliases="novita_compatible", env="NOVITA_API_KEY"),
    _row("nvidia", "https://integrate.api.nvidia.com", "/v1/chat/completions", "/v1/models",
         aliases="nvidia_compatible nvidia_nim nvidia-nim build.nvidia.com", env="NVIDIA_API_KEY"),
    _row("ollama", "http://127.0.0.1:11434", "/v1/chat/completions", "/v1/models",
         aliases="ollama_compatible", key_optional=True),
    _row("openai", "https://api.openai.com", "/v1/chat/completions", "/v1/models",
         aliases="openai_compatible", env="OPENAI_API_KEY", cap_parameter="max_completion_tokens",
         oauth_env=("OPENAI_CODEX_OAUTH_TOKEN", "OPENAI_OAUTH_ACCESS_TOKEN")),
    _row("opencode_go", "https://opencode.ai/zen/go/v1", "/chat/completions", "/models",
         aliases="opencode-go", env="OPENCODE_API_KEY"),
    _row("opencode_zen", "https://opencode.ai/zen/v1", "/chat/completions", "/models",
         aliases="opencode opencode-zen", env="OPENCODE_API_KEY"),
    _row("openrouter", "https://openrouter.ai", "/api/v1/chat/completions", "/api/v1/models",
         aliases="openrouter_compatible", env="OPENROUTER_API_KEY",
         observed=True),
    _row("perplexity", "https://api.perplexity.ai", "/chat/completions", "/models",
         aliases="perplexity_compatible", env="PERPLEXITY_API_KEY"),
    _row("qianfan", "https://qianfan.baidubce.com", "/v2/chat/completions", "/v2/models",
         aliases="qianfan_compatible baidu", env="QIANFAN_API_KEY"),
    _row("qwen", "https://dashscope.aliyuncs.com", "/compatible-mode/v1/chat/completions", "/compatible-mode/v1/models",
         aliases="qwen_compatible dashscope", env="DASHSCOPE_API_KEY QWEN_API_KEY"),
    _row("sambanova", "https://api.sambanova.ai", "/v1/chat/completions", "/v1/models",
         aliases="sambanova_compatible samba_nova", env="SAMBANOVA_API_KEY"),
    _row("sglang", "http://127.0.0.1:30000", "/v1/chat/completions", "/v1/models",
         aliases="sglang_compatible", key_optional=True),
    _row("siliconflow", "https://api.siliconflow.com", "/v1/chat/completions", "/v1/models",
         aliases="siliconflow_compatible", env="SILICONFLOW_API_KEY"),
    _row("step_plan", "https://api.stepfun.com", "/step_plan/v1/chat/completions", "/step_plan/v1/models",
         aliases="stepfun_step_plan", env="STEP_API_KEY",
         elsewhere="https://api.stepfun.ai"),
    _row("stepfun", "https://api.stepfun.com", "/v1/chat/completions", "/v1/models",
         aliases="stepfun_compatible", env="STEP_API_KEY",
         elsewhere="https://api.stepfun.ai"),
    _row("together", "https://api.together.xyz", "/v1/chat/completions", "/v1/models",
         aliases="together_compatible together_ai together-ai", env="TOGETHER_API_KEY"),
    _row("venice", "https://api.venice.ai", "/api/v1/chat/completions", "/api/v1/models",
         aliases="venice_compatible", env="VENICE_API_KEY"),
    _row("vercel_ai_gateway", "https://ai-gateway.vercel.sh/v1", "/chat/completions", "/models",
         aliases="vercel-ai-gateway vercel_ai vercel-ai vercel", env="AI_GATEWAY_API_KEY VERCEL_API_KEY",
         open_list=True),
    _row("vllm", "http://127.0.0.1:8000", "/v1/chat/completions", "/v1/models",
         aliases="vllm_compatible", key_optional=True),
    _row("volcengine", "https://ark.cn-beijing.volces.com", "/api/v3/chat/completions", "/api/v3/models",
         aliases="volcengine_custom volcengine_compatible doubao ark", env="ARK_API_KEY", never="/api/coding",
         efforts=_ARK_EFFORTS),
    _row("volcengine_coding", "https://ark.cn-beijing.volces.com/api/coding/v3", "/chat/completions", "/models",
         aliases="volcengine_coding_compatible", env="ARK_API_KEY", always="/api/coding/v3",
         auto_lists=False, auto_models=("ark-code-latest",), embeds=False, efforts=_ARK_EFFORTS),
    _row("xai", "https://api.x.ai", "/v1/chat/completions", "/v1/language-models",
         aliases="xai_compatible grok", env="XAI_API_KEY"),
    _row("xiaomi", "https://api.xiaomimimo.com", "/v1/chat/completions", "/v1/models",
         aliases="xiaomi_compatible xiaomi_mimo xiaomi-mimo mimo mimo_compatible",
         env="XIAOMI_API_KEY MIMO_API_KEY XIAOMIMIMO_API_KEY",
         auto_models=("mimo-v2-pro",)),
    _row("zai", "https://api.z.ai", "/api/paas/v4/chat/completions", "/api/paas/v4/models",
         aliases="zai_compatible z.ai", env="ZAI_API_KEY",
         elsewhere="https://open.bigmodel.cn"),
    _row("zhipu", "https://open.bigmodel.cn", "/api/paas/v4/chat/completions", "/api/paas/v4/models",
         aliases="zhipu_compatible glm bigmodel", env="ZHIPUAI_API_KEY ZHIPU_API_KEY",
         elsewhere="https://api.z.ai"),
    _row("echo", "", "", "", key_optional=True, protocol="echo"),
)
# fmt: on

KINDS: Mapping[str, Kind] = {row.name: row for row in _ROWS}
_SPELLINGS = {spelling: row.name for row in _ROWS for spelling in (row.name, *row.aliases)}


def canonical(name: str) -> str | None:
    """The kind that is meant by `name`: case and surrounding blanks are ignored, aliases followed. None if unknown."""
    return _SPELLINGS.get(name.strip().lower())


def placed(kind: Kind, environ: Mapping[str, str]) -> Kind:
    """The kind with its region in its addresses; as it is where none is needed, or what is set cannot be one."""
    region = next((environ[name].strip() for name in REGION_ENV if environ.get(name, "").strip()), "")
    # It becomes a part of the host that keys are sent to.
    if not _REGION.fullmatch(region) or REGION not in kind.base_url:
        return kind
    base_url, models_path = (text.replace(REGION, region) for text in (kind.base_url, kind.models_path))
    return replace(kind, base_url=base_url, models_path=models_path)
