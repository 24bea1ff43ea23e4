// @ts-check
// The list of rooms, and the field that finds rooms and people.

import { $, avatar, h, KeyedChildren, redraw } from "./dom.js";
import { explain, isGone, markIcon, roomName, shortTime } from "./words.js";

/**
 * @import { ChatClient, Chatter, ChatRoom, OutboxEntry } from "../chat-client.js"
 * @import { Item } from "./dom.js"
 */

const ASK_MS = 200; // after the last key, before the server is asked for people

export class RoomList {
  #client = /** @type {any} */ (null);
  #open;
  #rooms = new KeyedChildren($("rooms"));
  #people = new KeyedChildren($("people"));
  #current = /** @type {ChatRoom | null} */ (null);
  #found = /** @type {Chatter[]} */ ([]);
  #asking = /** @type {any} */ (0);
  /** @type {Map<number, OutboxEntry>} The newest failed chat of each room. */
  #failed = new Map();

  /** @param {(room: ChatRoom) => void} open Opens a chosen room. */
  constructor(open) {
    this.#open = open;
    $("find").addEventListener("input", () => this.#ask());
    $("find").addEventListener("keydown", (/** @type {any} */ event) => {
      if (event.key === "Escape") this.clear();
      if (event.key === "Enter" && !event.isComposing) this.#stops()[0]?.click();
    });
    $("find")
      .closest(".sidebar")
      .addEventListener("keydown", (/** @type {any} */ event) => this.#move(event));
  }

  /** @param {ChatClient} client */
  use(client) {
    this.#client = client;
    this.clear();
  }

  clear() {
    $("find").value = "";
    this.#found = [];
    this.render();
  }

  /** @param {ChatRoom | null} current The open room. */
  render(current = this.#current) {
    this.#current = current;
    if (!this.#client) return;
    const failed = this.#client.pending().filter((/** @type {OutboxEntry} */ { state }) => state === "failed");
    this.#failed = new Map(failed.map((/** @type {OutboxEntry} */ entry) => [entry.room_id, entry]));
    const query = $("find").value.trim().toLowerCase();
    const rooms = [...this.#client.rooms.values()].filter((room) => room.owner && matches(room, query));
    rooms.sort((a, b) => (a.lastChatTime === b.lastChatTime ? b.id - a.id : a.lastChatTime < b.lastChatTime ? 1 : -1));
    this.#rooms.reconcile(rooms.map((room) => this.#item(room)));
    const people = query ? this.#found.filter((chatter) => !this.#known(chatter)) : [];
    this.#people.reconcile(people.map((chatter) => this.#person(chatter)));
    $("people-part").hidden = people.length === 0;
    $("list-hint").hidden = rooms.length + people.length > 0;
    $("list-hint").textContent = query
      ? "Nobody has a name like this. Usernames are searched from their beginning."
      : this.#client.state === "connecting" && this.#client.rooms.size === 0
        ? ""
        : "No chats yet. Find somebody by their username above, and say hello.";
  }

  /** @param {Chatter} chatter */
  #known(chatter) {
    return [...this.#client.rooms.values()].some((room) => room.other?.id === chatter.id);
  }

  /**
   * @param {any} room
   * @returns {Item}
   */
  #item(room) {
    const link = () => h("a", { href: `#/${room.id}` });
    return {
      key: room.id,
      make: () => h("li", {}, link()),
      update: (node) => {
        const a = node.firstChild;
        if (room.id === this.#current?.id) a.setAttribute("aria-current", "page");
        else a.removeAttribute("aria-current");
        const shown = [
          roomName(room),
          room.lastChat,
          this.#failed.get(room.id)?.client_id,
          room.unread,
          room.typing,
          this.#online(room),
          this.#mark(room),
          shortTime(room.lastChatTime),
        ];
        redraw(a, shown, () => a.replaceChildren(avatar(room.other, this.#online(room)), this.#lines(room)));
      },
    };
  }

  /** @param {any} room */
  #lines(room) {
    const unread = room.unread > 999 ? "999+" : room.unread;
    const badge = unread ? h("b.badge", {}, String(unread), h("span.unseen", {}, " unread")) : null;
    const mark = this.#mark(room);
    const time = h("time", { dateTime: room.lastChatTime }, shortTime(room.lastChatTime));
    const name = h("strong", { dir: "auto" }, roomName(room));
    const latest = this.#failed.get(room.id) ?? room.lastChat;
    const text = room.typing ? "typing…" : (latest?.content.slice(0, 200) ?? "No messages yet");
    const preview = h("span.preview", { dir: "auto" }, text);
    preview.classList.toggle("typing", room.typing);
    const online = this.#online(room) ? h("span.unseen", {}, ", online") : null;
    return h(
      "span.lines",
      {},
      name,
      online ?? "",
      time,
      h("span.latest", {}, mark && !room.typing ? markIcon(mark) : "", preview),
      badge ?? "",
    );
  }

  /**
   * How far one's own last chat has got; "failed" where a chat of the room failed.
   * @param {ChatRoom} room
   */
  #mark(room) {
    if (this.#failed.has(room.id)) return "failed";
    const { lastChat } = room;
    return lastChat && lastChat.sender_id === this.#client.me.id && !room.isNotes ? room.progress(lastChat) : null;
  }

  /** @param {any} room */
  #online(room) {
    return this.#client.state === "online" && !room.isNotes && room.other.online === true;
  }

  /**
   * @param {Chatter} chatter
   * @returns {Item}
   */
  #person(chatter) {
    const own = chatter.id === this.#client.me.id;
    const text = h(
      "span.lines",
      {},
      h("strong", { dir: "auto" }, own ? "Notes to self" : chatter.nickname),
      h("span.latest", {}, h("span.preview", {}, `@${chatter.username}`)),
    );
    return {
      key: chatter.id,
      make: () => h("li", {}, h("button", { onclick: () => this.#start(chatter) }, avatar(chatter), text)),
    };
  }

  /** @param {Chatter} chatter */
  async #start(chatter) {
    try {
      const room = await this.#client.roomWith(chatter.id);
      this.clear();
      this.#open(room);
    } catch (problem) {
      $("list-hint").hidden = false;
      $("list-hint").textContent = explain(problem);
    }
  }

  /** Rooms are filtered at once; the server is asked when the typing pauses. */
  #ask() {
    this.render();
    clearTimeout(this.#asking);
    const query = $("find").value.trim();
    if (!query) return (this.#found = []);
    this.#asking = setTimeout(async () => {
      const found = await this.#client.findPeople(query.replace(/^@/, "")).catch(() => []);
      if ($("find").value.trim() !== query) return;
      this.#found = found.filter((/** @type {Chatter} */ chatter) => !isGone(chatter));
      this.render();
    }, ASK_MS);
  }

  /** @param {any} event */
  #move(event) {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step || event.isComposing) return;
    const stops = [$("find"), ...this.#stops()];
    const next = stops[stops.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  /** What the arrow keys reach. @returns {any[]} */
  #stops() {
    return [...document.querySelectorAll(".lists a, .lists button")];
  }
}

/**
 * @param {any} room
 * @param {string} query
 */
function matches(room, query) {
  const names = [roomName(room), room.other.username, room.other.nickname];
  return !query || names.some((name) => name.toLowerCase().includes(query.replace(/^@/, "")));
}
