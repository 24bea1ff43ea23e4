export class Rooms {
    /**
     * `onUpdated` gets a room after anything in it changed; `onChanged` only where the program has to show it anew.
     * @param {{onUpdated: (room: ChatRoom) => void, onChanged: (room: ChatRoom) => void}} options
     */
    constructor(options: {
        onUpdated: (room: ChatRoom) => void;
        onChanged: (room: ChatRoom) => void;
    });
    /** @type {Map<number, ChatRoom>} Those whose `owner` is null are not fully known yet. */
    byId: Map<number, ChatRoom>;
    /** One's own chatter id; 0 until it is known. */
    me: number;
    /** The epoch of the database from which the rooms are; empty until it is known. */
    epoch: string;
    /**
     * Takes over the rooms that were kept for this account.
     * @param {JsonStore} store
     * @param {number} me
     */
    load(store: JsonStore, me: number): void;
    /** Removes what was kept, and keeps nothing more. */
    forget(): void;
    stop(): void;
    /**
     * Takes notice of the database's epoch. In a new one nothing of the rooms holds any more, so they are forgotten.
     * @param {string} [epoch] Absent from servers of earlier releases.
     */
    enterEpoch(epoch?: string): void;
    /**
     * The room with this id, created where it is new.
     * @param {number} id
     */
    ensure(id: number): ChatRoom;
    /**
     * Applies a room as REST answers it.
     * @param {Chatroom} body
     */
    apply(body: Chatroom): ChatRoom;
    /**
     * Handles a change that comes with many others; their end has an event of its own.
     * @param {ChatRoom} room
     */
    updated(room: ChatRoom): void;
    /**
     * Handles a change of one room: it is saved soon.
     * @param {ChatRoom | undefined} room
     */
    changed(room: ChatRoom | undefined): void;
    /** @param {number} id */
    remove(id: number): boolean;
    #private;
}
import { ChatRoom } from "./room.js";
import type { JsonStore } from "./storage.js";
import type { Chatroom } from "./protocol.js";
