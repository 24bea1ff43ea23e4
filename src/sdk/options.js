// @ts-check
// The options of the client, as types. Nothing here runs.

/**
 * @import { SocketConstructor } from "./connection.js"
 * @import { Chatter } from "./protocol.js"
 * @import { GiveUp } from "./sender.js"
 * @import { StorageLike } from "./storage.js"
 * @import { GetToken } from "./token.js"
 */

/**
 * @typedef {object} ClientOptions
 * @property {string} base Where the server is, like `https://chat.example`.
 * @property {GetToken} [getToken] Called where there is no token, before it expires, and where the server refuses it.
 * @property {string} [token] The token to begin with. Without `getToken` the client needs it, and `setToken` later.
 * @property {Chatter} [me] One's own account. With it, the kept rooms are there before the first connection.
 * @property {StorageLike} [storage] Keeps the outbox and the rooms between two starts, for each account apart.
 * @property {SocketConstructor} [webSocket] A WebSocket, where the runtime has none (Node before 22).
 * @property {typeof fetch} [fetch]
 * @property {number} [outboxMax] How many chats the outbox holds; 1,000 by default.
 * @property {Partial<GiveUp>} [giveUp] When a chat is given up that the server may take later.
 * @property {() => number} [random] Draws the jitter, in place of `Math.random`.
 */

export {};
