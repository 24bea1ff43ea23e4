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
export function afterClose(code: number, attempt: number, random?: () => number): {
    retry: boolean;
    token: boolean;
    wait: number;
};
export class Connection {
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
    constructor(options: {
        url: string;
        tokens: TokenSource;
        webSocket: SocketConstructor;
        random?: (() => number) | undefined;
        onFrame: (frame: ServerFrame) => void;
        onState: (state: ConnectionState, unanswered: boolean) => void;
        onError?: ((error: unknown) => void) | undefined;
    });
    /** @type {ConnectionState} */
    state: ConnectionState;
    /** When the next attempt is made, in ms since 1970, while the state is "offline". */
    retryAt: number;
    /** The code of the last close. */
    closeCode: number;
    /** Connects now, also where a connection exists or is being made. */
    connect(): Promise<void>;
    /**
     * Ends the connection; `connect` starts anew.
     * @param {ConnectionState} [state]
     */
    stop(state?: ConnectionState): void;
    /** Reconnects or probes now: the network or the device came back, or seems to be gone. */
    wake(): void;
    /** Whether a frame can be sent now. */
    get isOpen(): boolean;
    /**
     * Sends a frame that has no reply; false where there is no connection.
     * @param {object} frame
     */
    post(frame: object): boolean;
    /**
     * Sends a frame under a `ref` and waits for its reply.
     * @param {object} frame
     * @param {number} [within] How long the reply may take, in ms.
     * @returns {Promise<any>}
     * @throws {Problem} The refusal; `offline` or `timeout` where no reply came.
     */
    ask(frame: object, within?: number): Promise<any>;
    #private;
}
/**
 * "offline" (reconnects at `retryAt`), "connecting", "online", "signed-out" (needs a token) or "stopped" (see
 * `closeCode`).
 */
export type ConnectionState = "offline" | "connecting" | "online" | "signed-out" | "stopped";
/**
 * The part of a WebSocket that the client uses.
 */
export type SocketLike = {
    readyState: number;
    send: (data: string) => void;
    close: () => void;
    onopen: any;
    onmessage: any;
    onclose: any;
    onerror: any;
};
/**
 * The part of a WebSocket that the client uses.
 */
export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;
import type { TokenSource } from "./token.js";
import type { ServerFrame } from "./protocol.js";
