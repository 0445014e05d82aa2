"""The floor: a polling loop that keeps nothing on disk. Poll, ask the model, send; one thread per chat keeps its order.

floor.py TELEGRAM_HOST:PORT TOKEN MODEL_HOST:PORT KEY
"""

import http.client
import json
import queue
import sys
import threading

TELEGRAM, TOKEN, MODEL, KEY = sys.argv[1:]


def ask(connection, path, body, headers):
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
    return json.loads(connection.getresponse().read())


def talk(chat_id, texts):
    telegram, model = http.client.HTTPConnection(TELEGRAM), http.client.HTTPConnection(MODEL)
    while True:
        question = {"model": "test-model", "messages": [{"role": "user", "content": texts.get()}]}
        answer = ask(model, "/v1/chat/completions", question, {"Authorization": f"Bearer {KEY}"})
        text = answer["choices"][0]["message"]["content"]
        ask(telegram, f"/bot{TOKEN}/sendMessage", {"chat_id": chat_id, "text": text}, {})


chats, offset, poll = {}, 0, http.client.HTTPConnection(TELEGRAM)
while True:
    updates = ask(poll, f"/bot{TOKEN}/getUpdates", {"offset": offset, "timeout": 20}, {})["result"]
    for update in updates:
        offset, message = update["update_id"] + 1, update["message"]
        chat_id = message["chat"]["id"]
        if chat_id not in chats:
            chats[chat_id] = queue.Queue()
            threading.Thread(target=talk, args=(chat_id, chats[chat_id]), daemon=True).start()
        chats[chat_id].put(message["text"])
