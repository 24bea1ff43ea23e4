// Searching in the room that is open.

import { $, avatar, h, reconcile } from "./dom.js";
import { clock, day, excerpt, explain } from "./words.js";

const ASK_MS = 250;

export class RoomSearch {
  #client;
  #room;
  #jump;
  #asking;

  /** `jump(seq)` shows a hit. */
  constructor(jump) {
    this.#jump = jump;
    $("search-button").addEventListener("click", () => (this.isOpen ? this.close() : this.#show()));
    $("search-close").addEventListener("click", () => this.close());
    $("search-text").addEventListener("input", () => {
      clearTimeout(this.#asking);
      this.#asking = setTimeout(() => this.#ask(), ASK_MS);
    });
    $("search").addEventListener("keydown", (event) => this.#key(event));
  }

  get isOpen() {
    return !$("search").hidden;
  }

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

  #render(hits, query, trouble = "") {
    const many =
      hits.length >= 50
        ? "The newest 50 messages with it"
        : hits.length === 1
          ? "1 message"
          : `${hits.length} messages`;
    $("search-state").textContent = trouble || (query === "" ? "" : hits.length ? many : "No message has this in it.");
    reconcile(
      $("hits"),
      hits.map((chat) => this.#hit(chat, query)),
    );
  }

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

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      return this.close();
    }
    const stops = [$("search-text"), ...$("hits").querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
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
