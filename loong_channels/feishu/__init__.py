"""Feishu and Lark over their open platform. `spec` is cheap to import; `channel` opens connections."""
