// The chats of a room: bubbles, days, marks, and where one has scrolled to.

import { $, h, icon, onceAFrame, reconcile } from "./dom.js";
import { clock, day, explain, isEmoji, markIcon, rich, roomName } from "./words.js";

const GROUP_MS = 5 * 60_000; // chats of one person this close together are one group
const NEAR_PX = 400; // history is read on when less than this is left
const BOTTOM_PX = 60;

export class ChatLog {
  #log = $("log");
  #list = $("chats");
  #actions;
  #client;
  #room = null;
  #divider = null; // chats of the other's above this seq are new
  #active = null; // the key of the chat that the Tab key reaches
  #stuck = true; // to the newest
  #arrived = 0; // new chats below the screen
  #loading = "";
  #problem = null;

  /** `actions`: what may be done with one's own chats: `edit(chat)`, `remove(chat)`. */
  constructor(actions) {
    this.#actions = actions;
    this.#log.addEventListener("scroll", onceAFrame(() => this.#scrolled()), { passive: true });
    this.#log.addEventListener("keydown", (event) => this.#key(event));
    this.#list.addEventListener("focusin", (event) => this.#activate(event.target.closest(".chat")));
    new ResizeObserver(() => this.#stuck && this.#toBottom()).observe(this.#log);
    $("to-newest").addEventListener("click", () => this.toNewest());
  }

  get room() {
    return this.#room;
  }

  async open(client, room) {
    this.#client = client;
    this.#room = room;
    this.#divider = room.unread > 0 ? room.ownMarks.read_seq : null;
    this.#active = null;
    this.#arrived = 0;
    this.#stuck = true;
    this.#list.replaceChildren();
    this.#list.keyed = undefined;
    await this.#load("open");
    if (this.#room !== room) return;
    const divider = this.#list.querySelector(".new-line");
    if (divider) this.#place(divider, 0.25);
    this.#scrolled();
  }

  close() {
    this.#room = null;
  }

  render() {
    const room = this.#room;
    if (!room) return;
    if (!seen() && this.#divider === null && room.unread > 0) this.#divider = Math.max(room.reading, room.ownMarks.read_seq);
    const anchor = this.#stuck ? null : this.#anchor();
    reconcile(this.#list, this.#items(room));
    if (anchor) this.#log.scrollTop += anchor.node.getBoundingClientRect().top - anchor.top;
    else this.#toBottom();
    this.#toNewestButton();
    this.#markRead();
  }

  /** A chat of the other's came. */
  arrived() {
    if (!this.#stuck) this.#arrived += 1;
  }

  /** Something was sent: look at it. */
  async sent() {
    this.#divider = null;
    await this.toNewest();
  }

  async toNewest() {
    this.#stuck = true;
    this.#arrived = 0;
    if (this.#room.hasNewer) await this.#load("newest");
    this.render();
  }

  /** Shows the chat with this seq, wherever in the history it is. */
  async jumpTo(seq) {
    const room = this.#room;
    const held = () => this.#list.querySelector(`[data-seq="${seq}"]`);
    this.#stuck = false;
    if (!held()) await this.#load("around", seq);
    const node = held();
    if (this.#room !== room || !node) return;
    this.#place(node, 0.4);
    this.#scrolled();
    node.classList.remove("flash");
    void node.offsetWidth; // begins the animation anew
    node.classList.add("flash");
    node.focus({ preventScroll: true });
  }

  /** One's own newest chat. */
  lastOwn() {
    return this.#room?.chats.findLast((chat) => chat.sender_id === this.#client.me.id);
  }

  // ---- What is shown -------------------------------------------------------------------------------------------------

  #items(room) {
    const me = this.#client.me.id;
    const items = [this.#head(room)];
    const pending = room.hasNewer ? [] : this.#client.pending(room).map((entry) => ({ entry, client_id: entry.client_id, sender_id: me, create_time: new Date(entry.at).toISOString(), content: entry.content, seq: Infinity }));
    const all = [...room.chats, ...pending];
    const together = (a, b) => a && b && a.sender_id === b.sender_id && day(a.create_time) === day(b.create_time) && new Date(b.create_time) - new Date(a.create_time) < GROUP_MS;
    // Whoever wrote has seen what came before.
    const since = Math.max(this.#divider ?? Infinity, this.lastOwn()?.seq ?? 0);
    let divided = false;
    all.forEach((chat, at) => {
      const before = all[at - 1];
      if (!before || day(before.create_time) !== day(chat.create_time)) items.push(this.#day(chat));
      const divides = !divided && chat.sender_id !== me && chat.seq > since;
      if (divides) items.push({ key: "new", make: () => h("li.new-line", {}, h("span", {}, "New messages")) });
      divided ||= divides;
      items.push(this.#item(room, chat, divides || !together(before, chat), !together(chat, all[at + 1])));
    });
    this.#active = this.#list.keyed?.has(this.#active) ? this.#active : null;
    return items;
  }

  #head(room) {
    let text = "";
    if (this.#problem) text = explain(this.#problem);
    else if (!room.loaded || (this.#loading && room.hasOlder)) text = "Loading…";
    else if (!room.hasOlder && room.chats.length > 0) text = room.isNotes ? "Your notes begin here." : `Your conversation with ${roomName(room)} begins here.`;
    else if (!room.hasOlder) text = room.isNotes ? "Only you can read what you write here." : `No messages yet. Say hello to ${roomName(room)}!`;
    return {
      key: "head",
      make: () => h("li.head.quiet", {}, h("span"), h("button.plain", { onclick: () => this.#load(room.loaded ? "older" : "open") }, "Try again")),
      update: (node) => {
        if (node.firstChild.textContent !== text) node.firstChild.textContent = text;
        node.lastChild.hidden = !this.#problem;
        node.classList.toggle("empty", room.loaded && !room.hasOlder && room.chats.length === 0 && this.#client.pending(room).length === 0);
      },
    };
  }

  #day(chat) {
    const text = day(chat.create_time);
    const date = new Date(chat.create_time).toDateString();
    return { key: `day ${date}`, make: () => h("li.day", {}, h("span")), update: (node) => (node.firstChild.textContent = text) };
  }

  #item(room, chat, first, last) {
    const mine = chat.sender_id === this.#client.me.id;
    // A chat keeps its node when it is acknowledged.
    const key = mine && chat.client_id ? `own ${chat.client_id}` : `seq ${chat.seq}`;
    const mark = chat.entry ? chat.entry.state : mine && !room.isNotes ? room.progress(chat) : null;
    return {
      key,
      make: () => h("li.chat", { tabIndex: -1, data: { key } }),
      update: (node) => {
        node.className = ["chat", mine ? "mine" : "theirs", first && "first", last && "last", mark === "failed" && "failed", node.classList.contains("flash") && "flash"].filter(Boolean).join(" ");
        node.chat = chat;
        if (!chat.entry) node.dataset.seq = chat.seq;
        this.#bubble(node, chat, mine);
        this.#mark(node, chat, mark);
      },
    };
  }

  #bubble(node, chat, mine) {
    const { content, edit_time: edited } = chat;
    const who = mine ? "You" : this.#room.other.nickname;
    const stored = mine && !chat.entry;
    if (node.content !== content || node.edited !== edited || node.stored !== stored) {
      Object.assign(node, { content, edited, stored });
      const text = h("span.text", { dir: "auto" }, ...rich(content));
      const time = h("time", { dateTime: chat.create_time, title: new Date(chat.create_time).toLocaleString() }, clock(chat.create_time));
      const meta = h("span.meta", {}, edited ? "edited " : "", time, h("span.mark-place"));
      const bubble = h("div.bubble", {}, h("span.unseen", {}, `${who}: `), text, meta);
      node.classList.toggle("emoji", isEmoji(content));
      node.replaceChildren(bubble, stored ? this.#tools(chat, node) : "", h("div.trouble"));
      node.shownMark = undefined;
    }
    node.classList.toggle("emoji", isEmoji(content));
  }

  #tools(chat, node) {
    const tool = (name, label, run) => h("button.icon", { type: "button", tabIndex: -1, "aria-label": label, title: label, onclick: () => run(node.chat) }, icon(name));
    return h("div.tools", {}, tool("edit", "Edit", this.#actions.edit), tool("delete", "Delete", this.#actions.remove));
  }

  #mark(node, chat, mark) {
    const shown = mark && `${mark} ${chat.entry?.problem?.code ?? ""}`;
    if (node.shownMark === shown) return;
    node.shownMark = shown;
    node.dataset.mark = mark ?? "";
    node.querySelector(".mark-place").replaceChildren(mark ? markIcon(mark) : "");
    const trouble = node.querySelector(".trouble");
    trouble.replaceChildren();
    if (mark !== "failed") return;
    const { entry } = chat;
    const act = (label, run) => h("button.link", { type: "button", onclick: run }, label);
    trouble.append(
      h("span", {}, explain({ code: entry.problem.code, message: entry.problem.detail })),
      act("Try again", () => this.#client.retry(this.#room, entry)),
      act("Discard", () => this.#client.discard(this.#room, entry)),
    );
  }

  // ---- Scrolling -----------------------------------------------------------------------------------------------------

  async #load(kind, seq) {
    const room = this.#room;
    if (this.#loading && kind !== "around" && kind !== "newest") return;
    this.#loading = kind;
    this.#problem = null;
    this.render();
    try {
      await this.#client[kind](room, seq);
    } catch (problem) {
      this.#problem = problem;
    } finally {
      this.#loading = "";
    }
    if (this.#room === room) this.render();
  }

  #scrolled() {
    const room = this.#room;
    if (!room) return;
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const below = scrollHeight - scrollTop - clientHeight;
    this.#stuck = below < BOTTOM_PX && !room.hasNewer;
    if (this.#stuck) this.#arrived = 0;
    if (room.loaded && !this.#problem && !this.#loading) {
      if (scrollTop < NEAR_PX && room.hasOlder) this.#load("older");
      else if (below < NEAR_PX && room.hasNewer) this.#load("newer");
    }
    this.#toNewestButton();
    this.#markRead();
  }

  #toBottom() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** Scrolls so that the node stands at this part of the height. */
  #place(node, part) {
    const { top } = this.#log.getBoundingClientRect();
    this.#log.scrollTop += node.getBoundingClientRect().top - top - this.#log.clientHeight * part;
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    this.#stuck = scrollHeight - scrollTop - clientHeight < BOTTOM_PX && !this.#room.hasNewer;
  }

  /** The first chat on the screen and where it is, so that it can be put there again. */
  #anchor() {
    const { top } = this.#log.getBoundingClientRect();
    for (const node of this.#list.querySelectorAll(".chat")) {
      const box = node.getBoundingClientRect();
      if (box.bottom > top) return { node, top: box.top };
    }
    return null;
  }

  #toNewestButton() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const far = scrollHeight - scrollTop - clientHeight > 300 || this.#room.hasNewer;
    const text = this.#arrived > 0 ? `${this.#arrived} new` : "";
    $("to-newest").hidden = this.#stuck || !(far || this.#arrived);
    $("to-newest-text").textContent = text;
    $("to-newest").setAttribute("aria-label", text ? `${text}: go to the newest` : "Go to the newest message");
  }

  /** What is on a visible screen has been read. */
  #markRead() {
    const room = this.#room;
    if (!seen() || !room.loaded || this.#log.clientHeight === 0) return;
    if (this.#stuck) return this.#client.read(room, room.lastSeq);
    const { bottom } = this.#log.getBoundingClientRect();
    const shown = [...this.#list.querySelectorAll("[data-seq]")].findLast((node) => node.getBoundingClientRect().bottom <= bottom + 8);
    if (shown) this.#client.read(room, Number(shown.dataset.seq));
  }

  // ---- Keys ----------------------------------------------------------------------------------------------------------

  /** Only one chat is a stop of the Tab key; the arrow keys go on from it. */
  #activate(node) {
    if (!node) return;
    for (const stop of this.#list.querySelectorAll("[tabindex='0']")) stop.tabIndex = -1;
    for (const stop of [node, ...node.querySelectorAll(".tools button")]) stop.tabIndex = 0;
    this.#active = node.dataset.key;
  }

  /** The Tab key comes to the newest chat first. */
  prepareFocus() {
    if (!this.#active) this.#activate([...this.#list.querySelectorAll(".chat")].at(-1));
  }

  #key(event) {
    const node = event.target.closest(".chat");
    if (!node || event.target !== node || event.ctrlKey || event.metaKey || event.altKey) return;
    const chats = [...this.#list.querySelectorAll(".chat")];
    const at = chats.indexOf(node);
    const target = { ArrowUp: chats[at - 1], ArrowDown: chats[at + 1], Home: chats[0], End: chats.at(-1) }[event.key];
    const own = node.querySelector(".tools") !== null;
    if (target) target.focus();
    else if (own && (event.key === "Enter" || event.key === "e")) this.#actions.edit(node.chat);
    else if (own && event.key === "Delete") this.#actions.remove(node.chat);
    else return;
    event.preventDefault();
  }
}

/** Whether somebody can be looking. */
function seen() {
  return document.visibilityState === "visible";
}
