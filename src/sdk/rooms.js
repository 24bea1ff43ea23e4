// @ts-check
// All rooms of the account, and what is kept of them between two starts.

import { ChatRoom } from "./room.js";
import { restoreRoom, takeSnapshot } from "./snapshot.js";
import { Timers } from "./timers.js";

/**
 * @import { Chatroom } from "./protocol.js"
 * @import { JsonStore } from "./storage.js"
 */

const SNAPSHOTS_MAX = 50;
const SAVE_MS = 1_000;
const EPOCH = "epoch"; // the name beside those of the rooms

export class Rooms {
  /** @type {Map<number, ChatRoom>} Those whose `owner` is null are not fully known yet. */
  byId = new Map();
  /** One's own chatter id; 0 until it is known. */
  me = 0;
  /** The epoch of the database from which the rooms are; empty until it is known. */
  epoch = "";

  /** @type {JsonStore | null} */
  #store = null;
  /** @type {Set<ChatRoom>} Rooms that changed since they were last saved. */
  #unsaved = new Set();
  #timers = new Timers();
  #options;

  /**
   * `onUpdated` gets a room after anything in it changed; `onChanged` only where the program has to show it anew.
   * @param {{onUpdated: (room: ChatRoom) => void, onChanged: (room: ChatRoom) => void}} options
   */
  constructor(options) {
    this.#options = options;
  }

  /**
   * Takes over the rooms that were kept for this account.
   * @param {JsonStore} store
   * @param {number} me
   */
  load(store, me) {
    this.#store = store;
    this.me = me;
    this.epoch = String(store.get(EPOCH) ?? "");
    for (const name of store.names()) {
      if (name === EPOCH) continue;
      const room = restoreRoom(Number(name), me, store.get(name));
      if (room) this.byId.set(room.id, room);
      else store.remove(name);
    }
  }

  /** Removes what was kept, and keeps nothing more. */
  forget() {
    this.stop();
    this.#store?.clear();
    this.#store = null;
  }

  stop() {
    this.#save();
    this.#timers.cancelAll();
  }

  /**
   * Takes notice of the database's epoch. In a new one nothing of the rooms holds any more, so they are forgotten.
   * @param {string} [epoch] Absent from servers of earlier releases.
   */
  enterEpoch(epoch = "") {
    const former = this.epoch;
    if (epoch === former) return;
    this.epoch = epoch;
    if (former) {
      this.#unsaved.clear();
      this.#store?.clear();
      for (const room of this.byId.values()) room.forget();
    }
    this.#store?.set(EPOCH, epoch);
  }

  /**
   * The room with this id, created where it is new.
   * @param {number} id
   */
  ensure(id) {
    const room = this.byId.get(id) ?? new ChatRoom(id, this.me);
    this.byId.set(id, room);
    return room;
  }

  /**
   * Applies a room as REST answers it.
   * @param {Chatroom} body
   */
  apply(body) {
    const room = this.ensure(body.id);
    room.applyBody(body);
    this.updated(room);
    return room;
  }

  /**
   * Handles a change that comes with many others; their end has an event of its own.
   * @param {ChatRoom} room
   */
  updated(room) {
    this.#options.onUpdated(room);
  }

  /**
   * Handles a change of one room: it is saved soon.
   * @param {ChatRoom | undefined} room
   */
  changed(room) {
    if (!room) return;
    this.#unsaved.add(room);
    if (!this.#timers.has("save")) this.#timers.set("save", SAVE_MS, () => this.#save());
    this.#options.onUpdated(room);
    this.#options.onChanged(room);
  }

  /** @param {number} id */
  remove(id) {
    this.#store?.remove(String(id));
    return this.byId.delete(id);
  }

  /** Saves cursors together with the chats they stand for: one is worth nothing without the other. */
  #save() {
    const store = this.#store;
    const newestFirst = (/** @type {string} */ a, /** @type {string} */ b) => (a < b ? 1 : -1);
    const rooms = [...this.#unsaved].sort((a, b) => newestFirst(a.lastChatTime, b.lastChatTime));
    this.#unsaved.clear();
    if (!store) return;
    for (const room of rooms.slice(0, SNAPSHOTS_MAX)) {
      const complete = room.owner && !room.resuming && this.byId.get(room.id) === room;
      if (complete) store.set(String(room.id), takeSnapshot(room));
    }
    const names = store.names().filter((name) => name !== EPOCH);
    if (names.length <= SNAPSHOTS_MAX) return;
    const time = (/** @type {string} */ name) => this.byId.get(Number(name))?.lastChatTime ?? "";
    names.sort((a, b) => newestFirst(time(a), time(b)));
    for (const name of names.slice(SNAPSHOTS_MAX)) store.remove(name);
  }
}
