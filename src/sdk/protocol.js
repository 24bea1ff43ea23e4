// @ts-check
// The bodies and frames of the server, as types. Nothing here runs.

/**
 * An account, as one viewer sees it.
 * @typedef {object} Chatter
 * @property {number} id
 * @property {string} username
 * @property {string} nickname
 * @property {string} fcm_reg_id Empty for every viewer but the account itself.
 * @property {boolean} [online] Present for people who share a room, unless they hide it.
 * @property {string | null} [last_seen] Present together with `online`.
 * @property {boolean} [show_last_seen] Present for the account itself.
 * @property {boolean} [show_receipts] Present for the account itself.
 */

/**
 * One message in a room.
 * @typedef {object} Chat
 * @property {number} id
 * @property {number} chatroom_id
 * @property {number} sender_id
 * @property {number} receiver_id
 * @property {string} content
 * @property {string} create_time RFC 3339, UTC.
 * @property {number} seq The chat's place in its room: 1, 2, 3 …
 * @property {number} version The number of the chat's last change in its room.
 * @property {string | null} client_id
 * @property {string | null} edit_time
 * @property {boolean} [deleted] Present, and true, where the chat was deleted.
 */

/**
 * A deleted chat.
 * @typedef {object} Tombstone
 * @property {number} id
 * @property {number} seq
 * @property {number} version
 * @property {true} deleted
 */

/** @typedef {Chat | Tombstone} Change A chat that is new or edited, or a deleted one. */

/**
 * How far a chatter has received and read a room.
 * @typedef {object} Watermarks
 * @property {number} delivered_seq
 * @property {number} read_seq
 */

/**
 * A room in `ready` and `chatrooms`.
 * @typedef {object} RoomSummary
 * @property {number} id
 * @property {number} version
 * @property {number} last_seq
 * @property {number} unread_count
 * @property {Record<string, Watermarks>} receipts By the chatter's id.
 */

/**
 * A room as REST answers it.
 * @typedef {object} ChatroomOnly
 * @property {string} create_time
 * @property {string} last_chat_time
 * @property {Chatter} owner
 * @property {Chatter} opponent
 * @property {Chat | null} last_chat
 * @typedef {RoomSummary & ChatroomOnly} Chatroom
 */

/**
 * A refusal (RFC 9457).
 * @typedef {object} ProblemBody
 * @property {string} code
 * @property {number} [status]
 * @property {string} [title]
 * @property {string} [detail]
 * @property {string} [field]
 * @property {number} [chatroom_id]
 * @property {number} [retry_after_s]
 */

/**
 * @typedef {{type: "ready", chatter: Chatter, server_time: string, heartbeat_s: number, epoch?: string,
 *   chatrooms: RoomSummary[], has_more: boolean}} ReadyFrame
 * @typedef {{type: "chatrooms", chatrooms: RoomSummary[], has_more: boolean}} ChatroomsFrame
 * @typedef {{type: "chat" | "chat_edited", chat: Chat}} ChatFrame
 * @typedef {{type: "chat_deleted", chatroom_id: number, chat_id: number, seq: number, version: number}} DeletedFrame
 * @typedef {{type: "changes", chatroom_id: number, since: number, changes: Change[], version: number,
 *   has_more: boolean}} ChangesFrame
 * @typedef {{type: "reset", chatroom_id: number, chats: Chat[], version: number}} ResetFrame
 * @typedef {{type: "receipt", chatroom_id: number, chatter_id: number, unread_count?: number, version?: number,
 *   last_seq?: number} & Watermarks} ReceiptFrame
 * @typedef {{type: "typing", chatroom_id: number, chatter_id: number, typing: boolean}} TypingFrame
 * @typedef {{type: "presence", chatter_id: number, online: boolean, last_seen: string | null}} PresenceFrame
 * @typedef {{type: "chatroom_created", chatroom: Chatroom}} CreatedFrame
 * @typedef {{type: "chatroom_deleted", chatroom_id: number}} RoomDeletedFrame
 * @typedef {{type: "ack", chat: Chat}} AckFrame
 * @typedef {{type: "error", problem: ProblemBody}} ErrorFrame
 * @typedef {{type: "resumed" | "authenticated" | "pong"}} PlainFrame
 */

/**
 * A frame of the server on the device socket.
 * @typedef {(ReadyFrame | ChatroomsFrame | ChatFrame | DeletedFrame | ChangesFrame | ResetFrame | ReceiptFrame
 *   | TypingFrame | PresenceFrame | CreatedFrame | RoomDeletedFrame | AckFrame | ErrorFrame | PlainFrame)
 *   & {ref?: number | string | null}} ServerFrame
 */

export {};
