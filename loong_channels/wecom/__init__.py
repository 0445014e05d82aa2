"""WeCom over the long connection of its intelligent robots. `spec` is cheap to import; `channel` opens connections."""
