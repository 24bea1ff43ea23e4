// @ts-check
// A session that a password opened: its tokens are kept, and refreshed without the password.

import { Problem, request } from "./rest.js";

/**
 * @import { Chatter } from "./protocol.js"
 */

const LEFT_MS = 5_000; // a kept token that expires sooner is refreshed at once

/**
 * What signing in and refreshing give.
 * @typedef {{token: string, refresh_token: string, expires_at: string, chatter: Chatter}} SignedIn
 */

/**
 * @typedef {object} SessionOptions
 * @property {string} base Where the server is.
 * @property {() => SignedIn | null | undefined} load The tokens that `save` kept last, in this tab or in another.
 * @property {(signedIn: SignedIn) => void} save Keeps new tokens; they count from then on.
 * @property {typeof fetch} [fetch]
 */

/** Gives a client its tokens: `new ChatClient({ base, getToken: session.getToken })`. */
export class Session {
  #options;
  #given = ""; // the token that the client has

  /** @param {SessionOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /**
   * The token to use now: at first the one that is kept, then one that another tab has refreshed, or a fresh one. Null
   * where the session has ended.
   */
  getToken = async () => {
    // A refresh token is good once, so the tabs of a browser take turns.
    const lock = globalThis.navigator?.locks;
    const token = await (lock ? lock.request("hyper-chat:refresh", () => this.#next()) : this.#next());
    this.#given = token ?? "";
    return token;
  };

  /**
   * Signs out: ends the session at the server. Resolves also where the server cannot be reached.
   * @returns {Promise<void>}
   */
  async end() {
    const { base, fetch, load } = this.#options;
    const kept = load();
    await request(base, "DELETE", "/api/auth", { token: kept?.token ?? null, fetch }).catch(() => {});
  }

  /** @returns {Promise<string | null>} */
  async #next() {
    const { base, fetch, load, save } = this.#options;
    const kept = load();
    if (!kept) return null;
    const isFresh = Date.parse(kept.expires_at) - Date.now() > LEFT_MS;
    if (kept.token !== this.#given && isFresh) return kept.token;
    if (!kept.refresh_token) return null; // kept by a release without sessions
    const body = { refresh_token: kept.refresh_token };
    try {
      const fresh = (await request(base, "POST", "/api/auth/refresh", { body, fetch })).json;
      save(fresh);
      return fresh.token;
    } catch (problem) {
      if (problem instanceof Problem && problem.needsToken) return null;
      throw problem;
    }
  }
}
