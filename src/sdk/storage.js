// @ts-check
// What the client keeps between two starts, in Web Storage or any object with the same methods.

import { parseJson } from "./rest.js";

/**
 * The part of the Web Storage interface that the client uses.
 * @typedef {object} StorageLike
 * @property {number} length
 * @property {(index: number) => string | null} key
 * @property {(key: string) => string | null} getItem
 * @property {(key: string, value: string) => void} setItem
 * @property {(key: string) => void} removeItem
 */

/**
 * A storage that lasts as long as the program.
 * @implements {StorageLike}
 */
export class MemoryStorage {
  /** @type {Map<string, string>} */
  #items = new Map();

  get length() {
    return this.#items.size;
  }

  /** @param {number} index */
  key(index) {
    return [...this.#items.keys()][index] ?? null;
  }

  /** @param {string} key */
  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  /**
   * @param {string} key
   * @param {string} value
   */
  setItem(key, value) {
    this.#items.set(key, String(value));
  }

  /** @param {string} key */
  removeItem(key) {
    this.#items.delete(key);
  }
}

/**
 * JSON values under one prefix of a storage. Each value has its own key, so two tabs do not overwrite each other. A
 * storage that is full, forbidden or garbled never throws: the values then last as long as the page.
 */
export class JsonStore {
  #storage;
  #prefix;

  /**
   * @param {StorageLike} storage
   * @param {string} prefix
   */
  constructor(storage, prefix) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  /** @returns {string[]} */
  names() {
    return (
      attempt(() => {
        const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index) ?? "");
        return keys.filter((key) => key.startsWith(this.#prefix)).map((key) => key.slice(this.#prefix.length));
      }) ?? []
    );
  }

  /**
   * @param {string} name
   * @returns {any} `undefined` where there is no readable value.
   */
  get(name) {
    return parseJson(attempt(() => this.#storage.getItem(this.#prefix + name)));
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  set(name, value) {
    attempt(() => this.#storage.setItem(this.#prefix + name, JSON.stringify(value)));
  }

  /** @param {string} name */
  remove(name) {
    attempt(() => this.#storage.removeItem(this.#prefix + name));
  }

  clear() {
    for (const name of this.names()) this.remove(name);
  }
}

/**
 * @template T
 * @param {() => T} run
 */
function attempt(run) {
  try {
    return run();
  } catch {
    return undefined;
  }
}
