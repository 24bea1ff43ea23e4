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
    /** @param {SessionOptions} options */
    constructor(options: SessionOptions);
    /**
     * The token to use now: at first the one that is kept, then one that another tab has refreshed, or a fresh one. Null
     * where the session has ended.
     */
    getToken: () => Promise<string | null>;
    /**
     * Signs out: ends the session at the server. Resolves also where the server cannot be reached.
     * @returns {Promise<void>}
     */
    end(): Promise<void>;
    #private;
}
/**
 * What signing in and refreshing give.
 */
export type SignedIn = {
    token: string;
    refresh_token: string;
    expires_at: string;
    chatter: Chatter;
};
export type SessionOptions = {
    /**
     * Where the server is.
     */
    base: string;
    /**
     * The tokens that `save` kept last, in this tab or in another.
     */
    load: () => SignedIn | null | undefined;
    /**
     * Keeps new tokens; they count from then on.
     */
    save: (signedIn: SignedIn) => void;
    fetch?: typeof fetch | undefined;
};
import type { Chatter } from "./protocol.js";
