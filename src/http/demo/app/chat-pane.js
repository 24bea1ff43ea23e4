// @ts-check
// The open room: the other person, the log, the search, and the composer.

import { ChatLog } from "./chat-log.js";
import { Composer, onPhone } from "./composer.js";
import { $, avatar, confirmed, onePane, redraw, toast } from "./dom.js";
import { RoomSearch } from "./room-search.js";
import { explain, isGone, lastSeen, roomName } from "./words.js";

/**
 * @import { ChatClient, ChatRoom } from "../chat-client.js"
 */

export class ChatPane {
  #client = /** @type {any} */ (null);
  #log = new ChatLog({ edit: (chat) => this.#composer.edit(chat), remove: (chat) => this.#remove(chat) });
  #composer = new Composer(this.#log);
  #search = new RoomSearch((seq) => this.#jump(seq));

  constructor() {
    $("delete-room").addEventListener("click", () => this.#deleteRoom());
    $("chat").addEventListener("focusin", () => this.#log.prepareFocus());
  }

  get room() {
    return this.#log.room;
  }

  /**
   * @param {ChatClient} client
   * @param {ChatRoom} room
   */
  open(client, room) {
    if (this.room === room) return;
    this.#client = client;
    $("nothing").hidden = true;
    $("chat").hidden = false;
    this.#search.use(client, room);
    this.#composer.open(client, room);
    const opened = this.#log.open(client, room);
    this.render();
    this.focus();
    return opened;
  }

  /** Focuses the composer; on a phone the name, since the keyboard would cover the log. */
  focus() {
    (onPhone() ? $("other-name") : $("text")).focus();
  }

  close() {
    this.#composer.close();
    this.#log.close();
    $("chat").hidden = true;
    $("nothing").hidden = false;
  }

  render() {
    const { room } = this;
    if (!room?.owner) return;
    const online = this.#client.state === "online" && room.other.online === true && !room.isNotes;
    redraw($("other-avatar"), [room.other.id, room.other.nickname, online], () => {
      $("other-avatar").replaceChildren(avatar(room.other, online));
    });
    $("other-name").textContent = roomName(room);
    $("other-state").textContent = this.#state(room, online);
    $("other-state").classList.toggle("typing", room.typing);
    const gone = isGone(room.other) && !room.isNotes;
    $("text").disabled = gone;
    $("text").placeholder = gone ? "This account was deleted" : "Write a message";
    this.#log.render();
  }

  reconnected() {
    this.#log.reconnected();
  }

  /** A chat of the other person came into the open room. */
  arrived() {
    this.#log.arrived();
  }

  /**
   * @param {any} room
   * @param {boolean} online
   */
  #state(room, online) {
    if (room.isNotes) return "Only you can see these";
    if (isGone(room.other)) return "";
    if (room.typing) return "typing…";
    if (online) return "online";
    const seen = this.#client.state === "online" && room.other.last_seen;
    return seen ? lastSeen(seen) : `@${room.other.username}`;
  }

  /** @param {number} seq */
  #jump(seq) {
    if (onePane()) this.#search.close(false);
    this.#log.jumpTo(seq);
  }

  /** @param {any} chat */
  async #remove(chat) {
    const room = this.room;
    const whose = room.isNotes ? "It will be gone from your notes." : "It will be gone for both of you.";
    if (!(await confirmed("Delete this message?", whose, "Delete"))) return;
    try {
      await this.#client.delete(room, chat);
      this.focus();
    } catch (problem) {
      toast(`The message was not deleted. ${explain(problem)}`);
    }
  }

  async #deleteRoom() {
    const room = this.room;
    $("room-menu").hidePopover();
    const whose = room.isNotes
      ? "All your notes will be gone."
      : `All messages will be gone, for you and for ${roomName(room)}.`;
    if (!(await confirmed("Delete this conversation?", whose, "Delete"))) return;
    try {
      await this.#client.deleteRoom(room);
    } catch (problem) {
      toast(`The conversation was not deleted. ${explain(problem)}`);
    }
  }
}
