"""Chat platforms: what a channel is, how to reach the outside world, one package or file per platform.

This is the lower package. It never imports loong_gateway.
"""
