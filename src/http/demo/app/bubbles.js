// @ts-check
// The log of a room as items for `KeyedChildren`: chats, days, and the line above the new chats.

import { h, icon, redraw } from "./dom.js";
import { clock, day, explain, isEmoji, markIcon, rich } from "./words.js";

/**
 * @import { Item } from "./dom.js"
 * @import { Chat, OutboxEntry } from "../chat-client.js"
 */

/**
 * A chat as it is shown: one that is stored, or one of the outbox.
 * @typedef {Pick<Chat, "client_id" | "content" | "sender_id" | "create_time" | "seq"> &
 *   {edit_time?: string | null, id?: number, version?: number, entry?: OutboxEntry}} ShownChat
 */

/**
 * What the log knows about its chats, and what can be done with one's own.
 * @typedef {object} LogActions
 * @property {number} me
 * @property {(chat: ShownChat) => string} nameOf
 * @property {(chat: ShownChat) => string | null} mark
 * @property {(chat: any) => void} edit
 * @property {(chat: any) => void} remove
 * @property {(entry: OutboxEntry) => void} retry
 * @property {(entry: OutboxEntry) => void} discard
 */

const GROUP_MS = 5 * 60_000; // chats of one person this close together are one group

/** @type {WeakMap<Node, ShownChat>} The chat that each node shows. */
const shownChats = new WeakMap();

/**
 * The chat that a node of the log shows.
 * @param {Node} node
 */
export const chatOf = (node) => shownChats.get(node);

/**
 * The items for these chats.
 * @param {ShownChat[]} chats
 * @param {number} divider Chats of the other person above this seq are new.
 * @param {LogActions} actions
 */
export function chatItems(chats, divider, actions) {
  /** @type {Item[]} */
  const items = [];
  let divided = false;
  chats.forEach((chat, at) => {
    const before = chats[at - 1];
    if (!before || day(before.create_time) !== day(chat.create_time)) items.push(dayItem(chat));
    const divides = !divided && chat.sender_id !== actions.me && chat.seq > divider;
    divided ||= divides;
    if (divides) items.push({ key: "new", make: () => h("li.new-line", {}, h("span", {}, "New messages")) });
    const first = divides || !together(before, chat);
    items.push(chatItem(chat, first, actions));
  });
  return items;
}

/**
 * @param {ShownChat} chat
 * @returns {Item}
 */
function dayItem({ create_time: time }) {
  return {
    key: `day ${new Date(time).toDateString()}`,
    make: () => h("li.day", {}, h("span")),
    update: (node) => (node.firstChild.textContent = day(time)),
  };
}

/**
 * Whether two chats are shown as one group.
 * @param {ShownChat | undefined} a
 * @param {ShownChat} b
 */
function together(a, b) {
  if (!a || a.sender_id !== b.sender_id || day(a.create_time) !== day(b.create_time)) return false;
  return Date.parse(b.create_time) - Date.parse(a.create_time) < GROUP_MS;
}

/**
 * @param {ShownChat} chat
 * @param {boolean} first Whether it begins a group.
 * @param {LogActions} actions
 * @returns {Item}
 */
function chatItem(chat, first, actions) {
  const mine = chat.sender_id === actions.me;
  // A chat keeps its node when it is acknowledged.
  const key = mine && chat.client_id ? `own ${chat.client_id}` : `seq ${chat.seq}`;
  return {
    key,
    make: () => h(mine ? "li.chat.mine" : "li.chat.theirs", { tabIndex: -1 }),
    update: (node) => {
      shownChats.set(node, chat);
      node.classList.toggle("first", first);
      fill(node, chat, mine, actions);
      showMark(node, chat, actions);
    },
  };
}

/**
 * The bubble, made anew only when its text changed.
 * @param {HTMLElement} node
 * @param {ShownChat} chat
 * @param {boolean} mine
 * @param {LogActions} actions
 */
function fill(node, chat, mine, actions) {
  const { content, edit_time: edited, create_time: time } = chat;
  redraw(node, [content, edited, time, !chat.entry], () => {
    node.classList.toggle("emoji", isEmoji(content));
    const text = h("span.text", { dir: "auto" }, ...rich(content));
    const when = h("time", { dateTime: time, title: new Date(time).toLocaleString() }, clock(time));
    const meta = h("span.meta", {}, edited ? "edited " : "", when, h("span.mark-place"));
    const bubble = h("div.bubble", {}, h("span.unseen", {}, `${actions.nameOf(chat)}: `), text, meta);
    node.replaceChildren(bubble, mine && !chat.entry ? tools(node, actions) : "", h("div.trouble"));
  });
}

/**
 * @param {HTMLElement} node
 * @param {LogActions} actions
 */
function tools(node, { edit, remove }) {
  const tool = (/** @type {string} */ name, /** @type {string} */ label, /** @type {(chat: any) => void} */ run) => {
    const properties = { type: "button", tabIndex: -1, title: label, "aria-label": label };
    return h("button.icon", { ...properties, onclick: () => run(chatOf(node)) }, icon(name));
  };
  return h("div.tools", {}, tool("edit", "Edit", edit), tool("delete", "Delete", remove));
}

/**
 * How far the chat got and, where it failed, why and what can be done.
 * @param {HTMLElement} node
 * @param {ShownChat} chat
 * @param {LogActions} actions
 */
function showMark(node, chat, { mark: markOf, retry, discard }) {
  const { entry } = chat;
  const mark = markOf(chat);
  const trouble = /** @type {HTMLElement} */ (node.querySelector(".trouble"));
  redraw(trouble, [mark, entry?.problem?.code], () => {
    node.dataset.mark = mark ?? "";
    node.querySelector(".mark-place")?.replaceChildren(mark ? markIcon(mark) : "");
    const why = [];
    if (entry?.problem) {
      const act = (/** @type {string} */ label, /** @type {(entry: OutboxEntry) => void} */ run) =>
        h("button.link", { type: "button", onclick: () => run(entry) }, label);
      const { code, detail: message } = entry.problem;
      why.push(h("span", {}, explain({ code, message })), act("Try again", retry), act("Discard", discard));
    }
    trouble.replaceChildren(...why);
  });
}
