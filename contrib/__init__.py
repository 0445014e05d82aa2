"""Tools that stand beside the product: importable from a checkout, not installed."""
