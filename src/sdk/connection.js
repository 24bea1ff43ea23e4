// @ts-check
// The socket: connecting, reconnecting, noticing a dead line, and matching replies to the frames that asked for them.

import { parseJson, Problem } from "./rest.js";
import { Timers } from "./timers.js";

/**
 * @import { ServerFrame } from "./protocol.js"
 * @import { TokenSource } from "./token.js"
 */

const CONNECT_MS = 10_000; // from connecting to `ready`
const HEARTBEAT_MS = 25_000; // until `ready` says otherwise
const PONG_MS = 8_000; // for any frame after a `ping`
const STEADY_MS = 10_000; // a connection that held this long resets the backoff
const REPLY_MS = 30_000; // for the reply to a frame
const REPLIES_MAX = 1_000; // frames whose replies are awaited at once
const REFUSED_TOKENS_MAX = 3; // refused in a row, before the person has to sign in

/**
 * "offline" (reconnects at `retryAt`), "connecting", "online", "signed-out" (needs a token) or "stopped" (see
 * `closeCode`).
 * @typedef {"offline" | "connecting" | "online" | "signed-out" | "stopped"} ConnectionState
 */

/**
 * The part of a WebSocket that the client uses.
 * @typedef {object} SocketLike
 * @property {number} readyState
 * @property {(data: string) => void} send
 * @property {() => void} close
 * @property {any} onopen
 * @property {any} onmessage
 * @property {any} onclose
 * @property {any} onerror
 * @typedef {new (url: string, protocols: string[]) => SocketLike} SocketConstructor
 */

/**
 * What to do after a close. `token`: a new token is needed first. `wait`: ms, drawn from the whole range up to a bound
 * that doubles ("full jitter"), so that a thousand clients do not reconnect at once.
 * @param {number} code
 * @param {number} attempt
 * @param {() => number} [random]
 */
export function afterClose(code, attempt, random = Math.random) {
  if (code === 4401) return { retry: false, token: true, wait: 0 };
  if ([4400, 4403, 4404, 4409, 1002, 1003, 1007].includes(code)) return { retry: false, token: false, wait: 0 };
  const least = code === 4429 ? 5_000 : 0;
  const bound = Math.min(30_000, 1_000 * 2 ** Math.min(attempt, 10));
  return { retry: true, token: false, wait: Math.round(least + random() * bound) };
}

export class Connection {
  /** @type {ConnectionState} */
  state = "stopped";
  /** When the next attempt is made, in ms since 1970, while the state is "offline". */
  retryAt = 0;
  /** The code of the last close. */
  closeCode = 0;

  #options;
  /** @type {SocketLike | null} */
  #socket = null;
  #dials = 0; // a token that arrives for an earlier attempt is not used
  #timers = new Timers();
  #attempt = 0;
  #refusedTokens = 0;
  #heartbeat = HEARTBEAT_MS;
  #ref = 0;
  /** @type {Map<unknown, {length: number, resolve: (frame: any) => void, reject: (problem: Problem) => void}>} */
  #replies = new Map();

  /**
   * `onFrame` gets every frame that is no reply. `onState` gets each new state; `unanswered` says that the server may
   * have refused the upgrade with HTTP. `onError` gets what a garbled frame threw.
   * @param {object} options
   * @param {string} options.url
   * @param {TokenSource} options.tokens
   * @param {SocketConstructor} options.webSocket
   * @param {() => number} [options.random]
   * @param {(frame: ServerFrame) => void} options.onFrame
   * @param {(state: ConnectionState, unanswered: boolean) => void} options.onState
   * @param {(error: unknown) => void} [options.onError]
   */
  constructor(options) {
    this.#options = options;
  }

  /** Connects now, also where a connection exists or is being made. */
  async connect() {
    this.#drop();
    this.#timers.cancel("retry");
    this.#set("connecting");
    const dial = this.#dials;
    const { tokens } = this.#options;
    const token = await tokens.get().catch((problem) => problem);
    if (dial !== this.#dials) return;
    if (typeof token === "string") this.#dial(token);
    else if (token.needsToken) this.stop("signed-out");
    else this.#closed(1006, false);
  }

  /**
   * Ends the connection; `connect` starts anew.
   * @param {ConnectionState} [state]
   */
  stop(state = "stopped") {
    this.#drop();
    this.#timers.cancelAll();
    this.#attempt = 0;
    this.#refusedTokens = 0;
    this.#set(state);
  }

  /** Reconnects or probes now: the network or the device came back, or seems to be gone. */
  wake() {
    if (this.state === "offline") this.connect();
    else if (this.state === "online") this.#probe(PONG_MS / 2);
  }

  /** Whether a frame can be sent now. */
  get isOpen() {
    return this.state === "online" && this.#socket?.readyState === 1;
  }

  /**
   * Sends a frame that has no reply; false where there is no connection.
   * @param {object} frame
   */
  post(frame) {
    const open = this.isOpen;
    if (open) this.#socket?.send(JSON.stringify(frame));
    return open;
  }

  /**
   * Sends a frame under a `ref` and waits for its reply.
   * @param {object} frame
   * @param {number} [within] How long the reply may take, in ms.
   * @returns {Promise<any>}
   * @throws {Problem} The refusal; `offline` or `timeout` where no reply came.
   */
  ask(frame, within = REPLY_MS) {
    this.#ref += 1;
    const ref = this.#ref;
    const busy = new Problem({ code: "busy", status: 503, detail: "Too many requests wait." });
    if (this.#replies.size >= REPLIES_MAX) return Promise.reject(busy);
    if (!this.post({ ...frame, ref })) return Promise.reject(Problem.offline());
    return new Promise((resolve, reject) => {
      this.#replies.set(ref, { length: JSON.stringify(frame).length, resolve, reject });
      this.#timers.set(`reply ${ref}`, within, () => {
        this.#replies.delete(ref);
        reject(new Problem({ code: "timeout", status: 408, detail: "No answer came in time." }));
      });
    });
  }

  /** @param {string} token */
  #dial(token) {
    const socket = this.#open(token);
    if (!socket) return this.#closed(1006, false);
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => (opened = true);
    socket.onmessage = (/** @type {{data: unknown}} */ { data }) => this.#received(data);
    socket.onclose = (/** @type {{code: number}} */ { code }) => this.#closed(code, !opened);
    this.#timers.set("connect", CONNECT_MS, () => this.#closed(1006, !opened));
  }

  /** @param {string} token */
  #open(token) {
    const { webSocket: WebSocket, url } = this.#options;
    try {
      // Browsers cannot set headers here, so the token travels as a second subprotocol; the server never echoes it.
      const socket = new WebSocket(url, ["hyper-chat.v1", `bearer.${token}`]);
      // Some implementations throw where an error has no listener. A close follows every error.
      socket.onerror = () => {};
      return socket;
    } catch (error) {
      this.#options.onError?.(error);
      return null;
    }
  }

  /** @param {unknown} data */
  #received(data) {
    // Any frame shows that the line is alive. After a silence we ask, since browsers do not show the server's pings.
    this.#timers.cancel("pong");
    this.#timers.set("silence", this.#heartbeat, () => this.#probe(PONG_MS));
    const frame = parseJson(data);
    try {
      if (typeof frame?.type !== "string")
        throw new TypeError("A frame has no type.");
      if (!this.#settleReply(frame)) this.#handle(frame);
    } catch (error) {
      this.#options.onError?.(error);
    }
  }

  /** @param {any} frame */
  #settleReply(frame) {
    const reply = this.#replies.get(frame.ref);
    if (!reply) return false;
    this.#replies.delete(frame.ref);
    this.#timers.cancel(`reply ${frame.ref}`);
    if (frame.type === "error") reply.reject(new Problem(frame.problem));
    else reply.resolve(frame);
    return true;
  }

  /** @param {ServerFrame} frame */
  #handle(frame) {
    if (frame.type === "ready") {
      this.#heartbeat = frame.heartbeat_s * 1_000 || HEARTBEAT_MS;
      this.#options.tokens.setClock(frame.server_time);
      this.#timers.cancel("connect");
      this.#timers.set("steady", STEADY_MS, () => (this.#attempt = this.#refusedTokens = 0));
      this.#set("online");
    }
    this.#options.onFrame(frame);
  }

  /** @param {number} within */
  #probe(within) {
    if (this.#timers.has("pong") || !this.post({ type: "ping" })) return;
    this.#timers.set("pong", within, () => this.#closed(1006, false));
  }

  /**
   * @param {number} code
   * @param {boolean} unanswered
   */
  #closed(code, unanswered) {
    this.#drop(code);
    const { random, tokens } = this.#options;
    let { retry, token, wait } = afterClose(code, this.#attempt, random);
    if (token && tokens.renewable && this.#refusedTokens < REFUSED_TOKENS_MAX) {
      // The first renewal is immediate; where the new token is refused as well, the next ones back off.
      wait = this.#refusedTokens === 0 ? 0 : afterClose(1006, this.#attempt, random).wait;
      this.#refusedTokens += 1;
      retry = true;
    }
    this.#attempt += 1;
    this.closeCode = code;
    if (token) tokens.refuse();
    if (!retry) return this.stop(token ? "signed-out" : "stopped");
    this.retryAt = Date.now() + wait;
    this.#timers.set("retry", wait, () => this.connect());
    this.#set("offline", unanswered);
  }

  /**
   * Lets go of the socket in whatever state it is; its events are ignored afterwards.
   * @param {number} [code] The code that it was closed with.
   */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#dials += 1;
    for (const name of ["connect", "silence", "pong", "steady"]) this.#timers.cancel(name);
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const replies = [...this.#replies];
    this.#replies.clear();
    // After 1009 the longest frame in flight would be refused again.
    const tooLong = code === 1009 ? Math.max(...replies.map(([, { length }]) => length)) : Infinity;
    for (const [ref, { length, reject }] of replies) {
      this.#timers.cancel(`reply ${ref}`);
      const tooLarge = { code: "too_large", status: 413, detail: "It is too long to be sent." };
      reject(length < tooLong ? Problem.offline() : new Problem(tooLarge));
    }
  }

  /**
   * @param {ConnectionState} state
   * @param {boolean} [unanswered]
   */
  #set(state, unanswered = false) {
    this.state = state;
    this.#options.onState(state, unanswered);
  }
}
