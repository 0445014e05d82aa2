"""python -m contrib.settings_page: print docs/configuration.md, made from the table of settings."""

from __future__ import annotations

from loong_channels.catalog import gateway_channels, spec
from loong_channels.settings import Setting
from loong_gateway.config.provider_settings import PROVIDER
from loong_gateway.config.settings import CHANNEL_COMMON, NAMED_SECTIONS, SECTIONS

HEAD = """# Configuration

`~/.loong/config.toml`, or what `--config` and `LOONG_CONFIG_PATH` name. Every key may be written in snake_case or
camelCase. `loong validate-config` prints every finding at once; unknown keys warn with the nearest name. A change takes
effect at the next start. This page is made from the table that the program reads:
`python -m contrib.settings_page > docs/configuration.md`.

## Places

| what | where | moved by |
|---|---|---|
| home | `~/.loong`; with `--profile P` `~/.loong-P`; `--dev` is the profile `dev` on port 19001 | `LOONG_HOME` |
| state | the home | `LOONG_STATE_DIR` |
| config | `<home>/config.toml` | `--config`, `LOONG_CONFIG_PATH` |
| port | 18789 | `--port`, `LOONG_GATEWAY_PORT`, `gateway.port` |
| token of the port | `<state>/gateway-runtime/control-token`, new at every start | `[gateway.auth]` |

## Secrets

A secret is `{ env = "NAME" }`, `{ file = "/path" }`, `{ exec = ["command", "argument"] }`, `"${NAME}"`, or the value
itself. What is written decides alone: an unset variable does not fall through to another source. When nothing is
written, or an empty text (`""`), which counts as nothing, the variable of the table below is tried. A secret that
cannot be had stops its own account or provider only.

## Accounts

`gateway run` serves one account of each channel: the default one, or what `--channel-account CHANNEL=ACCOUNT` names. It
warns of every other enabled account, and so does `loong doctor`. Run those in another profile (`--profile NAME`).
The only account of a block without `accounts` is named by the name that is shown for it, such as `bot_123456`.

## Files that come with messages

What a listed conversation sends is fetched when its message is answered, for at most 30 s, and never kept on disk.

- Text, by its type or the ending of its name, in UTF-8, GB18030 or with a byte order mark: up to 64 KiB of a file
  stand in the question, between two marks that name it, and are remembered for later questions.
- PNG, JPEG, GIF and WEBP: with `images = true` in the provider's table the model sees the picture. Without it, and in
  later questions, there is a placeholder such as `[image]`.
- Everything else is not fetched: a placeholder with its name stands for it, and its size where that is known.

A file that is gone, too large or cannot be decrypted becomes a note such as `[file report.txt: could not be fetched]`;
the message is answered all the same, and `loong logs` says why. When a model refuses pictures, it is asked once more
without them. WeCom encrypts its files: `pip install 'loong[crypto]'` opens them. `[media]` has the limits.

## Providers

`[provider]` for one, or `[providers.ID]` for several and `active_provider = "ID"`; `fallback_providers = ["ID"]` names
those that are asked when it fails. Kinds, keys and errors are described in [providers.md](providers.md).
"""


def row(setting: Setting) -> str:
    """One line of a table."""
    text = setting.help
    if setting.choices:
        text += " (" + ", ".join(f"`{choice}`" for choice in setting.choices) + ")"
    if setting.minimum is not None and setting.maximum is not None:
        text += f"; {_number(setting.minimum)} to {_number(setting.maximum)}"
    return f"| `{setting.name}` | {_default(setting)} | {text} |"


def _default(setting: Setting) -> str:
    value = setting.default
    if setting.kind == "secret" and setting.env:
        return f"variable `{setting.env}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (tuple, list)):
        return " ".join(f"`{item}`" for item in value)
    return "" if value in (None, "", {}) else f"`{value}`"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def table(settings: tuple[Setting, ...]) -> str:
    """A table of settings."""
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *map(row, settings), ""])


def page() -> str:
    """The whole page."""
    parts = [HEAD, table(PROVIDER.settings)]
    for section in SECTIONS.values():
        if section.settings and section is not PROVIDER:
            parts.append(f"## [{section.path}]\n\n{table(section.settings)}")
    for path, section in NAMED_SECTIONS.items():
        parts.append(f"## [{path}.NAME]\n\n{table(section.settings)}")
    for name in gateway_channels():
        parts.append(
            f"## [{name}] and [{name}.accounts.ID]\n\n{table((*CHANNEL_COMMON, *spec(name).settings))}"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
