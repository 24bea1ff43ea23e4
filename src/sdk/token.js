// @ts-check
// The token that the client signs in with, and when it is replaced.

import { parseJson, Problem } from "./rest.js";
import { Timers } from "./timers.js";

const ASK_MS = 30_000; // how long `getToken` may take
const EARLY_MS = 60_000; // a token is replaced this long before it expires
const LEAST_MS = 5_000; // between two calls of `getToken` for one connection

/**
 * Gives a token that is valid now; null where the person has to sign in again. A rejection means "not now": the client
 * calls it again later.
 * @typedef {() => Promise<string | null | undefined> | string | null | undefined} GetToken
 */

export class TokenSource {
  /** @type {string | null} */
  #token;
  /** @type {string | null} The token that the server refused last. */
  #refused = null;
  #getToken;
  #timer = new Timers();
  /** @type {((token: string) => void) | null} */
  #use = null;
  /** @type {Promise<string> | null} */
  #renewal = null;
  #clockOffset = 0; // the server's clock minus ours, in ms

  /** @param {{token?: string | null, getToken?: GetToken}} options */
  constructor({ token = null, getToken }) {
    this.#token = token;
    this.#getToken = getToken;
  }

  /** Whether a new token can be had without the person. */
  get renewable() {
    return this.#getToken !== undefined;
  }

  get current() {
    return this.#token;
  }

  /** @param {string} token */
  set(token) {
    this.#token = token;
  }

  /**
   * Remembers that the server refused a token.
   * @param {string | null} [token]
   */
  refuse(token = this.#token) {
    this.#refused = token;
  }

  /** @param {string} time The server's clock, RFC 3339. */
  setClock(time) {
    this.#clockOffset = Date.parse(time) - Date.now() || 0;
  }

  /**
   * The token to use now. `getToken` is called where there is none, where it is about to expire, and where the server
   * refused it.
   * @returns {Promise<string>}
   */
  async get() {
    const stale = this.#token === this.#refused || this.#remainingMs() < LEAST_MS;
    return this.#token && !(this.renewable && stale) ? this.#token : this.renew();
  }

  /**
   * Calls `getToken`, once for all that wait for it.
   * @returns {Promise<string>}
   * @throws {Problem} `token_missing` where the person has to sign in, `offline` where `getToken` failed.
   */
  renew() {
    this.#renewal ??= this.#ask().finally(() => (this.#renewal = null));
    return this.#renewal;
  }

  /**
   * Renews the token before each expiry and hands it to `use`, until `unwatch` or another `watch`.
   * @param {(token: string) => void} use
   */
  watch(use) {
    this.#use = use;
    const left = this.#remainingMs();
    if (!this.renewable || left === Infinity) return;
    const delay = Math.max(LEAST_MS, left > 2 * EARLY_MS ? left - EARLY_MS : left / 2);
    this.#timer.set("renew", delay, () => this.#renewFor(use));
  }

  unwatch() {
    this.#use = null;
    this.#timer.cancelAll();
  }

  /** @param {(token: string) => void} use */
  async #renewFor(use) {
    // A timer that cannot run for the whole delay fires early.
    const due = this.#remainingMs() <= EARLY_MS + LEAST_MS;
    // Where this fails, the old token is used until the server refuses it.
    const token = due ? await this.renew().catch(() => null) : null;
    if (this.#use !== use) return;
    if (token) use(token);
    this.watch(use);
  }

  /** Ms until the token expires; Infinity where it does not say so. */
  #remainingMs() {
    const expires = claims(this.#token)?.exp;
    return typeof expires === "number" ? expires * 1_000 - Date.now() - this.#clockOffset : Infinity;
  }

  async #ask() {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const timeout = new Promise((_, reject) => (timer = setTimeout(reject, ASK_MS)));
    let token;
    try {
      token = await Promise.race([this.#getToken?.(), timeout]);
    } catch {
      throw Problem.offline();
    } finally {
      clearTimeout(timer);
    }
    this.#token = typeof token === "string" && token !== "" ? token : null;
    if (this.#token === null) {
      throw new Problem({ code: "token_missing", status: 401, detail: "Sign in to get a token." });
    }
    return this.#token;
  }
}

/**
 * The claims of a JWT, unverified; undefined for a token of another form.
 * @param {string | null} token
 * @returns {{exp?: unknown} | null | undefined}
 */
function claims(token) {
  const payload = token?.split(".")[1]?.replaceAll("-", "+").replaceAll("_", "/");
  try {
    return payload ? parseJson(atob(payload)) : undefined;
  } catch {
    return undefined;
  }
}
