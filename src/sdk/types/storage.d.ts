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
export class MemoryStorage implements StorageLike {
    get length(): number;
    /** @param {number} index */
    key(index: number): string | null;
    /** @param {string} key */
    getItem(key: string): string | null;
    /**
     * @param {string} key
     * @param {string} value
     */
    setItem(key: string, value: string): void;
    /** @param {string} key */
    removeItem(key: string): void;
    #private;
}
/**
 * JSON values under one prefix of a storage. Each value has its own key, so two tabs do not overwrite each other. A
 * storage that is full, forbidden or garbled never throws: the values then last as long as the page.
 */
export class JsonStore {
    /**
     * @param {StorageLike} storage
     * @param {string} prefix
     */
    constructor(storage: StorageLike, prefix: string);
    /** @returns {string[]} */
    names(): string[];
    /**
     * @param {string} name
     * @returns {any} `undefined` where there is no readable value.
     */
    get(name: string): any;
    /**
     * @param {string} name
     * @param {unknown} value
     */
    set(name: string, value: unknown): void;
    /** @param {string} name */
    remove(name: string): void;
    clear(): void;
    #private;
}
/**
 * The part of the Web Storage interface that the client uses.
 */
export type StorageLike = {
    length: number;
    key: (index: number) => string | null;
    getItem: (key: string) => string | null;
    setItem: (key: string, value: string) => void;
    removeItem: (key: string) => void;
};
