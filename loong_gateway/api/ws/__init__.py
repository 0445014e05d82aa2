"""The WebSocket protocol, server side: codec, handshake, and a connection that any thread may write to."""
