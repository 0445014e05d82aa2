"""Telegram over the Bot API's long polling. `spec` is cheap to import; `channel` opens connections."""
