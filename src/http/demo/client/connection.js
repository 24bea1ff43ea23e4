// The socket: dialling, coming back, noticing that it is dead, and matching replies to what was asked.

import { Problem } from "./rest.js";
import { Timers } from "./timers.js";

const CONNECT_MS = 10_000; // from dialling to `ready`
const HEARTBEAT_MS = 25_000; // until `ready` says otherwise
const PONG_MS = 8_000; // how long any sign of life may take once we ask
const STEADY_MS = 10_000; // a connection that held this long was a good one

/**
 * What to do after a close: `{ retry, token, wait }`. `token`: a new one is needed first. `wait`: ms, drawn from the
 * whole range up to a bound that doubles ("full jitter"), so that a thousand clients do not return at once.
 */
export function afterClose(code, attempt, random = Math.random) {
  if (code === 4401) return { retry: false, token: true, wait: 0 };
  if ([4400, 4403, 4404, 4409, 1002, 1003, 1007].includes(code)) return { retry: false, token: false, wait: 0 };
  const least = code === 4429 ? 5_000 : 0;
  const bound = Math.min(30_000, 1_000 * 2 ** Math.min(attempt, 10));
  return { retry: true, token: false, wait: Math.round(least + random() * bound) };
}

export class Connection {
  /** "offline" (comes back at `retryAt`), "connecting", "online", "signed-out" or "stopped" (see `code`). */
  state = "stopped";
  retryAt = 0;
  code = 0;

  #options;
  #socket = null;
  #timers = new Timers();
  #attempt = 0;
  #heartbeat = HEARTBEAT_MS;
  #ref = 0;
  #asked = new Map(); // ref -> {resolve, reject}

  /**
   * `token()` gives the token to use. `onFrame` hears every frame that is no reply. `onState` hears of a new state, and
   * whether the server had answered at all when it is "offline".
   */
  constructor({ url, token, WebSocket, random, onFrame, onState }) {
    this.#options = { url, token, WebSocket, random, onFrame, onState };
  }

  connect() {
    this.#drop();
    this.#timers.cancel("retry");
    const { url, token, WebSocket } = this.#options;
    // Browsers cannot set headers here, so the token travels as a second subprotocol; the server never echoes it.
    const socket = new WebSocket(url, ["hyper-chat.v1", `bearer.${token()}`]);
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => (opened = true);
    socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    socket.onclose = ({ code }) => this.#closed(code, opened);
    this.#timers.set("connect", CONNECT_MS, () => this.#closed(1006, opened));
    this.#set("connecting");
  }

  /** Ends it; `connect` begins anew. */
  stop(state = "stopped") {
    this.#drop();
    this.#timers.cancelAll();
    this.#attempt = 0;
    this.#set(state);
  }

  /** The network or the device came back, or seems to be gone: look now instead of later. */
  wake() {
    if (this.state === "offline") this.connect();
    else if (this.state === "online") this.#probe(PONG_MS / 2);
  }

  /** Sends a frame that has no reply; false where there is no connection. */
  post(frame) {
    const open = this.state === "online" && this.#socket.readyState === 1;
    if (open) this.#socket.send(JSON.stringify(frame));
    return open;
  }

  /** Sends a frame under a `ref`: the reply, or a thrown Problem (`offline` when it breaks before the reply). */
  ask(frame) {
    this.#ref += 1;
    const ref = this.#ref;
    if (!this.post({ ...frame, ref })) return Promise.reject(Problem.offline());
    return new Promise((resolve, reject) => this.#asked.set(ref, { resolve, reject }));
  }

  #heard(frame) {
    // Any frame shows that the line is alive; after a silence we ask, since browsers do not show the server's pings.
    this.#timers.cancel("pong");
    this.#timers.set("silence", this.#heartbeat, () => this.#probe(PONG_MS));
    const asked = this.#asked.get(frame.ref);
    if (asked) {
      this.#asked.delete(frame.ref);
      if (frame.type === "error") asked.reject(new Problem(frame.problem));
      else asked.resolve(frame);
      return;
    }
    if (frame.type === "ready") {
      this.#heartbeat = frame.heartbeat_s * 1_000;
      this.#timers.cancel("connect");
      this.#timers.set("steady", STEADY_MS, () => (this.#attempt = 0));
      this.#set("online");
    }
    this.#options.onFrame(frame);
  }

  #probe(within) {
    if (this.#timers.has("pong") || !this.post({ type: "ping" })) return;
    this.#timers.set("pong", within, () => this.#closed(1006, true));
  }

  #closed(code, opened) {
    // What was under way when a frame was refused as too big would be refused again.
    const tooBig = new Problem({ code: "too_large", detail: "It is too long to be sent." });
    this.#drop(code === 1009 ? tooBig : Problem.offline());
    const { retry, token, wait } = afterClose(code, this.#attempt, this.#options.random);
    this.#attempt += 1;
    this.code = code;
    if (!retry) return this.#set(token ? "signed-out" : "stopped");
    this.retryAt = Date.now() + wait;
    this.#timers.set("retry", wait, () => this.connect());
    this.#set("offline", opened);
  }

  /** Lets go of the socket, whatever state it is in; nothing of it is heard afterwards. */
  #drop(reason = Problem.offline()) {
    const socket = this.#socket;
    this.#socket = null;
    for (const name of ["connect", "silence", "pong", "steady"]) this.#timers.cancel(name);
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { reject } of asked) reject(reason);
  }

  #set(state, opened) {
    this.state = state;
    this.#options.onState(state, opened);
  }
}
