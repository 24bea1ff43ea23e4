// @ts-check
// A room in the storage: its cursor together with the chats that the cursor stands for.

import { ChatRoom } from "./room.js";

const CHATS_MAX = 50;
const CHARS_MAX = 20_000;

/**
 * What to keep of a room.
 * @param {ChatRoom} room
 * @param {number} [chars] How long the chats may be together.
 */
export function takeSnapshot(room, chars = CHARS_MAX) {
  const { version, owner, opponent, lastSeq, lastChat, lastChatTime, received } = room;
  let chats = room.loaded && !room.hasNewer ? room.chats.slice(-CHATS_MAX) : [];
  while (chats.reduce((sum, { content }) => sum + content.length, 0) > chars) chats = chats.slice(1);
  return { version, owner, opponent, lastSeq, lastChat, lastChatTime, received, chats };
}

/**
 * The room of a snapshot; null for a value that is not one.
 * @param {number} id
 * @param {number} me One's own chatter id.
 * @param {any} kept
 */
export function restoreRoom(id, me, kept) {
  const { version, owner, opponent, lastSeq, lastChat, lastChatTime, received, chats } = kept ?? {};
  const numbers = [id, version, lastSeq, received, owner?.id, opponent?.id];
  const isChat = (/** @type {any} */ chat) => Number.isInteger(chat?.seq) && typeof chat.content === "string";
  if (!numbers.every(Number.isInteger) || typeof lastChatTime !== "string") return null;
  if (!(lastChat === null || isChat(lastChat)) || !Array.isArray(chats) || !chats.every(isChat)) return null;
  const room = new ChatRoom(id, me);
  Object.assign(room, { version, owner, opponent, lastSeq, lastChat, lastChatTime, received });
  if (chats.length) {
    room.applyPage(room.beginRequest("newest"), chats, chats[0].seq > 1);
    room.endRequest();
  }
  return room;
}
