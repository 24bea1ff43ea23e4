export type ClientOptions = {
    /**
     * Where the server is, like `https://chat.example`.
     */
    base: string;
    /**
     * Called where there is no token, before it expires, and where the server refuses it.
     */
    getToken?: GetToken | undefined;
    /**
     * The token to begin with. Without `getToken` the client needs it, and `setToken` later.
     */
    token?: string | undefined;
    /**
     * One's own account. With it, the kept rooms are there before the first connection.
     */
    me?: Chatter | undefined;
    /**
     * Keeps the outbox and the rooms between two starts, for each account apart.
     */
    storage?: StorageLike | undefined;
    /**
     * A WebSocket, where the runtime has none (Node before 22).
     */
    webSocket?: SocketConstructor | undefined;
    fetch?: typeof fetch | undefined;
    /**
     * How many chats the outbox holds; 1,000 by default.
     */
    outboxMax?: number | undefined;
    /**
     * When a chat is given up that the server may take later.
     */
    giveUp?: Partial<GiveUp> | undefined;
    /**
     * Draws the jitter, in place of `Math.random`.
     */
    random?: (() => number) | undefined;
};
import type { GetToken } from "./token.js";
import type { Chatter } from "./protocol.js";
import type { StorageLike } from "./storage.js";
import type { SocketConstructor } from "./connection.js";
import type { GiveUp } from "./sender.js";
