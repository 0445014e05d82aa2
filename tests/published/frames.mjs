// Judges every frame that a published client is sent: against the schema that was published with it, and by order.

const AGENT_EVENT_EXTRAS = ["sessionKey", "sessionId", "agentId"];
const TERMINAL = new Set(["final", "aborted", "error"]);
const VERSIONED = new Set(["presence", "health"]);
// Of these events no shape is published; this is what docs/rpc.md promises.
const CALL = {
  type: "object",
  required: ["id", "tool", "summary", "entry", "createdAtMs", "expiresAtMs", "request"],
  properties: {
    summary: { type: "string" },
    createdAtMs: { type: "integer", minimum: 1 },
    expiresAtMs: { type: "integer", minimum: 1 },
    request: {
      type: "object",
      required: ["command"],
      properties: { command: { type: "string", minLength: 1 } },
      additionalProperties: false,
    },
  },
  additionalProperties: false,
};
for (const name of ["id", "tool", "entry", "sessionKey"]) CALL.properties[name] = { type: "string", minLength: 1 };
const DECISION = { type: "string", enum: ["approved", "refused", "expired", "stopped"] };
const DECIDED = { ...CALL, required: [...CALL.required, "decision"], properties: { ...CALL.properties, decision: DECISION } };

export class Judge {
  constructor(Ajv, addFormats, schema) {
    this.complaints = [];
    this.frames = 0;
    this.mayJoinLate = false;
    this.kinds = {};
    // Union types and required keys that an alternative does not repeat are how the schema is generated.
    const ajv = new Ajv({ strict: true, allowUnionTypes: true, strictRequired: false });
    addFormats(ajv);
    const { definitions } = schema;
    const check = (definition) => ajv.compile(definition);
    const list = (items) => check({ type: "array", items });
    const health = check(definitions.HelloOk.properties.snapshot.properties.health);
    const sessions = check({
      type: "object",
      required: ["ts", "count", "sessions"],
      properties: {
        ts: { type: "integer" },
        count: { type: "integer" },
        sessions: { type: "array", items: definitions.SessionRow },
      },
    });
    this.shapes = { res: check(definitions.ResponseFrame), event: check(definitions.EventFrame) };
    this.results = {
      connect: check(definitions.HelloOk),
      health,
      "system-presence": list(definitions.PresenceEntry),
      "channels.status": check(definitions.ChannelsStatusResult),
      "models.list": check(definitions.ModelsListResult),
      "sessions.list": sessions,
      "logs.tail": check(definitions.LogsTailResult),
      "agents.list": check(definitions.AgentsListResult),
      "sessions.resolve": check(definitions.SessionsResolveResult),
      "sessions.delete": check(definitions.SessionsDeleteResult),
      "tools.catalog": check(definitions.ToolsCatalogResult),
      "tools.invoke": check(definitions.ToolsInvokeResult),
    };
    this.events = {
      tick: check(definitions.TickEvent),
      shutdown: check(definitions.ShutdownEvent),
      agent: check(definitions.AgentEvent),
      chat: check(definitions.ChatEvent),
      "exec.approval.requested": check(CALL),
      "exec.approval.resolved": check(DECIDED),
      health,
      presence: check({
        type: "object",
        required: ["presence"],
        properties: { presence: { type: "array", items: definitions.PresenceEntry } },
        additionalProperties: false,
      }),
    };
  }

  complain(what) {
    if (this.complaints.length < 40) this.complaints.push(what);
  }

  fits(validate, value, what) {
    if (validate(value)) return;
    const why = validate.errors.map((one) => `${one.instancePath} ${one.message} ${JSON.stringify(one.params)}`);
    this.complain(`${what}: ${why.slice(0, 4).join("; ")}: ${JSON.stringify(value).slice(0, 300)}`);
  }
}

// One connection: what was asked on it, and where its counters stand.
export class Line {
  constructor(judge) {
    this.judge = judge;
    this.asked = new Map();
    this.count = 0;
    this.seq = 0;
    this.isIn = false;
    this.runs = new Map();
    this.ended = new Map();
  }

  sent(text) {
    try {
      const frame = JSON.parse(text);
      if (frame.type === "req") this.asked.set(frame.id, frame);
    } catch {
      // Some checks send what is no JSON on purpose.
    }
  }

  heard(data, isBinary) {
    const { judge } = this;
    judge.frames += 1;
    this.count += 1;
    if (isBinary) judge.complain("a binary message");
    let frame;
    try {
      frame = JSON.parse(String(data));
    } catch (error) {
      judge.complain(`not JSON: ${error}`);
      return;
    }
    if (!(frame.type in judge.shapes)) {
      judge.complain(`a frame of type ${frame.type}`);
      return;
    }
    const name = frame.type === "res" ? (this.asked.get(frame.id)?.method ?? "?") : frame.event;
    judge.kinds[`${frame.type} ${name}`] = (judge.kinds[`${frame.type} ${name}`] ?? 0) + 1;
    judge.fits(judge.shapes[frame.type], frame, `${frame.type} ${name}`);
    if (frame.type === "res") this.response(frame, name);
    else this.event(frame);
  }

  response(frame, method) {
    const { judge } = this;
    const request = this.asked.get(frame.id);
    if (request === undefined && frame.id !== "invalid") judge.complain(`an answer to ${frame.id}, never asked`);
    if (frame.ok && "error" in frame) judge.complain(`${method}: ok with an error`);
    if (!frame.ok && !frame.error) judge.complain(`${method}: not ok without an error`);
    if (!frame.ok) return;
    if (method in judge.results) judge.fits(judge.results[method], frame.payload, `result of ${method}`);
    if (method === "connect") this.isIn = true;
    if (method === "agent") this.agentAnswer(frame.payload);
  }

  agentAnswer(payload) {
    const run = this.runs.get(payload.runId);
    if (payload.status === "accepted" && run) this.judge.complain("accepted came after an event of its run");
    if (payload.status === "ok" && run && !run.chat) this.judge.complain("the last answer came before chat final");
    if (payload.status === "ok" && run && !run.lifecycle) this.judge.complain("the last answer came before the end");
  }

  event(frame) {
    const { judge } = this;
    if (frame.event === "connect.challenge") {
      if (this.count !== 1 || "seq" in frame) judge.complain("the challenge is not the first frame, or has a seq");
      const { nonce, ts } = frame.payload;
      if (typeof nonce !== "string" || !nonce || !Number.isInteger(ts)) judge.complain("a challenge without nonce or ts");
      return;
    }
    if (this.count === 1) judge.complain(`the first frame is ${frame.event}`);
    if (!this.isIn) judge.complain(`${frame.event} came before hello-ok`);
    this.seq += 1;
    if (frame.seq !== this.seq) judge.complain(`${frame.event} has seq ${frame.seq}, not ${this.seq}`);
    this.seq = frame.seq ?? this.seq;
    if (VERSIONED.has(frame.event) !== "stateVersion" in frame) judge.complain(`${frame.event}: stateVersion`);
    let payload = frame.payload;
    if (frame.event === "agent") {
      // The one deviation: clients need to know where a run belongs, and the published server tells them.
      if (!payload.sessionKey) judge.complain("an agent event without sessionKey");
      payload = { ...payload };
      for (const name of AGENT_EVENT_EXTRAS) delete payload[name];
    }
    if (frame.event in judge.events) judge.fits(judge.events[frame.event], payload, `event ${frame.event}`);
    else judge.complain(`an event ${frame.event} that has no shape here`);
    if (frame.event === "agent") this.agentEvent(payload);
    if (frame.event === "chat") this.chatEvent(payload);
  }

  // What is known of a run; one that goes on when a client comes back is joined late.
  run(runId, begins, what) {
    const { judge } = this;
    if (!this.runs.has(runId)) {
      const isLate = !begins && judge.mayJoinLate;
      if (!begins && !isLate) judge.complain(`a run begins with ${what}`);
      this.runs.set(runId, { seq: -1, text: "", chatText: "", chatSeq: -1, tools: new Map(), isLate });
    }
    return this.runs.get(runId);
  }

  agentEvent({ runId, seq, stream, data }) {
    const { judge } = this;
    const run = this.run(runId, stream === "lifecycle" && data.phase === "start", `${stream} ${data.phase}`);
    if (seq <= run.seq) judge.complain(`run seq ${seq} after ${run.seq}`);
    run.seq = seq;
    if (run.lifecycle) judge.complain(`${stream} ${data.phase ?? ""} after the end of the run`);
    if (stream === "assistant") {
      run.text = data.replace || run.isLate ? data.text : run.text + data.delta;
      if (run.text !== data.text) judge.complain("text is not what the deltas give");
    }
    if (stream === "tool") this.toolEvent(run, data);
    if (stream === "lifecycle" && (data.phase === "end" || data.phase === "error")) run.lifecycle = data;
  }

  toolEvent(run, { phase, name, toolCallId, args, result, isError }) {
    const { judge } = this;
    const known = run.tools.get(toolCallId);
    if (!name || !toolCallId) judge.complain("a tool event without name or toolCallId");
    if (phase === "start") {
      if (known) judge.complain(`${name} was started twice`);
      if (args === undefined) judge.complain(`${name} was started without args`);
      run.tools.set(toolCallId, { name });
    } else if (phase === "result") {
      if ((known?.name !== name || known.isOver) && !run.isLate) judge.complain(`a result of ${name}, which was not started`);
      if (typeof isError !== "boolean" || result === undefined) judge.complain(`${name} ended without result or isError`);
      if (known) known.isOver = true;
    } else judge.complain(`a tool event with phase ${phase}`);
  }

  chatEvent(payload) {
    const { judge } = this;
    const run = this.run(payload.runId, false, `chat ${payload.state}`);
    if (run.chat) judge.complain(`chat ${payload.state} after chat ${run.chat.state}`);
    if (payload.seq < run.chatSeq) judge.complain("chat seq goes back");
    run.chatSeq = payload.seq;
    if (payload.state === "delta") run.chatText = (payload.replace ? "" : run.chatText) + payload.deltaText;
    if (!TERMINAL.has(payload.state)) return;
    run.chat = payload;
    if (!run.lifecycle && !run.isLate) judge.complain(`chat ${payload.state} before the end of the run`);
    if (payload.state === "final") {
      const text = (payload.message?.content ?? []).map((part) => part.text ?? "").join("");
      if (text !== run.chatText && !run.isLate) judge.complain(`final ${JSON.stringify(text)}, deltas ${JSON.stringify(run.chatText)}`);
    }
  }
}
