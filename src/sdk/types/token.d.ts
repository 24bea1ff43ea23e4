/**
 * Gives a token that is valid now; null where the person has to sign in again. A rejection means "not now": the client
 * calls it again later.
 * @typedef {() => Promise<string | null | undefined> | string | null | undefined} GetToken
 */
export class TokenSource {
    /** @param {{token?: string | null, getToken?: GetToken}} options */
    constructor({ token, getToken }: {
        token?: string | null;
        getToken?: GetToken;
    });
    /** Whether a new token can be had without the person. */
    get renewable(): boolean;
    get current(): string | null;
    /** @param {string} token */
    set(token: string): void;
    /**
     * Remembers that the server refused a token.
     * @param {string | null} [token]
     */
    refuse(token?: string | null): void;
    /** @param {string} time The server's clock, RFC 3339. */
    setClock(time: string): void;
    /**
     * The token to use now. `getToken` is called where there is none, where it is about to expire, and where the server
     * refused it.
     * @returns {Promise<string>}
     */
    get(): Promise<string>;
    /**
     * Calls `getToken`, once for all that wait for it.
     * @returns {Promise<string>}
     * @throws {Problem} `token_missing` where the person has to sign in, `offline` where `getToken` failed.
     */
    renew(): Promise<string>;
    /**
     * Renews the token before each expiry and hands it to `use`, until `unwatch` or another `watch`.
     * @param {(token: string) => void} use
     */
    watch(use: (token: string) => void): void;
    unwatch(): void;
    #private;
}
/**
 * Gives a token that is valid now; null where the person has to sign in again. A rejection means "not now": the client
 * calls it again later.
 */
export type GetToken = () => Promise<string | null | undefined> | string | null | undefined;
