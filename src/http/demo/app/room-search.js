// @ts-check
// Searching in the room that is open.

import { $, avatar, h, KeyedChildren } from "./dom.js";
import { clock, day, excerpt, explain } from "./words.js";

/**
 * @import { Chat, ChatClient, ChatRoom } from "../chat-client.js"
 * @import { Item } from "./dom.js"
 */

const ASK_MS = 250;

export class RoomSearch {
  #client = /** @type {any} */ (null);
  #room = /** @type {any} */ (null);
  #hits = new KeyedChildren($("hits"));
  #jump;
  #asking = /** @type {any} */ (0);

  /** @param {(seq: number) => void} jump Shows a hit in the log. */
  constructor(jump) {
    this.#jump = jump;
    $("search-button").addEventListener("click", () => (this.isOpen ? this.close() : this.#show()));
    $("search-close").addEventListener("click", () => this.close());
    $("search-text").addEventListener("input", () => {
      clearTimeout(this.#asking);
      this.#asking = setTimeout(() => this.#ask(), ASK_MS);
    });
    $("search").addEventListener("keydown", (/** @type {any} */ event) => this.#key(event));
  }

  get isOpen() {
    return !$("search").hidden;
  }

  /**
   * @param {ChatClient} client
   * @param {ChatRoom} room
   */
  use(client, room) {
    this.#client = client;
    this.#room = room;
    this.close(false);
  }

  close(focus = true) {
    clearTimeout(this.#asking);
    $("search").hidden = true;
    $("search-button").setAttribute("aria-expanded", "false");
    $("search-text").value = "";
    this.#render([], "");
    if (focus) $("search-button").focus();
  }

  #show() {
    $("search").hidden = false;
    $("search-button").setAttribute("aria-expanded", "true");
    $("search-text").focus();
  }

  async #ask() {
    const [room, query] = [this.#room, $("search-text").value.trim()];
    if (!query) return this.#render([], "");
    const current = () => room === this.#room && query === $("search-text").value.trim();
    try {
      const hits = await this.#client.search(room, query);
      if (current()) this.#render(hits, query);
    } catch (problem) {
      if (current()) this.#render([], query, explain(problem));
    }
  }

  /**
   * @param {Chat[]} hits
   * @param {string} query
   * @param {string} [trouble]
   */
  #render(hits, query, trouble = "") {
    const many =
      hits.length >= 50
        ? "The newest 50 messages with it"
        : hits.length === 1
          ? "1 message"
          : `${hits.length} messages`;
    $("search-state").textContent = trouble || (query === "" ? "" : hits.length ? many : "No message has this in it.");
    this.#hits.reconcile(hits.map((chat) => this.#hit(chat, query)));
  }

  /**
   * @param {Chat} chat
   * @param {string} query
   * @returns {Item}
   */
  #hit(chat, query) {
    const { owner, opponent } = this.#room;
    const sender = owner.id === chat.sender_id ? owner : opponent;
    const name = chat.sender_id === this.#client.me.id ? "You" : sender.nickname;
    const when = `${day(chat.create_time)}, ${clock(chat.create_time)}`;
    const head = h("span.hit-head", {}, h("strong", {}, name), h("time", {}, when));
    const text = h("span.hit-text", { dir: "auto" }, ...excerpt(chat.content, query));
    const choose = () => this.#jump(chat.seq);
    return {
      key: `${query} ${chat.seq} ${chat.version}`,
      make: () => h("li", {}, h("button", { onclick: choose }, avatar(sender), h("span.lines", {}, head, text))),
    };
  }

  /** @param {any} event */
  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      return this.close();
    }
    const stops = [$("search-text"), ...$("hits").querySelectorAll("button")];
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const next = step && stops[stops.indexOf(document.activeElement) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    } else if (event.key === "Enter" && event.target === $("search-text")) {
      event.preventDefault();
      stops[1]?.click();
    }
  }
}
