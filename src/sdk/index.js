// @ts-check
// What a program imports.

export { ChatClient } from "./client.js";
export { Problem, signIn, signUp } from "./rest.js";
export { ChatRoom } from "./room.js";
export { Session } from "./session.js";
export { MemoryStorage } from "./storage.js";

/**
 * @typedef {import("./options.js").ClientOptions} ClientOptions
 * @typedef {import("./connection.js").ConnectionState} ConnectionState
 * @typedef {import("./connection.js").SocketConstructor} SocketConstructor
 * @typedef {import("./events.js").ClientEvents} ClientEvents
 * @typedef {import("./outbox.js").OutboxEntry} OutboxEntry
 * @typedef {import("./protocol.js").Chat} Chat
 * @typedef {import("./protocol.js").Chatter} Chatter
 * @typedef {import("./sender.js").GiveUp} GiveUp
 * @typedef {import("./session.js").SessionOptions} SessionOptions
 * @typedef {import("./session.js").SignedIn} SignedIn
 * @typedef {import("./storage.js").StorageLike} StorageLike
 * @typedef {import("./token.js").GetToken} GetToken
 */
