"""The gateway: storage, config, trust, lanes, providers, port, supervision and commands."""

VERSION = "0.1.0"
