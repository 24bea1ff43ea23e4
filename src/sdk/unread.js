// @ts-check
// Counting unread chats: the server's count at a version, and the changes above it.

/**
 * @import { Change, Chat } from "./protocol.js"
 */

/** The server counts no further either. */
const COUNT_MAX = 1_000;

export class UnreadCount {
  #counted = { unread: 0, version: -1, lastSeq: 0 };
  /** @type {Set<number>} Seqs of the other person's chats above the count. */
  #added = new Set();
  /** @type {Map<number, number>} Counted chats that were deleted since: seq -> version of the deletion. */
  #removed = new Map();

  get value() {
    return Math.max(0, this.#counted.unread + this.#added.size - this.#removed.size);
  }

  /**
   * Takes over the server's count. It holds at its version; only changes above that count on top of it.
   * @param {{unread_count?: number, version?: number, last_seq?: number}} count
   */
  set({ unread_count: unread = 0, version = 0, last_seq: lastSeq = 0 }) {
    if (version < this.#counted.version) return;
    this.#counted = { unread, version, lastSeq };
    for (const seq of this.#added) if (seq <= lastSeq) this.#added.delete(seq);
    for (const [seq, deleted] of this.#removed) if (deleted <= version) this.#removed.delete(seq);
  }

  /**
   * Counts a chat of the other person.
   * @param {Chat} chat
   */
  add({ seq }) {
    if (seq > this.#counted.lastSeq && this.#added.size < COUNT_MAX) this.#added.add(seq);
  }

  /**
   * Takes a deleted chat out of the count. False where that depends on a chat that the room does not hold.
   * @param {Change} deletion
   * @param {number} readSeq One's own watermark.
   * @param {boolean | null} isTheirs Whether the other person sent the chat; null where that is unknown.
   */
  remove({ seq, version }, readSeq, isTheirs) {
    if (this.#added.delete(seq) || seq > this.#counted.lastSeq) return true;
    if (version <= this.#counted.version || seq <= readSeq) return true;
    if (isTheirs) this.#removed.set(seq, version);
    return isTheirs !== null;
  }
}
