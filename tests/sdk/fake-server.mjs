// A server without a network, for tests of the client: one room of Ann and Bob, sockets in memory, REST by `fetch`.

export const ANN = 1;
export const BOB = 2;

const chatter = (id, username) => ({ id, username, nickname: username, fcm_reg_id: "" });
const NOBODY_READ = { 1: { delivered_seq: 0, read_seq: 0 }, 2: { delivered_seq: 0, read_seq: 0 } };

export const chatOf = (seq, more = {}) => ({
  id: 100 + seq,
  chatroom_id: 7,
  sender_id: ANN,
  receiver_id: BOB,
  content: `chat ${seq}`,
  create_time: "2026-11-22T00:00:00.000000Z",
  seq,
  version: seq,
  client_id: null,
  edit_time: null,
  ...more,
});

/** A token whose `exp` is so many seconds from now. */
export function jwt(seconds, name = "") {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "HS256" })}.${part({ sub: "1", exp: Math.floor(Date.now() / 1_000) + seconds, name })}.x`;
}

/** Lets promises that are ready go on. */
export async function settled() {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

/** Lets the mocked clock run, with time for promises at each step. */
export async function ticks(t, ms, step = 250) {
  for (let passed = 0; passed < ms; passed += step) {
    t.mock.timers.tick(step);
    await settled();
  }
}

/**
 * `answer(frame, socket)` may answer a frame itself (then it returns true). Without it each `send` is stored and
 * acknowledged.
 */
export class FakeServer {
  sockets = [];
  tokens = []; // of each connection
  requests = []; // "GET /api/…" of each request, with its token
  frames = []; // of all connections
  stored = []; // contents
  answer = () => false;
  accepts = () => true; // whether a token is accepted on a socket
  restStatus = () => 200; // by token
  epoch = "first";
  opponent = "bob"; // the username of the other person in the room
  room = { id: 7, version: 0, last_seq: 0, unread_count: 0, receipts: NOBODY_READ };

  get socket() {
    return this.sockets.at(-1);
  }

  /** The options of a client of this server. */
  options() {
    return { base: "http://chat.example", webSocket: this.webSocket(), fetch: this.fetch(), random: () => 0 };
  }

  webSocket() {
    const server = this;
    return class FakeSocket {
      readyState = 0;
      onopen = null;
      onmessage = null;
      onclose = null;
      onerror = null;

      constructor(url, protocols) {
        Object.assign(this, { url, protocols, token: protocols[1].replace("bearer.", "") });
        server.sockets.push(this);
        server.tokens.push(this.token);
        queueMicrotask(() => {
          this.readyState = 1;
          this.onopen?.({});
          if (server.accepts(this.token)) server.ready(this);
          else this.end(4401);
        });
      }

      send(text) {
        const frame = JSON.parse(text);
        server.frames.push(frame);
        queueMicrotask(() => server.receive(frame, this));
      }

      close() {
        this.readyState = 3;
      }

      /** A frame of the server; a text goes as it is. */
      push(frame) {
        this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
      }

      end(code) {
        this.readyState = 3;
        this.onclose?.({ code });
      }
    };
  }

  ready(socket) {
    const server_time = new Date().toISOString();
    socket.push({
      type: "ready",
      chatter: chatter(ANN, "ann"),
      socket_id: "s",
      server_time,
      heartbeat_s: 25,
      epoch: this.epoch,
      unread_total: 0,
      chatrooms: [this.room],
      has_more: false,
    });
  }

  receive(frame, socket) {
    if (this.answer(frame, socket)) return;
    const { type, ref, content, client_id } = frame;
    if (type === "send") socket.push({ type: "ack", ref, chat: this.store(content, client_id) });
    if (type === "auth") socket.push({ type: "authenticated", ref });
    if (type === "resume") socket.push({ type: "resumed", ref });
    if (type === "ping") socket.push({ type: "pong", ref });
  }

  store(content, client_id = null) {
    this.stored.push(content);
    return chatOf(this.stored.length, { content, client_id });
  }

  refuse({ ref }, socket, code, status, more = {}) {
    socket.push({ type: "error", ref, problem: { code, status, title: code, detail: `${code}!`, ...more } });
    return true;
  }

  fetch() {
    return async (url, { method, headers }) => {
      const token = headers.authorization?.replace("Bearer ", "");
      this.requests.push({ request: `${method} ${new URL(url).pathname}`, token });
      const status = this.restStatus(token);
      const people = { owner: chatter(ANN, "ann"), opponent: chatter(BOB, this.opponent) };
      const room = { ...this.room, ...people, create_time: "", last_chat_time: "", last_chat: null };
      const json = status === 200 ? [room] : { code: "token_invalid", status, detail: "no" };
      return new Response(JSON.stringify(json), { status });
    };
  }
}
