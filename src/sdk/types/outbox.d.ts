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
    /** @param {number} [max] How many chats it holds. */
    constructor(max?: number);
    /**
     * Takes over the chats that were kept in a storage, and keeps its own there from now on.
     * @param {JsonStore} store
     */
    load(store: JsonStore): this;
    /** Drops all chats, also from the storage. */
    forget(): void;
    /**
     * Adds a chat that waits to be sent.
     * @param {number} roomId
     * @param {string} content
     * @param {string | null} [to] The username of the other person.
     * @param {number} [now]
     * @returns {OutboxEntry}
     * @throws {Problem} `outbox_full`.
     */
    add(roomId: number, content: string, to?: string | null, now?: number): OutboxEntry;
    /** @param {string} clientId */
    get(clientId: string): OutboxEntry | undefined;
    /**
     * The chats of a room, or of all rooms, oldest first.
     * @param {number} [roomId]
     */
    list(roomId?: number): OutboxEntry[];
    /** The oldest waiting chat of each room in which none is under way, so that the order within a room stays. */
    ready(): OutboxEntry[];
    /**
     * Marks a chat as waiting again, under the same client_id.
     * @param {OutboxEntry} entry
     */
    again(entry: OutboxEntry): void;
    /**
     * Marks a chat as failed; the person decides what happens to it.
     * @param {OutboxEntry} entry
     * @param {Problem} problem
     */
    failed(entry: OutboxEntry, problem: Problem): void;
    /**
     * Removes a chat that is stored by the server, or discarded.
     * @param {string} clientId
     */
    remove(clientId: string): boolean;
    #private;
}
/**
 * A chat in the outbox. "waiting": it is sent as soon as the connection and the chats before it allow. "sending": the
 * server has not answered yet. "failed": it is not sent again unless the person retries it; `problem` says why.
 */
export type OutboxEntry = {
    client_id: string;
    room_id: number;
    content: string;
    /**
     * The username of the other person; null where it is not known.
     */
    to: string | null;
    /**
     * When the chat was written, in ms since 1970.
     */
    at: number;
    order: number;
    state: "waiting" | "sending" | "failed";
    /**
     * How often the server has not taken it.
     */
    tries: number;
    /**
     * When the server first refused it, in ms since 1970.
     */
    refusedAt: number | null;
    problem: {
        code: string;
        detail: string;
    } | null;
};
import type { JsonStore } from "./storage.js";
import { Problem } from "./rest.js";
