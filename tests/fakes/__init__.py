"""Doubles of the outside world: real servers on 127.0.0.1 that are as strict as the services they stand for.

They import nothing of the product, so that both sides can only agree on the published protocol.
"""
