// @ts-check
/*
 * The client: one socket for all rooms of an account, no chat lost, none stored twice.
 *
 * - A chat stays in the outbox until the server acknowledges it. After a break it is sent again under the same
 *   client_id, which the server stores once (outbox.js, sender.js).
 * - A room's cursor, its `version`, says up to where changes were applied. After a break the rooms whose version in
 *   `ready` differs are resumed. Only the socket moves a cursor (room.js, sync.js).
 * - A silent connection is probed, a dead one is given up, and reconnecting has jitter (connection.js).
 */

import { ClientCore } from "./core.js";
import { ClientEventTarget } from "./events.js";

/**
 * @import { ClientOptions } from "./options.js"
 * @import { OutboxEntry } from "./outbox.js"
 * @import { Chat, Chatter } from "./protocol.js"
 * @import { ChatRoom } from "./room.js"
 */

/** A client of one account, on one device. Its events are those of `ClientEvents`. */
export class ChatClient extends ClientEventTarget {
  #core;

  /** @param {ClientOptions} options */
  constructor(options) {
    super();
    const emit = (/** @type {string} */ type, properties = {}) => {
      this.dispatchEvent(Object.assign(new Event(type), properties));
    };
    this.#core = new ClientCore(options, emit);
  }

  // ---- State ----

  /** One's own account; null until the first connection, unless it was given. */
  get me() {
    return this.#core.me;
  }

  /** All rooms by id. Those whose `owner` is null are not fully known yet. */
  get rooms() {
    return this.#core.rooms.byId;
  }

  /** The state of the connection. */
  get state() {
    return this.#core.connection.state;
  }

  /** When the next attempt is made, in ms since 1970, while the state is "offline". */
  get retryAt() {
    return this.#core.connection.retryAt;
  }

  /** The code of the last close: why the state is "stopped". */
  get closeCode() {
    return this.#core.connection.closeCode;
  }

  /** How many chats are unread, over all rooms. */
  get unreadTotal() {
    let total = 0;
    for (const room of this.rooms.values()) total += room.unread;
    return total;
  }

  // ---- Connection ----

  /** Connects, and from then on reconnects by itself. */
  start() {
    this.#core.connection.connect();
  }

  /** Ends the connection. The storage keeps the outbox and the rooms for the next start. */
  stop() {
    this.#core.stop();
  }

  /** Stops, and removes everything of this account from the storage: for signing out. */
  forget() {
    this.#core.forget();
  }

  /**
   * Takes a new token: where the state is "signed-out", or before the old one expires.
   * @param {string} token
   */
  setToken(token) {
    this.#core.tokens.set(token);
    if (this.state === "online") this.#core.authenticate(token);
    else this.start();
  }

  /** Reconnects or probes now: the network or the device came back, or seems to be gone. */
  wake() {
    this.#core.connection.wake();
  }

  // ---- Chats ----

  /**
   * Puts a chat into the outbox, also without a connection, and sends it as soon as possible.
   * @param {ChatRoom} room
   * @param {string} content
   * @returns {OutboxEntry}
   * @throws {Problem} `outbox_full`.
   */
  send(room, content) {
    const { outbox, typing, sender, rooms } = this.#core;
    const entry = outbox.add(room.id, content, room.other?.username);
    typing.sent(room);
    sender.flush();
    rooms.changed(room);
    return entry;
  }

  /**
   * The chats of a room, or of all rooms, that the server has not acknowledged; oldest first.
   * @param {ChatRoom} [room]
   */
  pending(room) {
    return this.#core.outbox.list(room?.id);
  }

  /**
   * Sends a failed chat again.
   * @param {OutboxEntry} entry
   */
  retry(entry) {
    this.#core.sender.retry(entry);
  }

  /**
   * Removes a chat from the outbox, unless it is under way.
   * @param {OutboxEntry} entry
   */
  discard(entry) {
    if (entry.state === "sending") return;
    this.#core.outbox.remove(entry.client_id);
    this.#core.rooms.changed(this.rooms.get(entry.room_id));
  }

  /**
   * Changes one's own chat.
   * @param {ChatRoom} room
   * @param {Chat} chat
   * @param {string} content
   */
  edit(room, chat, content) {
    return this.#change(room, { type: "edit", chat_id: chat.id, content });
  }

  /**
   * Deletes one's own chat, for both people.
   * @param {ChatRoom} room
   * @param {Chat} chat
   */
  delete(room, chat) {
    return this.#change(room, { type: "delete", chat_id: chat.id });
  }

  /**
   * Marks a room as read up to this seq.
   * @param {ChatRoom} room
   * @param {number} seq
   */
  markRead(room, seq) {
    if (seq <= room.reading) return;
    room.reading = seq;
    room.received = Math.max(room.received, seq);
    this.#core.rooms.changed(room);
  }

  /**
   * Shows the other person that one types, or has stopped. It may be called with every key.
   * @param {ChatRoom} room
   * @param {boolean} typing
   */
  setTyping(room, typing) {
    this.#core.typing.send(room, typing);
  }

  // ---- History ----

  /**
   * Fills a room's window: with the newest page or, with many unread, with the one around the first of them.
   * @param {ChatRoom} room
   */
  open(room) {
    return this.#core.api.open(room);
  }

  /**
   * Replaces a room's window by the newest page.
   * @param {ChatRoom} room
   */
  newest(room) {
    return this.#core.api.newest(room);
  }

  /**
   * Replaces a room's window by the page around a chat.
   * @param {ChatRoom} room
   * @param {number} seq
   */
  around(room, seq) {
    return this.#core.api.around(room, seq);
  }

  /**
   * Lengthens a room's window into the past.
   * @param {ChatRoom} room
   */
  older(room) {
    return this.#core.api.older(room);
  }

  /**
   * Lengthens a room's window towards the newest chat.
   * @param {ChatRoom} room
   */
  newer(room) {
    return this.#core.api.newer(room);
  }

  /**
   * Chats of a room that contain a text, newest first; at most 50.
   * @param {ChatRoom} room
   * @param {string} query
   * @returns {Promise<Chat[]>}
   */
  search(room, query) {
    return this.#core.api.search(room, query);
  }

  // ---- Rooms and people ----

  /**
   * The room with a person, created where there is none.
   * @param {number} chatterId
   * @returns {Promise<ChatRoom>}
   */
  roomWith(chatterId) {
    return this.#core.api.roomWith(chatterId);
  }

  /**
   * Deletes a room, for both people.
   * @param {ChatRoom} room
   */
  async deleteRoom(room) {
    await this.rest("DELETE", `/api/chatrooms/${room.id}`);
    this.#core.remove(room.id);
  }

  /**
   * People whose username begins with a text; at most 20.
   * @param {string} query
   * @returns {Promise<Chatter[]>}
   */
  findPeople(query) {
    return this.rest("GET", `/api/chatters?limit=20&query=${encodeURIComponent(query)}`);
  }

  /**
   * Changes one's own account.
   * @param {{nickname?: string, show_last_seen?: boolean, show_receipts?: boolean}} changes
   */
  async updateMe(changes) {
    this.#core.me = await this.rest("PUT", "/api/chatters", changes);
    this.dispatchEvent(new Event("rooms"));
  }

  /**
   * Any other request of the REST API: the body of the answer.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   */
  rest(method, path, body) {
    return this.#core.api.rest(method, path, body);
  }

  /**
   * @param {ChatRoom} room
   * @param {object} frame
   */
  async #change(room, frame) {
    const { chat } = await this.#core.connection.ask(frame);
    this.#core.put(room, chat);
  }
}
