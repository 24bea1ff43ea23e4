// @ts-check
// Everything that the log of a room shows, as items: the head above the first chat, the chats, and the outbox.

import { chatItems } from "./bubbles.js";
import { avatar, h } from "./dom.js";
import { explain, roomName } from "./words.js";

/**
 * @import { ShownChat } from "./bubbles.js"
 * @import { Item } from "./dom.js"
 * @import { ChatClient, ChatRoom } from "../chat-client.js"
 */

/**
 * @typedef {object} LogState
 * @property {number | null} divider Chats of the other person above this seq are new.
 * @property {boolean} loading A page of history is being read.
 * @property {{code: string, message: string} | null} problem Why a page could not be read.
 * @property {() => void} readAgain
 * @property {{edit: (chat: any) => void, remove: (chat: any) => void}} actions
 */

/**
 * One's own newest stored chat.
 * @param {ChatClient} client
 * @param {ChatRoom | null} room
 */
export const lastOwn = (client, room) => room?.chats.findLast((chat) => chat.sender_id === client.me?.id);

/**
 * @param {ChatClient} client
 * @param {ChatRoom} room
 * @param {LogState} state
 * @returns {Item[]}
 */
export function logItems(client, room, state) {
  const me = client.me?.id ?? 0;
  // People have seen what came before their own newest chat.
  const divider = Math.max(state.divider ?? Infinity, lastOwn(client, room)?.seq ?? 0);
  const pending = pendingChats(client, room, me);
  /** @param {ShownChat} chat */
  const mark = (chat) => chat.entry?.state ?? (chat.sender_id === me && !room.isNotes ? room.progress(chat) : null);
  const items = chatItems([...room.chats, ...pending], divider, {
    ...state.actions,
    me,
    mark,
    nameOf: (chat) => (chat.sender_id === me ? "You" : (room.other?.nickname ?? "")),
    retry: (entry) => client.retry(entry),
    discard: (entry) => client.discard(entry),
  });
  return [headItem(room, state, room.chats.length + pending.length === 0), ...items];
}

/**
 * The chats of the outbox, as if they had been stored just now.
 * @param {ChatClient} client
 * @param {ChatRoom} room
 * @param {number} me
 * @returns {ShownChat[]}
 */
function pendingChats(client, room, me) {
  if (room.hasNewer) return [];
  const stored = new Set(room.chats.map(({ client_id }) => client_id));
  const newest = room.chats.at(-1)?.create_time ?? "";
  const waiting = client.pending(room).filter(({ client_id }) => !stored.has(client_id));
  return waiting.map((entry) => {
    const at = new Date(entry.at).toISOString();
    const { client_id, content } = entry;
    return { entry, client_id, content, sender_id: me, create_time: at > newest ? at : newest, seq: Infinity };
  });
}

/**
 * What stands above the first chat.
 * @param {ChatRoom} room
 * @param {LogState} state
 * @param {boolean} noChats
 * @returns {Item}
 */
function headItem(room, state, noChats) {
  return {
    key: "head",
    make: () => {
      const button = h("button.link", { type: "button", onclick: state.readAgain }, "Try again");
      return h("li.head.quiet", {}, room.other ? avatar(room.other) : "", h("span"), button);
    },
    update: (node) => {
      const [, text, button] = node.children;
      const empty = room.loaded && !room.hasOlder && noChats;
      node.classList.toggle("empty", empty);
      text.textContent = headText(room, state, empty);
      button.hidden = !state.problem;
    },
  };
}

/**
 * @param {ChatRoom} room
 * @param {LogState} state
 * @param {boolean} empty
 */
function headText(room, { problem, loading }, empty) {
  if (problem) return explain(problem);
  if (!room.loaded || (room.hasOlder && loading)) return "Loading…";
  if (room.hasOlder) return "";
  if (room.isNotes) return "Only you can read what you write here.";
  const name = roomName(room);
  return empty ? `No messages yet. Say hello to ${name}!` : `Your conversation with ${name} begins here.`;
}
