/**
 * Sends one request. The result is the body of the answer and the path of the next page.
 * @param {string} base
 * @param {string} method
 * @param {string} path
 * @param {{token?: string | null, body?: unknown, fetch?: typeof fetch}} [options]
 * @returns {Promise<{json: any, next: string | null}>}
 * @throws {Problem}
 */
export function request(base: string, method: string, path: string, { token, body, fetch }?: {
    token?: string | null;
    body?: unknown;
    fetch?: typeof globalThis.fetch;
}): Promise<{
    json: any;
    next: string | null;
}>;
/**
 * The value of a JSON text; `undefined` where the text is not JSON.
 * @param {any} text
 * @returns {any}
 */
export function parseJson(text: any): any;
/**
 * A refusal by the server (RFC 9457), or one of this client's own: `offline` (no connection), `timeout` (no answer),
 * `unreadable` (an answer that is not JSON), `token_missing` (no token is at hand) and `outbox_full`.
 */
export class Problem extends Error {
    /** The connection is down, or broke before the answer. */
    static offline(): Problem;
    /** @param {Partial<ProblemBody> | null} [body] */
    constructor(body?: Partial<ProblemBody> | null);
    /** The reason, stable across releases. @type {string} */
    code: string;
    /** The HTTP status of the refusal. @type {number | undefined} */
    status: number | undefined;
    /** The field that breaks a rule. @type {string | undefined} */
    field: string | undefined;
    /** The room that exists already, with `chatroom_exists`. @type {number | undefined} */
    chatroom_id: number | undefined;
    /** Seconds to wait before the next try. @type {number | undefined} */
    retry_after_s: number | undefined;
    /** Whether a new token is needed. */
    get needsToken(): boolean;
    /** Whether the same request may succeed later: every refusal except the 4xx ones without 408 and 429. */
    get retryable(): boolean;
}
export function signUp(base: string, username: string, password: string, nickname: string): Promise<Chatter>;
export function signIn(base: string, username: string, password: string, deviceName?: string): Promise<SignedIn>;
import type { ProblemBody } from "./protocol.js";
import type { Chatter } from "./protocol.js";
import type { SignedIn } from "./session.js";
