// The chats of a room: bubbles, days, marks, and where one has scrolled to.

import { chatItems } from "./bubbles.js";
import { $, avatar, h, onceAFrame, reconcile } from "./dom.js";
import { explain, roomName } from "./words.js";

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
  #placed = false; // where one begins to read; nothing has been seen before
  #stuck = true; // to the newest
  #arrived = 0; // new chats below the screen
  #loading = null;
  #problem = null;

  /** `actions`: what may be done with one's own chats: `edit(chat)`, `remove(chat)`. */
  constructor(actions) {
    this.#actions = actions;
    this.#log.addEventListener(
      "scroll",
      onceAFrame(() => this.#scrolled()),
      { passive: true },
    );
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
    this.#loading = null;
    this.#problem = null;
    this.#list.replaceChildren();
    this.#list.keyed = undefined;
    this.#placed = false;
    await this.#load("open");
    if (this.#room !== room) return;
    this.#placed = true;
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
    if (!seen() && this.#divider === null && room.unread > 0)
      this.#divider = Math.max(room.reading, room.ownMarks.read_seq);
    const anchor = this.#stuck ? null : this.#anchor();
    reconcile(this.#list, this.#items(room));
    if (this.#stuck) this.#toBottom();
    else if (anchor?.node.isConnected) this.#log.scrollTop += anchor.node.getBoundingClientRect().top - anchor.top;
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

  // ---- What is shown ----

  #items(room) {
    // Whoever wrote has seen what came before.
    const divider = Math.max(this.#divider ?? Infinity, this.lastOwn()?.seq ?? 0);
    const me = this.#client.me.id;
    const mark = (chat) => chat.entry?.state ?? (chat.sender_id === me && !room.isNotes ? room.progress(chat) : null);
    const says = {
      ...this.#actions,
      me,
      mark,
      nameOf: (chat) => (chat.sender_id === me ? "You" : room.other.nickname),
      retry: (entry) => this.#client.retry(room, entry),
      discard: (entry) => this.#client.discard(room, entry),
    };
    const pending = this.#pending(room);
    return [this.#head(room, pending), ...chatItems([...room.chats, ...pending], divider, says)];
  }

  /** What waits in the outbox, as if it had been stored just now. */
  #pending(room) {
    if (room.hasNewer) return [];
    const stored = new Set(room.chats.map(({ client_id }) => client_id));
    const newest = room.chats.at(-1)?.create_time ?? "";
    const waiting = this.#client.pending(room).filter(({ client_id }) => !stored.has(client_id));
    return waiting.map((entry) => {
      const at = new Date(entry.at).toISOString();
      const { client_id, content } = entry;
      return {
        entry,
        client_id,
        content,
        sender_id: this.#client.me.id,
        create_time: at > newest ? at : newest,
        seq: Infinity,
      };
    });
  }

  /** What stands above the first chat. */
  #head(room, pending) {
    const again = () => this.#load(room.loaded ? "older" : "open");
    return {
      key: "head",
      make: () => {
        const button = h("button.link", { type: "button", onclick: again }, "Try again");
        return h("li.head.quiet", {}, avatar(room.other), h("span"), button);
      },
      update: (node) => {
        const [, text, button] = node.children;
        const empty = room.loaded && !room.hasOlder && room.chats.length + pending.length === 0;
        node.classList.toggle("empty", empty);
        text.textContent = this.#headText(room, empty);
        button.hidden = !this.#problem;
      },
    };
  }

  #headText(room, empty) {
    if (this.#problem) return explain(this.#problem);
    if (!room.loaded || (room.hasOlder && this.#loading)) return "Loading…";
    if (room.hasOlder) return "";
    if (room.isNotes) return "Only you can read what you write here.";
    const name = roomName(room);
    return empty ? `No messages yet. Say hello to ${name}!` : `Your conversation with ${name} begins here.`;
  }

  // ---- Scrolling ----

  async #load(kind, seq) {
    const room = this.#room;
    const replaces = kind === "around" || kind === "newest";
    if (this.#loading && !replaces) return;
    const loading = (this.#loading = { kind });
    this.#problem = null;
    this.render();
    let trouble = null;
    try {
      await this.#client[kind](room, seq);
    } catch (problem) {
      trouble = problem;
    }
    if (this.#loading !== loading) return; // another room, or another place in this one
    this.#loading = null;
    this.#problem = trouble;
    this.render();
  }

  /** The connection is there again: what could not be read can be now. */
  reconnected() {
    if (this.#problem) this.#load(this.#room.loaded ? "older" : "open");
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
    if (!seen() || !this.#placed || !room.loaded || this.#log.clientHeight === 0) return;
    if (this.#stuck && !room.hasNewer) return this.#client.read(room, room.lastSeq);
    const { bottom } = this.#log.getBoundingClientRect();
    const shown = [...this.#list.querySelectorAll("[data-seq]")].findLast(
      (node) => node.getBoundingClientRect().bottom <= bottom + 8,
    );
    if (shown) this.#client.read(room, Number(shown.dataset.seq));
  }

  // ---- Keys ----

  /** Only one chat is a stop of the Tab key; the arrow keys go on from it. */
  #activate(node) {
    if (!node) return;
    for (const stop of this.#list.querySelectorAll("[tabindex='0']")) stop.tabIndex = -1;
    for (const stop of [node, ...node.querySelectorAll(".tools button")]) stop.tabIndex = 0;
    this.#active = node.dataset.key;
  }

  /** The Tab key comes to the newest chat first. */
  prepareFocus() {
    if (!this.#list.keyed?.has(this.#active)) this.#activate([...this.#list.querySelectorAll(".chat")].at(-1));
  }

  #key(event) {
    const node = event.target.closest(".chat");
    if (!node || event.target !== node || event.ctrlKey || event.metaKey || event.altKey) return;
    const chats = [...this.#list.querySelectorAll(".chat")];
    const at = chats.indexOf(node);
    const target = { ArrowUp: chats[at - 1], ArrowDown: chats[at + 1], Home: chats[0], End: chats.at(-1) }[event.key];
    const own = node.querySelector(".tools") !== null;
    if (target) target.focus();
    else if (event.key === "Escape") $("text").focus();
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
