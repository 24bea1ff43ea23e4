// @ts-check
// REST requests, and refusals as errors.

/**
 * @import { Chatter, ProblemBody } from "./protocol.js"
 * @import { SignedIn } from "./session.js"
 */

const ANSWER_MS = 15_000;

/**
 * A refusal by the server (RFC 9457), or one of this client's own: `offline` (no connection), `timeout` (no answer),
 * `unreadable` (an answer that is not JSON), `token_missing` (no token is at hand) and `outbox_full`.
 */
export class Problem extends Error {
  /** @param {Partial<ProblemBody> | null} [body] */
  constructor(body) {
    const { code = "unknown", status, title, detail, field, chatroom_id, retry_after_s } = body ?? {};
    super(detail ?? title ?? code);
    /** The reason, stable across releases. @type {string} */
    this.code = String(code);
    /** The HTTP status of the refusal. @type {number | undefined} */
    this.status = status;
    /** The field that breaks a rule. @type {string | undefined} */
    this.field = field;
    /** The room that exists already, with `chatroom_exists`. @type {number | undefined} */
    this.chatroom_id = chatroom_id;
    /** Seconds to wait before the next try. @type {number | undefined} */
    this.retry_after_s = retry_after_s;
  }

  /** The connection is down, or broke before the answer. */
  static offline() {
    return new Problem({ code: "offline", detail: "There is no connection." });
  }

  /** Whether a new token is needed. */
  get needsToken() {
    return this.code.startsWith("token_");
  }

  /** Whether the same request may succeed later: every refusal except the 4xx ones without 408 and 429. */
  get retryable() {
    const { status = 0 } = this;
    return status < 400 || status >= 500 || status === 408 || status === 429;
  }
}

/**
 * Sends one request. The result is the body of the answer and the path of the next page.
 * @param {string} base
 * @param {string} method
 * @param {string} path
 * @param {{token?: string | null, body?: unknown, fetch?: typeof fetch}} [options]
 * @returns {Promise<{json: any, next: string | null}>}
 * @throws {Problem}
 */
export async function request(base, method, path, { token, body, fetch = globalThis.fetch } = {}) {
  /** @type {Record<string, string>} */
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  let answer;
  let text;
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    answer = await fetch(base + path, { method, headers, signal, body: body ? JSON.stringify(body) : null });
    text = await answer.text();
  } catch {
    throw Problem.offline();
  }
  const json = parseJson(text);
  if (!answer.ok) throw new Problem({ code: "unreadable", ...json, status: answer.status });
  if (json === undefined) {
    throw new Problem({ code: "unreadable", status: 502, detail: "The answer is not JSON." });
  }
  // Where the server is shown below a path, the link has that path, and `base` has it too.
  const next = /<[^>?]*(\/api\/[^>]*)>; rel="next"/.exec(answer.headers.get("link") ?? "")?.[1] ?? null;
  return { json, next };
}

/**
 * The value of a JSON text; `undefined` where the text is not JSON.
 * @param {any} text
 * @returns {any}
 */
export function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Creates an account.
 * @param {string} base
 * @param {string} username
 * @param {string} password
 * @param {string} nickname
 * @returns {Promise<Chatter>}
 */
export const signUp = async (base, username, password, nickname) =>
  (await request(base, "POST", "/api/chatters", { body: { username, password, nickname } })).json;

/**
 * Signs in with a password. `deviceName` is what the list of sessions calls this device.
 * @param {string} base
 * @param {string} username
 * @param {string} password
 * @param {string} [deviceName]
 * @returns {Promise<SignedIn>}
 */
export const signIn = async (base, username, password, deviceName) =>
  (await request(base, "POST", "/api/auth", { body: { username, password, device_name: deviceName } })).json;
