// The published client against a gateway: CHECK URL TOKEN [NEXT TOKEN], with LOONG_NODE_PACKAGES in the environment.
// Says one JSON object per line: what a test must act upon, and at the end {done, frames, kinds, complaints}.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { Judge, Line } from "./frames.mjs";

const [check, url, token, nextToken] = process.argv.slice(2);
const home = path.resolve(process.env.LOONG_NODE_PACKAGES, "node_modules");
const require = createRequire(path.join(home, "anything.js"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { GatewayClient } = await load("@openclaw/gateway-client");
const { WebSocket } = require("ws");
const schemaPath = path.join(home, "@openclaw/gateway-protocol/protocol.schema.json");
const judge = new Judge(require("ajv").default, require("ajv-formats").default, JSON.parse(readFileSync(schemaPath)));

const WAIT_MS = 10000;
const ADMIN = ["operator.admin"];
const lines = new Map();
const say = (what) => console.log(JSON.stringify(what));
const must = (holds, what) => holds || judge.complain(what);
const same = (found, wanted, what) =>
  must(JSON.stringify(found) === JSON.stringify(wanted), `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, what) {
  const end = Date.now() + WAIT_MS;
  while (Date.now() < end) {
    const found = condition();
    if (found) return found;
    await pause(5);
  }
  throw new Error(`${what} did not come`);
}

// Every socket of this process is listened to, whoever opened it.
const { emit, send } = WebSocket.prototype;
const lineOf = (socket) => {
  if (!lines.has(socket)) lines.set(socket, new Line(judge));
  return lines.get(socket);
};
WebSocket.prototype.emit = function (name, ...details) {
  if (name === "message") lineOf(this).heard(...details);
  return emit.call(this, name, ...details);
};
WebSocket.prototype.send = function (data, ...rest) {
  lineOf(this).sent(String(data));
  return send.call(this, data, ...rest);
};

class Peer {
  constructor(options = {}) {
    this.events = [];
    this.hellos = [];
    this.closes = [];
    this.errors = [];
    this.pauses = [];
    this.gaps = [];
    this.client = new GatewayClient({
      url,
      token,
      scopes: ADMIN,
      minProtocol: 4,
      maxProtocol: 4,
      deviceIdentity: null,
      onEvent: (event) => this.events.push(event),
      onHelloOk: (hello) => this.hellos.push(hello),
      onClose: (code, reason) => this.closes.push({ code, reason }),
      onConnectError: (error) => this.errors.push(error),
      onReconnectPaused: (info) => this.pauses.push(info),
      onGap: (gap) => this.gaps.push(gap),
      ...options,
    });
    this.client.start();
  }

  static async in(options) {
    const peer = new Peer(options);
    await until(() => peer.hellos.length || peer.pauses.length || peer.errors.length, "hello-ok");
    if (!peer.hellos.length) throw new Error(`not let in: ${peer.errors[0]?.message}`);
    return peer;
  }

  ask(method, params, options) {
    return this.client.request(method, params, { timeoutMs: WAIT_MS, ...options });
  }

  async refused(method, params, code, text) {
    try {
      await this.ask(method, params);
      judge.complain(`${method} was not refused`);
      return {};
    } catch (error) {
      const shown = String(error.message);
      const found = error.gatewayCode ?? error.code;
      must(found === code, `${method}: refused with ${found}, not ${code}: ${shown}`);
      must(text.test(shown), `${method}: refused with ${JSON.stringify(shown)}, not ${text}`);
      return error;
    }
  }

  of(name, runId) {
    return this.events.filter((one) => one.event === name && (!runId || one.payload.runId === runId));
  }

  chatEnd(runId) {
    const ends = ["final", "aborted", "error"];
    return until(() => this.of("chat", runId).find((one) => ends.includes(one.payload.state)), "the end of a chat");
  }

  async leave() {
    await this.client.stopAndWait({ timeoutMs: WAIT_MS });
    same(this.gaps, [], "gaps");
  }
}

// A socket without the client library, for what that never does.
function raw(address = url) {
  const socket = new WebSocket(address);
  const found = { socket, frames: [], close: null };
  socket.on("message", (data) => found.frames.push(JSON.parse(String(data))));
  socket.on("close", (code, reason) => {
    found.close = { code, reason: String(reason) };
  });
  socket.on("error", (error) => {
    found.error = String(error);
  });
  return found;
}

const connectFrame = (changes = {}, id = "c-1") => ({
  type: "req",
  id,
  method: "connect",
  params: {
    minProtocol: 4,
    maxProtocol: 4,
    client: { id: "test", version: "1", platform: "linux", mode: "test" },
    role: "operator",
    scopes: ADMIN,
    auth: { token },
    ...changes,
  },
});

async function rawIn(address, changes) {
  const peer = raw(address);
  await until(() => peer.frames.length, "a challenge");
  peer.socket.send(JSON.stringify(connectFrame(changes)));
  await until(() => peer.frames.find((one) => one.id === "c-1") ?? peer.close, "an answer to connect");
  return peer;
}

const answerTo = (peer, id) => until(() => peer.frames.find((one) => one.id === id), `an answer to ${id}`);

const checks = {
  async hello() {
    const peer = await Peer.in();
    const [hello] = peer.hellos;
    same(hello.protocol, 4, "protocol");
    same(hello.auth.role, "operator", "role");
    same(hello.auth.scopes, ADMIN, "scopes");
    must(hello.features.capabilities?.includes("published-model-catalog"), "no published-model-catalog");
    const wanted = (
      "health status system-presence channels.status models.list sessions.list logs.tail config.get agent agent.wait " +
      "chat.send chat.history chat.abort config.patch secrets.reload"
    ).split(" ");
    for (const one of wanted) must(hello.features.methods.includes(one), `${one} is not among the methods`);
    for (const one of ["connect.challenge", "agent", "chat", "presence", "tick", "health", "heartbeat", "shutdown"])
      must(hello.features.events.includes(one), `${one} is not among the events`);
    must(hello.snapshot.authMode && hello.snapshot.stateDir && hello.snapshot.configPath, "an admin is not told the paths");
    await peer.leave();
    const reader = await Peer.in({ scopes: ["operator.read"] });
    same(reader.hellos[0].auth.scopes, ["operator.read"], "scopes of a reader");
    must(!("configPath" in reader.hellos[0].snapshot), "a reader is told configPath");
    await reader.leave();
    const byPassword = await Peer.in({ token: undefined, password: token });
    await byPassword.leave();
  },

  async inspection() {
    const peer = await Peer.in();
    same((await peer.ask("health")).ok, true, "health");
    same((await peer.ask("health", { probe: true })).ok, true, "health with a probe");
    const status = await peer.ask("status", { includeChannelSummary: false, includeCliProjection: true });
    must(typeof status.runtimeVersion === "string", "status without runtimeVersion");
    must(Array.isArray(status.sessions?.paths) && Array.isArray(status.channelSummary), "status lacks lists");
    const presence = await peer.ask("system-presence");
    same([presence[0].mode, presence[0].reason], ["gateway", "self"], "the first in system-presence");
    const channels = await peer.ask("channels.status", { probe: true, timeoutMs: 5000 });
    for (const id of channels.channelOrder)
      must(id in channels.channelLabels && id in channels.channels, `${id} without a label or an entry`);
    await peer.refused("channels.status", { channel: "nowhere" }, "INVALID_REQUEST", /unknown channel: nowhere/);
    const { models } = await peer.ask("models.list", { view: "default", includeDetails: true });
    must(models.length >= 1, "no model is listed");
    const sessions = await peer.ask("sessions.list", { limit: 5 });
    same(sessions.count, sessions.sessions.length, "count of sessions");
    const first = await peer.ask("logs.tail", { limit: 5, maxBytes: 250000 });
    must(first.lines.length >= 1 && first.lines.length <= 5, `logs.tail gave ${first.lines.length} lines`);
    for (const line of first.lines) must(JSON.parse(line)._meta?.logLevelName, `a line without _meta: ${line}`);
    const next = await peer.ask("logs.tail", { cursor: first.cursor });
    must(next.cursor >= first.cursor && !next.reset, "the cursor went back");
    await peer.refused("logs.tail", { limit: 0 }, "INVALID_REQUEST", /invalid logs.tail params: at \/limit: must be >= 1/);
    const config = await peer.ask("config.get");
    must(config.exists && config.valid && config.hash, "config.get without a valid file");
    must(!JSON.stringify(config).includes(token), "config.get tells the secret");
    const reloaded = await peer.ask("secrets.reload");
    same(reloaded.ok, true, "secrets.reload");
    must(Number.isInteger(reloaded.warningCount), "secrets.reload without warningCount");
    if (peer.hellos[0].features.methods.includes("agents.list")) await peer.ask("agents.list");
    await peer.leave();
  },

  async refusals() {
    const peer = await Peer.in();
    await peer.refused("no.such.method", {}, "INVALID_REQUEST", /unknown method: no.such.method/);
    await peer.refused("agent", { message: "x" }, "INVALID_REQUEST", /must have required property 'idempotencyKey'/);
    await peer.refused("config.patch", { raw: "{}" }, "INVALID_REQUEST", /base hash/);
    await peer.refused("connect", connectFrame().params, "INVALID_REQUEST", /only valid as the first request/);
    await peer.leave();
    const reader = await Peer.in({ scopes: ["operator.read"] });
    const error = await reader.refused("agent", {}, "FORBIDDEN", /missing scope: operator.write/);
    same(error.details?.code, "MISSING_SCOPE", "details of a missing scope");
    await reader.refused("config.patch", {}, "FORBIDDEN", /missing scope: operator.admin/);
    await reader.refused("secrets.reload", {}, "FORBIDDEN", /missing scope: operator.admin/);
    await reader.leave();
    const nobody = await Peer.in({ scopes: [] });
    await nobody.ask("health");
    await nobody.refused("system-presence", {}, "FORBIDDEN", /missing scope: operator.read/);
    await nobody.leave();
  },

  async run() {
    const peer = await Peer.in();
    const runId = randomUUID();
    const params = { message: "hello there", idempotencyKey: runId, sessionKey: "agent:main:main" };
    let accepted;
    const final = await peer.ask("agent", params, { expectFinal: true, onAccepted: (payload) => (accepted = payload) });
    same([accepted?.status, accepted?.runId], ["accepted", runId], "the first answer");
    must(accepted?.sessionKey === "agent:main:main", "accepted without its sessionKey");
    same([final.status, final.runId, final.summary], ["ok", runId, "completed"], "the last answer");
    const text = final.result?.payloads?.[0]?.text;
    must(text?.includes("hello there"), `the text of the result is ${text}`);
    same((await peer.chatEnd(runId)).payload.message.content[0].text, text, "chat final");
    same(peer.of("agent", runId).at(-1).payload.data.phase, "end", "the last agent event");
    const waited = await peer.ask("agent.wait", { runId, timeoutMs: 1000 });
    same([waited.runId, waited.status], [runId, "ok"], "agent.wait");
    const again = await peer.ask("agent", params);
    same([again.status, again.result?.payloads?.[0]?.text], ["ok", text], "the same key again");
    same(peer.of("agent", runId).filter((one) => one.payload.data.phase === "start").length, 1, "starts of one run");
    const unknown = await peer.ask("agent.wait", { runId: randomUUID(), timeoutMs: 50 });
    same(unknown.status, "timeout", "agent.wait for a run that nobody knows");
    const half = await peer.ask("agent", { ...params, idempotencyKey: randomUUID() });
    same(half.status, "accepted", "without expectFinal");
    await peer.chatEnd(half.runId);
    const agent = { ...params, agentId: "zzz", idempotencyKey: randomUUID() };
    await peer.refused("agent", agent, "INVALID_REQUEST", /unknown agent id "zzz"/);
    await peer.leave();
  },

  async chat() {
    const peer = await Peer.in();
    const runId = randomUUID();
    const send = { sessionKey: "chat-check", message: "你好 😀", idempotencyKey: runId };
    same(await peer.ask("chat.send", send), { runId, status: "started" }, "chat.send");
    const end = await peer.chatEnd(runId);
    same(end.payload.state, "final", "the end");
    const [part] = end.payload.message.content;
    must(part.text.includes("你好 😀"), `the answer is ${part.text}`);
    same((await peer.ask("chat.send", send)).status, "ok", "the same key afterwards");
    await peer.refused(
      "chat.send",
      { sessionKey: "chat-check", message: "", idempotencyKey: randomUUID() },
      "INVALID_REQUEST",
      /message or attachment required/,
    );
    const history = await peer.ask("chat.history", { sessionKey: "chat-check", limit: 10 });
    same(history.messages.map((one) => one.role), ["user", "assistant"], "roles in chat.history");
    const texts = history.messages.map((one) =>
      typeof one.content === "string" ? one.content : one.content.map((piece) => piece.text).join(""),
    );
    same(texts, ["你好 😀", part.text], "texts in chat.history");
    same((await peer.ask("chat.history", { sessionKey: "nobody-was-here" })).messages, [], "an unknown session");
    const nothing = await peer.ask("chat.abort", { sessionKey: "chat-check" });
    same([nothing.ok, nothing.aborted, nothing.runIds], [true, false, []], "nothing to abort");
    const rows = (await peer.ask("sessions.list", { limit: 10 })).sessions;
    must(rows.some((row) => row.key === end.payload.sessionKey), "sessions.list lacks the session");
    await peer.leave();
  },

  // The model must hang on "hang" and fail on "fail".
  async ends() {
    const peer = await Peer.in();
    const ask = (message, runId) => ({ message, idempotencyKey: runId, sessionKey: "ends", timeout: 60 });
    const hanging = randomUUID();
    let accepted = 0;
    const final = peer.ask("agent", ask("hang", hanging), { expectFinal: true, onAccepted: () => (accepted += 1) });
    await until(() => accepted, "accepted");
    same((await peer.ask("agent", ask("hang", hanging))).status, "in_flight", "the key of a run that goes on");
    same((await peer.ask("agent.wait", { runId: hanging, timeoutMs: 50 })).status, "timeout", "a wait that is too short");
    const aborted = await peer.ask("chat.abort", { sessionKey: "ends" });
    same([aborted.ok, aborted.aborted, aborted.runIds], [true, true, [hanging]], "chat.abort");
    const end = await final;
    same([end.status, end.summary, end.stopReason], ["timeout", "aborted", "rpc"], "the answer of an aborted run");
    same((await peer.chatEnd(hanging)).payload.state, "aborted", "the chat of an aborted run");
    const waited = await peer.ask("agent.wait", { runId: hanging, timeoutMs: 1000 });
    same([waited.status, waited.error, waited.stopReason], ["error", "aborted", "rpc"], "agent.wait after an abort");
    const failing = randomUUID();
    try {
      await peer.ask("agent", ask("fail", failing), { expectFinal: true });
      judge.complain("a failing run did not fail");
    } catch (error) {
      must(String(error.message), "a failure without a text");
    }
    const line = [...lines.values()].find((one) => one.runs.has(failing));
    same(line.runs.get(failing).lifecycle?.phase, "error", "the lifecycle of a failed run");
    same((await peer.chatEnd(failing)).payload.state, "error", "the chat of a failed run");
    const after = await peer.ask("agent.wait", { runId: failing, timeoutMs: 1000 });
    must(after.status === "error" && after.error, `agent.wait after a failure: ${JSON.stringify(after)}`);
    await peer.leave();
  },

  // The model must call file.write, which waits for a person, and time, which does not.
  async tools() {
    const peer = await Peer.in({ caps: ["tool-events"] });
    const plain = await Peer.in();
    const approver = await Peer.in({ scopes: ["operator.approvals"] });
    const reader = await Peer.in({ scopes: ["operator.read"] });
    const { groups } = await peer.ask("tools.catalog");
    const names = groups.flatMap((group) => group.tools.map((tool) => tool.id));
    must(names.includes("time"), `the catalog has ${names}`);
    const direct = await peer.ask("tools.invoke", { name: "time", args: {} });
    must(direct.ok && direct.toolName === "time" && direct.output, `tools.invoke gave ${JSON.stringify(direct)}`);
    const none = await peer.ask("tools.invoke", { name: "no_such_tool", args: {} });
    must(!none.ok && none.error.code && none.error.message, `an unknown tool gave ${JSON.stringify(none)}`);
    await reader.refused("tools.invoke", { name: "time" }, "FORBIDDEN", /missing scope: operator.write/);
    await reader.refused("exec.approval.list", {}, "FORBIDDEN", /missing scope: operator.approvals/);

    for (const [decision, told, isError] of [["allow-once", "approved", false], ["deny", "refused", true]]) {
      const runId = randomUUID();
      const seen = approver.events.length;
      const message = `call time {}\ncall file_write {"path":"${decision}.txt","text":"hi"}`;
      const final = peer.ask("agent", { message, idempotencyKey: runId, sessionKey: "tools" }, { expectFinal: true });
      const event = await until(() => approver.events.slice(seen).find((one) => one.event === "exec.approval.requested"), "a question");
      const { id, tool, sessionKey } = event.payload;
      same([tool, sessionKey], ["file.write", "agent:main:tools"], "what is asked");
      const { approvals } = await approver.ask("exec.approval.list");
      same(approvals.map((one) => [one.id, one.tool]), [[id, "file.write"]], "what waits");
      await approver.refused("exec.approval.resolve", { id, decision: "allow-always" }, "INVALID_REQUEST", /decision/);
      same(await approver.ask("exec.approval.resolve", { id, decision }), { ok: true, id, decision }, "the decision");
      await approver.refused("exec.approval.resolve", { id, decision }, "APPROVAL_NOT_FOUND", /no call waits/);
      same((await final).status, "ok", "the answer of the run");
      const end = await until(() => approver.of("exec.approval.resolved").find((one) => one.payload.id === id), "its end");
      same(end.payload.decision, told, "the decision that is told");
      const steps = peer.of("agent", runId).filter((one) => one.payload.stream === "tool").map((one) => one.payload.data);
      same(steps.map((one) => [one.phase, one.name]), [["start", "time"], ["result", "time"], ["start", "file.write"], ["result", "file.write"]], "steps");
      same(steps.filter((one) => one.phase === "result").map((one) => one.isError), [false, isError], "errors of the steps");
      same(plain.of("agent", runId).filter((one) => one.payload.stream === "tool"), [], "steps without the capability");
      await reader.chatEnd(runId);
    }
    same(reader.events.filter((one) => one.event.startsWith("exec.")), [], "questions told to a reader");
    const { key } = await peer.ask("sessions.resolve", { key: "tools" });
    same((await peer.ask("sessions.delete", { key })).deleted, true, "sessions.delete");
    for (const one of [peer, plain, approver, reader]) await one.leave();
  },

  // The client must not be sent what its scopes do not cover, nor two clients each other's numbers.
  async events() {
    const reader = await Peer.in({ scopes: ["operator.read"] });
    const nobody = await Peer.in({ scopes: [] });
    const writer = await Peer.in({ scopes: ["operator.write"] });
    for (let turn = 0; turn < 5; turn += 1)
      await writer.ask(
        "agent",
        { message: `turn ${turn}`, idempotencyKey: `events-${turn}`, sessionKey: `events-${turn % 2}` },
        { expectFinal: true },
      );
    await reader.chatEnd("events-4");
    for (let turn = 0; turn < 5; turn += 1) same(reader.of("chat", `events-${turn}`).at(-1)?.payload.state, "final", "seen");
    same(nobody.events.filter((one) => ["agent", "chat", "presence"].includes(one.event)), [], "told to nobody");
    for (const peer of [reader, nobody, writer]) await peer.leave();
  },

  // gateway.ws.tick_interval_ms must be short.
  async ticks() {
    const peer = await Peer.in({ tickWatchMinIntervalMs: 20 });
    const interval = peer.hellos[0].policy.tickIntervalMs;
    await until(() => peer.of("tick").length >= 6, "ticks");
    must(interval <= 1000, `the interval is ${interval}`);
    same(peer.closes, [], "closed by the watchdog");
    await peer.leave();
  },

  async wrong() {
    const peer = new Peer({ token: "not-the-token" });
    const info = await until(() => peer.pauses[0], "the end of the retries");
    same([info.code, info.detailCode], [1008, "AUTH_TOKEN_MISMATCH"], "why it stopped");
    must(/^unauthorized/.test(info.reason), `the reason is ${info.reason}`);
    must(!info.reason.includes("not-the-token"), "the reason tells the token");
    same(peer.hellos, [], "hellos");
    await pause(1500);
    same(lines.size, 1, "connections");
    peer.client.stop();
    const missing = new Peer({ token: undefined });
    const reason = await until(() => missing.pauses[0], "the end of the retries without a token");
    must(/^AUTH_TOKEN_MISSING$/.test(reason.detailCode), `without a token: ${reason.detailCode}`);
    missing.client.stop();
  },

  async mismatch() {
    const peer = new Peer({ minProtocol: 5, maxProtocol: 6 });
    const info = await until(() => peer.pauses[0], "the end of the retries");
    same([info.code, info.reason, info.detailCode], [1002, "protocol mismatch", "PROTOCOL_MISMATCH"], "why it stopped");
    peer.client.stop();
    const probe = await Peer.in({ minProtocol: 3, maxProtocol: 4, mode: "probe", clientName: "openclaw-probe" });
    same(probe.hellos[0].protocol, 4, "protocol of a probe");
    await probe.leave();
  },

  async handshakes() {
    const first = async (text, close, id, message) => {
      const peer = raw();
      await until(() => peer.frames.length, "a challenge");
      peer.socket.send(text);
      await until(() => peer.close, `the close after ${text.slice(0, 60)}`);
      const what = `after ${text.slice(0, 60)}`;
      same(peer.close.code, close, `close code ${what}`);
      const answer = peer.frames.find((one) => one.type === "res");
      if (!message) same(answer, undefined, `the answer ${what}`);
      else {
        same([answer?.id, answer?.ok, answer?.error?.code], [id, false, "INVALID_REQUEST"], `the answer ${what}`);
        must(message.test(answer?.error?.message), `${what}: ${answer?.error?.message}`);
        must(peer.close.reason && answer?.error?.message.startsWith(peer.close.reason), `${what}: reason ${peer.close.reason}`);
      }
    };
    const connect = (changes) => JSON.stringify(connectFrame(changes));
    const plain = /^invalid handshake: first request must be connect$/;
    await first('{"type":"req","id":"x","method":"health"}', 1008, "x", plain);
    await first('{"type":"event","event":"tick"}', 1008);
    await first("[1]", 1008);
    await first("no JSON", 1000);
    await first(connect({ colour: "red" }), 1008, "c-1", /^invalid connect params: /);
    await first(connect({ client: { id: "nobody", version: "1", platform: "x", mode: "cli" } }), 1008, "c-1", /^invalid connect/);
    await first(connect({ role: "king" }), 1008, "c-1", /^invalid role$/);
    await first(connect({ minProtocol: 7, maxProtocol: 9 }), 1002, "c-1", /^protocol mismatch$/);
    await first("x".repeat(70000), 1009);
    const elsewhere = await rawIn(`${url}/foo/bar?x=1`);
    must(elsewhere.frames.some((one) => one.ok), "another path is not served");
    const { socket } = elsewhere;
    socket.send("no JSON");
    socket.send('{"type":"req","id":"odd"}');
    const odd = await answerTo(elsewhere, "odd");
    must(/^invalid request frame: /.test(odd.error?.message), `a frame without a method: ${odd.error?.message}`);
    socket.send('{"method":"health"}');
    await answerTo(elsewhere, "invalid");
    const id = "ключ-漢-😀";
    socket.send(JSON.stringify({ type: "req", id, method: "health" }).slice(0, 20), { fin: false });
    socket.send(JSON.stringify({ type: "req", id, method: "health" }).slice(20), { fin: true });
    lineOf(socket).asked.set(id, { method: "health" });
    same((await answerTo(elsewhere, id)).ok, true, "a fragmented request");
    socket.send(Buffer.from('{"type":"req","id":"bin","method":"health"}'), { binary: true });
    same((await answerTo(elsewhere, "bin")).ok, true, "a binary request");
    socket.close();
    await until(() => elsewhere.close, "the close");
    same(elsewhere.close.code, 1005, "the answer to an empty close");
  },

  async shutdown() {
    const peer = await Peer.in();
    say({ ready: true });
    await until(() => peer.closes.length, "the close");
    const last = peer.events.at(-1);
    same(last?.event, "shutdown", "the last event");
    must(last?.payload.reason, "shutdown without a reason");
    same(peer.closes[0], { code: 1012, reason: "service restart" }, "the close");
    say({ told: last?.payload ?? null });
    peer.client.stop();
  },


  // What the gateway takes must be the next token from "ready" on.
  async rotated() {
    const peer = await Peer.in();
    say({ ready: true });
    await until(() => peer.closes.length, "the close");
    same(peer.closes[0], { code: 4001, reason: "gateway auth changed" }, "the close");
    const info = await until(() => peer.pauses[0], "the end of the retries");
    same(info.detailCode, "AUTH_TOKEN_MISMATCH", "why it does not try again");
    same(peer.hellos.length, 1, "hellos");
    peer.client.stop();
    const next = await Peer.in({ token: nextToken });
    await next.leave();
  },

  // The model must take longer than the drain: the run ends in the gateway that comes after.
  async restart() {
    const peer = await Peer.in();
    const runId = randomUUID();
    const params = { message: "before the restart", idempotencyKey: runId, sessionKey: "restart" };
    same((await peer.ask("agent", params)).status, "accepted", "the run");
    const asked = await peer.ask("gateway.restart.request", { reason: "a check" });
    must(asked, "no answer to gateway.restart.request");
    judge.mayJoinLate = true;
    await until(() => peer.closes.length, "the close");
    const told = peer.of("shutdown").map((one) => [one.payload.reason, Number.isInteger(one.payload.restartExpectedMs)]);
    same(told, [["gateway restarting", true]], "shutdown, and when to expect the gateway again");
    must(!peer.of("chat", runId).some((one) => one.payload.state !== "delta"), "an end before the restart");
    same(peer.closes[0], { code: 1012, reason: "service restart" }, "the close");
    await until(() => peer.hellos.length > 1, "the second hello-ok");
    const [before, after] = peer.hellos.map((hello) => hello.server.connId);
    must(before !== after, "both connections have one name");
    const waited = await peer.ask("agent.wait", { runId, timeoutMs: WAIT_MS });
    same([waited.runId, waited.status], [runId, "ok"], "agent.wait after the restart");
    const again = await peer.ask("agent", params);
    same([again.status, again.result?.payloads?.length], ["ok", 1], "the same key after the restart");
    const { messages } = await peer.ask("chat.history", { sessionKey: "restart", limit: 10 });
    same(messages.map((one) => one.role), ["user", "assistant"], "roles in chat.history");
    await peer.leave();
  },

  // gateway.ws.max_buffered_bytes must be small.
  async slow() {
    const other = await Peer.in();
    const peer = await Peer.in();
    const socket = [...lines.keys()].at(-1);
    socket.pause();
    const asked = Array.from({ length: 2000 }, () => peer.ask("config.schema"));
    const outcomes = Promise.allSettled(asked);
    // More has been asked for than all buffers hold; this is for the gateway to find out.
    await pause(1000);
    same((await other.ask("health")).ok, true, "health for another client");
    socket.resume();
    await until(() => peer.closes.length, "the close");
    same(peer.closes[0], { code: 1008, reason: "slow consumer" }, "the close");
    const refused = (await outcomes).filter((one) => one.status === "rejected");
    must(refused.length && refused.length < asked.length, `${refused.length} of ${asked.length} without an answer`);
    // Some may have been too many at a time before.
    must(refused.some((one) => /slow consumer/.test(String(one.reason))), `what a request is told: ${refused[0]?.reason}`);
    await until(() => peer.hellos.length > 1, "the second hello-ok");
    same((await peer.ask("health")).ok, true, "health afterwards");
    await peer.leave();
    await other.leave();
  },
};

let failure;
try {
  await checks[check]();
} catch (error) {
  failure = String(error.stack);
  judge.complain(failure);
}
say({ done: check, frames: judge.frames, kinds: judge.kinds, complaints: judge.complaints });
process.exit(0);
