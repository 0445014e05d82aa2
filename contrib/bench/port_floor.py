"""The floor of the port: WebSocket requests and one fixed answer, a thread per connection, no checks of any kind.

port_floor.py ANSWER_BYTES    prints "READY <port>"; ends with its standard input
"""

import base64
import hashlib
import json
import socket
import struct
import sys
import threading

FILL = "x" * int(sys.argv[1])


def serve(connection):
    stream = connection.makefile("rb")
    key = ""
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b": ")
        key = value.decode() if name.lower() == b"sec-websocket-key" else key
    accept = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.sendall(f"{head}Sec-WebSocket-Accept: {base64.b64encode(accept).decode()}\r\n\r\n".encode())
    while len(first := stream.read(2)) == 2:
        size = first[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", stream.read(2))
        mask = int.from_bytes(stream.read(4) * (size // 4 + 1), "big") >> (8 * (4 - size % 4))
        text = (int.from_bytes(stream.read(size), "big") ^ mask).to_bytes(size, "big")
        body = json.dumps({"type": "res", "id": json.loads(text)["id"], "ok": True, "payload": FILL}).encode()
        head = (
            struct.pack(">BB", 0x81, len(body))
            if len(body) < 126
            else struct.pack(">BBH", 0x81, 126, len(body))
        )
        connection.sendall(head + body)


with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:

    def accept_all():
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept_all, daemon=True).start()
    print("READY", listener.getsockname()[1], flush=True)
    sys.stdin.read()
