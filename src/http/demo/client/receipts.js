// One's own watermarks: gathered for a moment, only the newest of a room is said, and not too many at a time.

import { Timers } from "./timers.js";

const GATHER_MS = 250;
const ROOMS_AT_ONCE = 10;

export class Receipts {
  #post;
  #timers = new Timers();
  #told = new Map(); // room id -> what was last said on this connection
  #moved = new Set(); // rooms with something to say

  /** `post(frame)`: false while there is no connection. */
  constructor(post) {
    this.#post = post;
  }

  /** A new connection: what was said on the last one may not have arrived. */
  restart() {
    this.#told.clear();
  }

  stop() {
    this.#timers.cancelAll();
  }

  /** Says how far a room was received and read, if that is further than the server knows. */
  consider(room) {
    if (room.isNotes || !room.owner) return;
    const told = this.#told.get(room.id) ?? room.ownMarks;
    if (room.received <= told.delivered_seq && room.reading <= told.read_seq) return;
    this.#moved.add(room);
    if (!this.#timers.has("say")) this.#timers.set("say", GATHER_MS, () => this.#say());
  }

  #say() {
    for (const room of [...this.#moved].slice(0, ROOMS_AT_ONCE)) {
      const read = Math.max(room.reading, room.ownMarks.read_seq);
      const marks = { delivered_seq: Math.max(room.received, read), read_seq: read };
      // Offline: the next `ready` has every room considered anew.
      if (!this.#post({ type: "receipt", chatroom_id: room.id, ...marks })) return this.#moved.clear();
      this.#moved.delete(room);
      this.#told.set(room.id, marks);
    }
    if (this.#moved.size) this.#timers.set("say", GATHER_MS, () => this.#say());
  }
}
