// What stands in the log of a room, as items for `reconcile`: chats, days, the line above what is new.

import { h, icon } from "./dom.js";
import { clock, day, explain, isEmoji, markIcon, rich } from "./words.js";

const GROUP_MS = 5 * 60_000; // chats of one person this close together are one group

/**
 * The items for these chats. `divider`: chats of the other's above this seq are new. `says`: `{ me, nameOf(chat),
 * mark(chat), edit(chat), remove(chat), retry(entry), discard(entry) }`.
 */
export function chatItems(chats, divider, says) {
  const items = [];
  let divided = false;
  chats.forEach((chat, at) => {
    const before = chats[at - 1];
    if (!before || day(before.create_time) !== day(chat.create_time)) items.push(dayItem(chat));
    const divides = !divided && chat.sender_id !== says.me && chat.seq > divider;
    divided ||= divides;
    if (divides) items.push({ key: "new", make: () => h("li.new-line", {}, h("span", {}, "New messages")) });
    const first = divides || !together(before, chat);
    items.push(chatItem(chat, first, says));
  });
  return items;
}

function dayItem({ create_time: time }) {
  return {
    key: `day ${new Date(time).toDateString()}`,
    make: () => h("li.day", {}, h("span")),
    update: (node) => (node.firstChild.textContent = day(time)),
  };
}

/** Whether two chats are shown as one group. */
function together(a, b) {
  if (!a || a.sender_id !== b.sender_id || day(a.create_time) !== day(b.create_time)) return false;
  return new Date(b.create_time) - new Date(a.create_time) < GROUP_MS;
}

function chatItem(chat, first, says) {
  const mine = chat.sender_id === says.me;
  // A chat keeps its node when it is acknowledged.
  const key = mine && chat.client_id ? `own ${chat.client_id}` : `seq ${chat.seq}`;
  return {
    key,
    make: () => h(mine ? "li.chat.mine" : "li.chat.theirs", { tabIndex: -1, data: { key } }),
    update: (node) => {
      node.chat = chat;
      node.classList.toggle("first", first);
      if (!chat.entry) node.dataset.seq = chat.seq;
      fill(node, chat, mine, says);
      showMark(node, chat, says);
    },
  };
}

/** The bubble, made anew only when what it says is another thing. */
function fill(node, chat, mine, says) {
  const { content, edit_time: edited, create_time: time } = chat;
  const shown = JSON.stringify([content, edited, time, !chat.entry]);
  if (node.shown === shown) return;
  node.shown = shown;
  node.shownMark = undefined;
  node.classList.toggle("emoji", isEmoji(content));
  const text = h("span.text", { dir: "auto" }, ...rich(content));
  const when = h("time", { dateTime: time, title: new Date(time).toLocaleString() }, clock(time));
  const meta = h("span.meta", {}, edited ? "edited " : "", when, h("span.mark-place"));
  const bubble = h("div.bubble", {}, h("span.unseen", {}, `${says.nameOf(chat)}: `), text, meta);
  node.replaceChildren(bubble, mine && !chat.entry ? tools(node, says) : "", h("div.trouble"));
}

function tools(node, { edit, remove }) {
  const tool = (name, label, run) => {
    const properties = { type: "button", tabIndex: -1, title: label, "aria-label": label };
    return h("button.icon", { ...properties, onclick: () => run(node.chat) }, icon(name));
  };
  return h("div.tools", {}, tool("edit", "Edit", edit), tool("delete", "Delete", remove));
}

/** How far it got and, where it failed, why and what can be done. */
function showMark(node, chat, { mark: markOf, retry, discard }) {
  const { entry } = chat;
  const mark = markOf(chat);
  const shown = `${mark} ${entry?.problem?.code}`;
  if (node.shownMark === shown) return;
  node.shownMark = shown;
  node.dataset.mark = mark ?? "";
  node.querySelector(".mark-place").replaceChildren(mark ? markIcon(mark) : "");
  const why = [];
  if (mark === "failed") {
    const act = (label, run) => h("button.link", { type: "button", onclick: () => run(entry) }, label);
    const { code, detail: message } = entry.problem;
    why.push(h("span", {}, explain({ code, message })), act("Try again", retry), act("Discard", discard));
  }
  node.querySelector(".trouble").replaceChildren(...why);
}
