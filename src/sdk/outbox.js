// @ts-check
// Chats that the server has not acknowledged yet, in a storage that outlives the page.

import { Problem } from "./rest.js";

/**
 * @import { JsonStore } from "./storage.js"
 */

const ENTRIES_MAX = 1_000;

/**
 * A chat in the outbox. "waiting": it is sent as soon as the connection and the chats before it allow. "sending": the
 * server has not answered yet. "failed": it is not sent again unless the person retries it; `problem` says why.
 * @typedef {object} OutboxEntry
 * @property {string} client_id
 * @property {number} room_id
 * @property {string} content
 * @property {string | null} to The username of the other person; null where it is not known.
 * @property {number} at When the chat was written, in ms since 1970.
 * @property {number} order
 * @property {"waiting" | "sending" | "failed"} state
 * @property {number} tries How often the server has not taken it.
 * @property {number | null} refusedAt When the server first refused it, in ms since 1970.
 * @property {{code: string, detail: string} | null} problem
 */

export class Outbox {
  /** @type {JsonStore | null} */
  #store = null;
  #max;
  #lastOrder = 0;
  /** @type {Map<string, OutboxEntry>} By client_id, oldest first. */
  #entries = new Map();

  /** @param {number} [max] How many chats it holds. */
  constructor(max = ENTRIES_MAX) {
    this.#max = max;
  }

  /**
   * Takes over the chats that were kept in a storage, and keeps its own there from now on.
   * @param {JsonStore} store
   */
  load(store) {
    this.#store = store;
    const kept = store.names().flatMap((name) => restored(store, name));
    for (const entry of kept.sort((a, b) => a.order - b.order)) {
      this.#entries.set(entry.client_id, entry);
      this.#lastOrder = Math.max(this.#lastOrder, entry.order);
    }
    return this;
  }

  /** Drops all chats, also from the storage. */
  forget() {
    this.#store?.clear();
    this.#store = null;
    this.#entries.clear();
  }

  /**
   * Adds a chat that waits to be sent.
   * @param {number} roomId
   * @param {string} content
   * @param {string | null} [to] The username of the other person.
   * @param {number} [now]
   * @returns {OutboxEntry}
   * @throws {Problem} `outbox_full`.
   */
  add(roomId, content, to = null, now = Date.now()) {
    if (this.#entries.size >= this.#max) {
      throw new Problem({ code: "outbox_full", detail: "Too many chats wait to be sent." });
    }
    this.#lastOrder = Math.max(now, this.#lastOrder + 1);
    const client_id = `${this.#lastOrder.toString(36)}-${randomHex()}`;
    /** @type {OutboxEntry} */
    const entry = {
      client_id,
      room_id: roomId,
      content,
      to,
      at: now,
      order: this.#lastOrder,
      state: "waiting",
      tries: 0,
      refusedAt: null,
      problem: null,
    };
    this.#entries.set(client_id, entry);
    this.#save(entry);
    return entry;
  }

  /** @param {string} clientId */
  get(clientId) {
    return this.#entries.get(clientId);
  }

  /**
   * The chats of a room, or of all rooms, oldest first.
   * @param {number} [roomId]
   */
  list(roomId) {
    return [...this.#entries.values()].filter((entry) => roomId === undefined || entry.room_id === roomId);
  }

  /** The oldest waiting chat of each room in which none is under way, so that the order within a room stays. */
  ready() {
    /** @type {Map<number, OutboxEntry>} */
    const first = new Map();
    for (const entry of this.#entries.values()) {
      if (entry.state === "sending" || (entry.state === "waiting" && !first.has(entry.room_id))) {
        first.set(entry.room_id, entry);
      }
    }
    return [...first.values()].filter(({ state }) => state === "waiting");
  }

  /**
   * Marks a chat as waiting again, under the same client_id.
   * @param {OutboxEntry} entry
   */
  again(entry) {
    entry.state = "waiting";
    entry.problem = null;
    this.#save(entry);
  }

  /**
   * Marks a chat as failed; the person decides what happens to it.
   * @param {OutboxEntry} entry
   * @param {Problem} problem
   */
  failed(entry, problem) {
    entry.state = "failed";
    entry.problem = { code: problem.code, detail: problem.message };
    this.#save(entry);
  }

  /**
   * Removes a chat that is stored by the server, or discarded.
   * @param {string} clientId
   */
  remove(clientId) {
    this.#store?.remove(clientId);
    return this.#entries.delete(clientId);
  }

  /** @param {OutboxEntry} entry */
  #save(entry) {
    if (this.#entries.has(entry.client_id)) this.#store?.set(entry.client_id, entry);
  }
}

/**
 * A chat as it was kept, in a list; an empty list for a value that is no chat, which is then removed.
 * @param {JsonStore} store
 * @param {string} name
 * @returns {OutboxEntry[]}
 */
function restored(store, name) {
  const { client_id, room_id, content, to, at, order, state, tries, refusedAt, problem } = store.get(name) ?? {};
  if (client_id !== name || !Number.isInteger(room_id) || typeof content !== "string") {
    store.remove(name);
    return [];
  }
  const failed = state === "failed" && typeof problem?.code === "string";
  return [
    {
      client_id,
      room_id,
      content,
      to: to ? String(to) : null,
      at: Number(at) || 0,
      order: Number(order) || 0,
      state: failed ? "failed" : "waiting",
      tries: Number(tries) || 0,
      refusedAt: Number(refusedAt) || null,
      problem: failed ? problem : null,
    },
  ];
}

/** 80 random bits in hex. `randomUUID` exists only in pages that are served over TLS. */
function randomHex() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
