// Chats that the server has not acknowledged yet, in a storage that outlives the page.

/** Web Storage that forgets: for programs without one. */
export class MemoryStorage {
  #items = new Map();

  get length() {
    return this.#items.size;
  }

  key(index) {
    return [...this.#items.keys()][index] ?? null;
  }

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, String(value));
  }

  removeItem(key) {
    this.#items.delete(key);
  }
}

/** JSON under one prefix of a Web Storage. One key a thing, so that two tabs do not overwrite each other's. */
export class Shelf {
  #storage;
  #prefix;

  constructor(storage, prefix) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  names() {
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index));
    return keys.filter((key) => key?.startsWith(this.#prefix)).map((key) => key.slice(this.#prefix.length));
  }

  get(name) {
    try {
      return JSON.parse(this.#storage.getItem(this.#prefix + name));
    } catch {
      return null;
    }
  }

  set(name, value) {
    try {
      this.#storage.setItem(this.#prefix + name, JSON.stringify(value));
    } catch {
      // Full, or not allowed: then it lasts as long as the page.
    }
  }

  remove(name) {
    this.#storage.removeItem(this.#prefix + name);
  }
}

export class Outbox {
  #shelf;
  #entries = new Map(); // client_id -> entry, oldest first

  constructor(shelf) {
    this.#shelf = shelf;
    const kept = shelf
      .names()
      .map((name) => shelf.get(name))
      .filter(Boolean);
    for (const entry of kept.sort((a, b) => a.order - b.order)) this.#entries.set(entry.client_id, entry);
  }

  /** A new chat: `{client_id, room_id, content, at, order, state}`, where `state` is "waiting". */
  add(roomId, content, now = Date.now()) {
    const last = [...this.#entries.values()].at(-1)?.order ?? 0;
    const order = Math.max(now, last + 1);
    const clientId = `${order.toString(36)}-${random()}`;
    const entry = { client_id: clientId, room_id: roomId, content, at: now, order, state: "waiting" };
    this.#entries.set(clientId, entry);
    this.#keep(entry);
    return entry;
  }

  get(clientId) {
    return this.#entries.get(clientId);
  }

  of(roomId) {
    return [...this.#entries.values()].filter((entry) => entry.room_id === roomId);
  }

  /** The chat to send now in a room; none while one is under way, so that their order stays. */
  next(roomId) {
    const here = this.of(roomId);
    return here.some(({ state }) => state === "sending") ? undefined : here.find(({ state }) => state === "waiting");
  }

  /** The connection broke or the server could not take it now: it is sent again, under the same client_id. */
  again(entry) {
    entry.state = "waiting";
    delete entry.problem;
    this.#keep(entry);
  }

  /** It will never be taken as it is; the person decides. */
  failed(entry, problem) {
    entry.state = "failed";
    entry.problem = { code: problem.code, detail: problem.message };
    this.#keep(entry);
  }

  /** Stored by the server, or given up. */
  remove(clientId) {
    this.#shelf.remove(clientId);
    return this.#entries.delete(clientId);
  }

  #keep(entry) {
    if (this.#entries.has(entry.client_id)) this.#shelf.set(entry.client_id, entry);
  }
}

/** 80 random bits; `randomUUID` is for pages served over TLS only. */
function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
