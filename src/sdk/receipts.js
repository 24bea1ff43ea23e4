// @ts-check
// One's own watermarks: batched for a moment, only the newest of each room, a few rooms at a time.

import { Timers } from "./timers.js";

/**
 * @import { Watermarks } from "./protocol.js"
 */

/**
 * The part of a room that decides its receipt.
 * @typedef {object} ReceiptRoom
 * @property {number} id
 * @property {unknown} owner
 * @property {boolean} isNotes
 * @property {number} received
 * @property {number} reading
 * @property {Watermarks} ownMarks
 */

const BATCH_MS = 250;
const ROOMS_AT_ONCE = 10;

export class Receipts {
  #post;
  #timers = new Timers();
  /** @type {Map<number, Watermarks>} What was last sent on this connection, by room. */
  #sent = new Map();
  /** @type {Set<ReceiptRoom>} Rooms with a receipt to send. */
  #due = new Set();

  /** @param {(frame: object) => boolean} post Sends a frame; false while there is no connection. */
  constructor(post) {
    this.#post = post;
  }

  /** Starts over on a new connection: receipts that were sent on the last one may be lost. */
  restart() {
    this.#sent.clear();
  }

  stop() {
    this.#timers.cancelAll();
    this.#due.clear();
  }

  /**
   * Sends how far a room was received and read, where that is further than the server knows.
   * @param {ReceiptRoom} room
   */
  update(room) {
    if (room.isNotes || !room.owner) return;
    const sent = this.#sent.get(room.id) ?? room.ownMarks;
    if (room.received <= sent.delivered_seq && room.reading <= sent.read_seq) return;
    this.#due.add(room);
    if (!this.#timers.has("send")) this.#timers.set("send", BATCH_MS, () => this.#send());
  }

  #send() {
    for (const room of [...this.#due].slice(0, ROOMS_AT_ONCE)) {
      const read = Math.max(room.reading, room.ownMarks.read_seq);
      const marks = { delivered_seq: Math.max(room.received, read), read_seq: read };
      // Without a connection the next `ready` updates every room again.
      if (!this.#post({ type: "receipt", chatroom_id: room.id, ...marks })) return this.#due.clear();
      this.#due.delete(room);
      this.#sent.set(room.id, marks);
    }
    if (this.#due.size) this.#timers.set("send", BATCH_MS, () => this.#send());
  }
}
