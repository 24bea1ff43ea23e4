// @ts-check
// The log of a room: which part of the history is shown, and where one has scrolled to.

import { chatOf } from "./bubbles.js";
import { $, KeyedChildren, onceAFrame } from "./dom.js";
import { lastOwn, logItems } from "./log-items.js";
import { LogKeys } from "./log-keys.js";

/**
 * @import { ChatClient, ChatRoom } from "../chat-client.js"
 */

const NEAR_PX = 400; // history is read on when less than this is left
const BOTTOM_PX = 60;

export class ChatLog {
  #log = $("log");
  #list = $("chats");
  #children = new KeyedChildren(this.#list);
  #keys;
  #actions;
  #client = /** @type {any} */ (null);
  #room = /** @type {any} */ (null);
  #divider = /** @type {number | null} */ (null); // chats of the other person above this seq are new
  #placed = false; // whether the log stands where one begins to read; before, nothing counts as seen
  #stuck = true; // to the newest chat
  #lastTop = 0; // `scrollTop` at the last look
  #arrived = 0; // new chats below the screen
  #loading = /** @type {object | null} */ (null);
  #problem = /** @type {any} */ (null);

  /**
   * @param {{edit: (chat: any) => void, remove: (chat: any) => void}} actions What people can do with their own chats.
   */
  constructor(actions) {
    this.#actions = actions;
    this.#keys = new LogKeys(this.#list, this.#children, actions);
    this.#log.addEventListener(
      "scroll",
      onceAFrame(() => this.#scrolled()),
      { passive: true },
    );
    this.#log.addEventListener("keydown", (/** @type {any} */ event) => this.#keys.press(event));
    new ResizeObserver(() => {
      this.#noticeScroll();
      if (this.#stuck) this.#toBottom();
    }).observe(this.#log);
    $("to-newest").addEventListener("click", () => this.toNewest());
  }

  get room() {
    return this.#room;
  }

  /**
   * @param {ChatClient} client
   * @param {ChatRoom} room
   */
  async open(client, room) {
    this.#client = client;
    this.#room = room;
    this.#divider = room.unread > 0 ? room.ownMarks.read_seq : null;
    this.#keys.reset();
    this.#arrived = 0;
    this.#stick();
    this.#loading = null;
    this.#problem = null;
    this.#children.clear();
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
    if (!isVisible() && this.#divider === null && room.unread > 0) {
      this.#divider = Math.max(room.reading, room.ownMarks.read_seq);
    }
    this.#noticeScroll();
    const anchor = this.#stuck ? null : this.#anchor();
    const state = {
      divider: this.#divider,
      loading: this.#loading !== null,
      problem: this.#problem,
      readAgain: () => this.#load(room.loaded ? "older" : "open"),
      actions: this.#actions,
    };
    this.#children.reconcile(logItems(this.#client, room, state));
    if (this.#stuck) this.#toBottom();
    else if (anchor?.node.isConnected) this.#log.scrollTop += anchor.node.getBoundingClientRect().top - anchor.top;
    this.#toNewestButton();
    this.#markRead();
  }

  /** A chat of the other person came. */
  arrived() {
    if (!this.#stuck) this.#arrived += 1;
  }

  /** Something was sent: look at it. */
  async sent() {
    this.#divider = null;
    await this.toNewest();
  }

  async toNewest() {
    this.#stick();
    this.#arrived = 0;
    if (this.#room.hasNewer) await this.#load("newest");
    this.render();
  }

  /**
   * Shows the chat with this seq, wherever in the history it is.
   * @param {number} seq
   */
  async jumpTo(seq) {
    const room = this.#room;
    const held = () => this.#nodes().find((node) => chatOf(node)?.seq === seq);
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
    return lastOwn(this.#client, this.#room);
  }

  /** Lets the Tab key come to the newest chat first. */
  prepareFocus() {
    this.#keys.prepareFocus();
  }

  // ---- Scrolling ----

  /**
   * @param {"open" | "newest" | "around" | "older" | "newer"} kind
   * @param {number} [seq]
   */
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
    this.#lastTop = scrollTop;
    if (this.#stuck) this.#arrived = 0;
    if (room.loaded && !this.#problem && !this.#loading) {
      if (scrollTop < NEAR_PX && room.hasOlder) this.#load("older");
      else if (below < NEAR_PX && room.hasNewer) this.#load("newer");
    }
    this.#toNewestButton();
    this.#markRead();
  }

  /** Follows the newest chat from the next rendering on, wherever the log is. */
  #stick() {
    this.#stuck = true;
    this.#lastTop = 0;
  }

  #toBottom() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#lastTop = this.#log.scrollTop;
  }

  /** Lets go of the newest chat where the person has scrolled up: the scroll event comes only with the next frame. */
  #noticeScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    if (scrollTop < this.#lastTop && scrollHeight - scrollTop - clientHeight >= BOTTOM_PX) this.#stuck = false;
  }

  /**
   * Scrolls so that the node stands at this part of the height.
   * @param {HTMLElement} node
   * @param {number} part
   */
  #place(node, part) {
    const { top } = this.#log.getBoundingClientRect();
    this.#log.scrollTop += node.getBoundingClientRect().top - top - this.#log.clientHeight * part;
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    this.#stuck = scrollHeight - scrollTop - clientHeight < BOTTOM_PX && !this.#room.hasNewer;
    this.#lastTop = scrollTop;
  }

  /** The first chat on the screen and where it is, so that it can be put there again. */
  #anchor() {
    const { top } = this.#log.getBoundingClientRect();
    for (const node of this.#nodes()) {
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
    if (!isVisible() || !this.#placed || !room.loaded || this.#log.clientHeight === 0) return;
    if (this.#stuck && !room.hasNewer) return this.#client.markRead(room, room.lastSeq);
    const { bottom } = this.#log.getBoundingClientRect();
    const isShown = (/** @type {HTMLElement} */ node) => node.getBoundingClientRect().bottom <= bottom + 8;
    const shown = this.#nodes().findLast((node) => !chatOf(node)?.entry && isShown(node));
    if (shown) this.#client.markRead(room, chatOf(shown)?.seq);
  }

  /** @returns {HTMLElement[]} */
  #nodes() {
    return [...this.#list.querySelectorAll(".chat")];
  }
}

/** Whether the page is on a screen. */
function isVisible() {
  return document.visibilityState === "visible";
}
