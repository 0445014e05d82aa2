"""Checks of a host, a home and its configuration. Each looks and reports; only `repair` changes anything."""
