// The list of rooms, and the field that finds rooms and people.

import { $, avatar, h, reconcile } from "./dom.js";
import { explain, isGone, markIcon, roomName, shortTime } from "./words.js";

const ASK_MS = 200; // after the last key, before the directory is asked

export class RoomList {
  #client;
  #open;
  #found = [];
  #asking;

  /** `open(room)` is called when one is chosen. */
  constructor(open) {
    this.#open = open;
    $("find").addEventListener("input", () => this.#ask());
    $("find").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.clear();
      if (event.key === "Enter" && !event.isComposing) document.querySelector(".lists a, .lists button")?.click();
    });
    $("find")
      .closest(".sidebar")
      .addEventListener("keydown", (event) => this.#move(event));
  }

  use(client) {
    this.#client = client;
    this.clear();
  }

  clear() {
    $("find").value = "";
    this.#found = [];
    this.render();
  }

  render(current = this.current) {
    this.current = current;
    if (!this.#client) return;
    const query = $("find").value.trim().toLowerCase();
    const rooms = [...this.#client.rooms.values()].filter((room) => room.owner && matches(room, query));
    rooms.sort((a, b) => (a.lastChatTime === b.lastChatTime ? b.id - a.id : a.lastChatTime < b.lastChatTime ? 1 : -1));
    reconcile(
      $("rooms"),
      rooms.map((room) => this.#item(room)),
    );
    const people = query ? this.#found.filter((chatter) => !this.#known(chatter)) : [];
    reconcile(
      $("people"),
      people.map((chatter) => this.#person(chatter)),
    );
    $("people-part").hidden = people.length === 0;
    $("list-hint").hidden = rooms.length + people.length > 0;
    $("list-hint").textContent = query
      ? "Nobody has a name like this. Usernames are searched from their beginning."
      : this.#client.state === "connecting" && this.#client.rooms.size === 0
        ? ""
        : "No chats yet. Find somebody by their username above, and say hello.";
  }

  #known(chatter) {
    return [...this.#client.rooms.values()].some((room) => room.other?.id === chatter.id);
  }

  #item(room) {
    const link = () => h("a", { href: `#/${room.id}` });
    return {
      key: room.id,
      make: () => h("li", {}, link()),
      update: (node) => {
        const a = node.firstChild;
        if (room.id === this.current?.id) a.setAttribute("aria-current", "page");
        else a.removeAttribute("aria-current");
        const shown = JSON.stringify([
          roomName(room),
          room.lastChat,
          room.unread,
          room.typing,
          this.#online(room),
          this.#mark(room),
          shortTime(room.lastChatTime),
        ]);
        if (a.shown === shown) return;
        a.shown = shown;
        a.replaceChildren(avatar(room.other, this.#online(room)), this.#lines(room));
      },
    };
  }

  #lines(room) {
    const unread = room.unread > 999 ? "999+" : room.unread;
    const badge = unread ? h("b.badge", {}, String(unread), h("span.unseen", {}, " unread")) : null;
    const mark = this.#mark(room);
    const time = h("time", { dateTime: room.lastChatTime }, shortTime(room.lastChatTime));
    const name = h("strong", { dir: "auto" }, roomName(room));
    const says = h(
      "span.preview",
      { dir: "auto" },
      room.typing ? "typing…" : (room.lastChat?.content.slice(0, 200) ?? "No messages yet"),
    );
    says.classList.toggle("typing", room.typing);
    const online = this.#online(room) ? h("span.unseen", {}, ", online") : null;
    return h(
      "span.lines",
      {},
      name,
      online ?? "",
      time,
      h("span.latest", {}, mark && !room.typing ? markIcon(mark) : "", says),
      badge ?? "",
    );
  }

  #mark(room) {
    const { lastChat } = room;
    return lastChat && lastChat.sender_id === this.#client.me.id && !room.isNotes ? room.progress(lastChat) : null;
  }

  #online(room) {
    return this.#client.state === "online" && !room.isNotes && room.other.online === true;
  }

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

  /** Rooms are filtered at once; the directory is asked when the typing pauses. */
  #ask() {
    this.render();
    clearTimeout(this.#asking);
    const query = $("find").value.trim();
    if (!query) return (this.#found = []);
    this.#asking = setTimeout(async () => {
      const found = await this.#client.people(query.replace(/^@/, "")).catch(() => []);
      if ($("find").value.trim() !== query) return;
      this.#found = found.filter((chatter) => !isGone(chatter));
      this.render();
    }, ASK_MS);
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.isComposing) return;
    const stops = [$("find"), ...document.querySelectorAll(".lists a, .lists button")];
    const next = stops[stops.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}

function matches(room, query) {
  const names = [roomName(room), room.other.username, room.other.nickname];
  return !query || names.some((name) => name.toLowerCase().includes(query.replace(/^@/, "")));
}
