// The platform's own Node SDK: URL BOT_ID SECRET. Says what it hears, one JSON object per line, and does what it is
// told by message.
const { WSClient } = require("@wecom/aibot-node-sdk");

const [url, botId, secret] = process.argv.slice(2);
const say = (what) => console.log(JSON.stringify(what));
const quiet = () => {};
const client = new WSClient({
  botId,
  secret,
  wsUrl: url,
  heartbeatInterval: 200,
  reconnectInterval: 100,
  maxAuthFailureAttempts: 1,
  logger: { debug: quiet, info: quiet, warn: console.log, error: console.log },
});

async function told(done, calls) {
  const results = await Promise.allSettled(calls);
  say({ done, results: results.map((one) => (one.status === "fulfilled" ? one.value : one.reason)) });
}

const tasks = {
  stream: (frame) => [
    client.replyStream(frame, "s-1", "…", false),
    client.replyStream(frame, "s-1", "half", false),
    client.replyStream(frame, "s-1", "half and whole", true),
  ],
  "too long": (frame) => [client.replyStream(frame, "s-2", "汉".repeat(7000), true)],
  text: (frame) => [client.reply(frame, { msgtype: "text", text: { content: "no" } })],
  push: (frame) =>
    [frame.body.chatid || frame.body.from.userid, "stranger"].map((chat) =>
      client.sendMessage(chat, { msgtype: "markdown", markdown: { content: "**pushed**" } }),
    ),
  upload: () => [client.uploadMedia(Buffer.alloc(1200000, "x"), { type: "file", filename: "a.bin" })],
};

client.on("authenticated", () => say({ ready: true }));
client.on("disconnected", (reason) => say({ lost: String(reason) }));
client.on("error", (error) => say({ error: String(error) }));
client.on("event.enter_chat", (frame) =>
  told("welcome", [client.replyWelcome(frame, { msgtype: "text", text: { content: "hello" } })]),
);
client.on("event.disconnected_event", () => say({ kicked: true }));
client.on("message", (frame) => {
  const text = frame.body.text ? frame.body.text.content : "";
  say({ kind: frame.body.msgtype, text, user: frame.body.from.userid });
  if (tasks[text]) told(text, tasks[text](frame));
});
client.connect();
