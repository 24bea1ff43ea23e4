/**
 * What to keep of a room.
 * @param {ChatRoom} room
 * @param {number} [chars] How long the chats may be together.
 */
export function takeSnapshot(room: ChatRoom, chars?: number): {
    version: number | null;
    owner: import("./protocol.js").Chatter | null;
    opponent: import("./protocol.js").Chatter | null;
    lastSeq: number;
    lastChat: import("./protocol.js").Chat | null;
    lastChatTime: string;
    received: number;
    chats: import("./protocol.js").Chat[];
};
/**
 * The room of a snapshot; null for a value that is not one.
 * @param {number} id
 * @param {number} me One's own chatter id.
 * @param {any} kept
 */
export function restoreRoom(id: number, me: number, kept: any): ChatRoom | null;
import { ChatRoom } from "./room.js";
