"""The WebSocket side of the port: one connection, many requests, events that are told to whoever may hear them."""
