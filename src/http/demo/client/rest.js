// REST: one request, and what a refusal is.

const ANSWER_MS = 15_000;

/** A refusal by the server (RFC 9457), or `offline` when it could not be asked. */
export class Problem extends Error {
  constructor({ code = "unknown", detail, title, ...more }) {
    super(detail ?? title ?? code);
    Object.assign(this, more, { code });
  }

  static offline() {
    return new Problem({ code: "offline", detail: "The server cannot be reached." });
  }

  /** A new token is needed. */
  get signIn() {
    return this.code.startsWith("token_");
  }

  /** The same again may succeed, after `retry_after_s` where it is given. */
  get passing() {
    return ["rate_limited", "busy", "unavailable", "draining", "internal", "timeout"].includes(this.code);
  }
}

/** One request: the answer's body and the path of the next page; throws a Problem. */
export async function rest(base, method, path, { token, body, fetch = globalThis.fetch } = {}) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  let answer, json;
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    answer = await fetch(base + path, { method, headers, signal, body: body && JSON.stringify(body) });
    json = await answer.json();
  } catch {
    throw Problem.offline();
  }
  if (!answer.ok) throw new Problem({ status: answer.status, ...json });
  const next = /<([^>]*)>; rel="next"/.exec(answer.headers.get("link") ?? "")?.[1] ?? null;
  return { json, next };
}

/** Makes an account: the chatter. */
export const signUp = async (base, username, password, nickname) =>
  (await rest(base, "POST", "/api/chatters", { body: { username, password, nickname } })).json;

/** Opens a sign-in: `{token, expires_at, chatter}`. */
export const signIn = async (base, username, password) =>
  (await rest(base, "POST", "/api/auth", { body: { username, password } })).json;
