// @ts-check
// Sends the chats of the outbox: in order within a room, again after a break, a bounded number of times.

import { Problem } from "./rest.js";
import { Timers } from "./timers.js";

/**
 * @import { Chat, Chatter } from "./protocol.js"
 * @import { Connection } from "./connection.js"
 * @import { Outbox, OutboxEntry } from "./outbox.js"
 */

const AT_ONCE = 8; // chats under way, over all rooms
const WAIT_MAX_MS = 30_000; // between two tries of a chat that failed by itself
const BUSY_WAIT_MAX_MS = 8_000; // between two tries while the server is busy

/**
 * When a chat is given up that the server may take later. `tries`: how often it failed by itself (500, a broken
 * connection while it was under way, no answer). `ms`: how long the server was too busy to take it (429, 503).
 * @typedef {{tries: number, ms: number}} GiveUp
 * @type {GiveUp}
 */
const GIVE_UP = { tries: 6, ms: 15 * 60_000 };

export class Sender {
  #outbox;
  #connection;
  #giveUp;
  #random;
  #person;
  #onStored;
  #onChanged;
  #timers = new Timers();
  #underWay = 0;

  /**
   * `onStored` gets the chat of each `ack`. `onChanged` gets each entry whose state changed, and why it was refused.
   * @param {object} options
   * @param {Outbox} options.outbox
   * @param {Connection} options.connection
   * @param {Partial<GiveUp>} [options.giveUp]
   * @param {() => number} [options.random]
   * @param {(roomId: number) => Chatter | null | undefined} options.person The other person, where they are known.
   * @param {(roomId: number, chat: Chat) => void} options.onStored
   * @param {(entry: OutboxEntry, problem?: Problem) => void} options.onChanged
   */
  constructor({ outbox, connection, giveUp, random = Math.random, person, onStored, onChanged }) {
    this.#outbox = outbox;
    this.#connection = connection;
    this.#giveUp = { ...GIVE_UP, ...giveUp };
    this.#random = random;
    this.#person = person;
    this.#onStored = onStored;
    this.#onChanged = onChanged;
  }

  /** Sends what can be sent now. */
  flush() {
    if (!this.#connection.isOpen) return;
    for (const entry of this.#outbox.ready()) {
      if (this.#underWay >= AT_ONCE) return;
      if (this.#timers.has(`room ${entry.room_id}`)) continue;
      // A database that was set back may have given the room's id to another room.
      const other = entry.to && this.#person(entry.room_id);
      if (other && ![entry.to, `deleted-${other.id}`].includes(other.username)) {
        this.#refused(entry, new Problem({ code: "epoch_changed", status: 410, detail: "This is another room now." }));
      } else if (other || !entry.to) this.#send(entry);
    }
  }

  /** Sends at once what waits for another try: on a new connection. */
  restart() {
    this.#timers.cancelAll();
    this.flush();
  }

  stop() {
    this.#timers.cancelAll();
  }

  /**
   * Sends a failed chat again, with all its tries.
   * @param {OutboxEntry} entry
   */
  retry(entry) {
    if (entry.state !== "failed") return;
    entry.tries = 0;
    entry.refusedAt = null;
    entry.to = null; // the person has seen where it goes
    this.#outbox.again(entry);
    this.#onChanged(entry);
    this.flush();
  }

  /** @param {OutboxEntry} entry */
  async #send(entry) {
    entry.state = "sending";
    this.#underWay += 1;
    const { client_id, content, room_id } = entry;
    try {
      const { chat } = await this.#connection.ask({ type: "send", chatroom_id: room_id, client_id, content });
      this.#outbox.remove(client_id);
      this.#onStored(room_id, chat);
    } catch (problem) {
      this.#refused(entry, /** @type {Problem} */ (problem));
    } finally {
      this.#underWay -= 1;
    }
    this.flush();
  }

  /**
   * @param {OutboxEntry} entry
   * @param {Problem} problem
   */
  #refused(entry, problem) {
    if (this.#outbox.get(entry.client_id) !== entry) return; // its event came, or it was discarded
    const now = Date.now();
    const busy = problem.status === 429 || problem.status === 503;
    if (!busy) entry.tries += 1;
    entry.refusedAt ??= now;
    const over = busy ? now - entry.refusedAt >= this.#giveUp.ms : entry.tries >= this.#giveUp.tries;
    if (over || !(problem.retryable || problem.needsToken)) {
      this.#outbox.failed(entry, problem);
    } else {
      this.#outbox.again(entry);
      this.#pause(entry, problem, busy);
    }
    this.#onChanged(entry, problem);
  }

  /**
   * Waits before the next try in a room, longer each time.
   * @param {OutboxEntry} entry
   * @param {Problem} problem
   * @param {boolean} busy
   */
  #pause({ room_id, tries, refusedAt }, { retry_after_s = 1 }, busy) {
    const elapsed = Date.now() - (refusedAt ?? 0);
    const wait = busy ? Math.min(BUSY_WAIT_MAX_MS, elapsed / 2) : Math.min(WAIT_MAX_MS, 500 * 2 ** tries);
    const jitter = 1 + this.#random() / 4;
    this.#timers.set(`room ${room_id}`, Math.max(retry_after_s * 1_000, wait) * jitter, () => this.flush());
  }
}
