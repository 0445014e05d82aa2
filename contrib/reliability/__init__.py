"""Faults on purpose, in numbers: what the delivery promise says, counted."""
