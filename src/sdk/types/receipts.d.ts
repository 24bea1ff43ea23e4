export class Receipts {
    /** @param {(frame: object) => boolean} post Sends a frame; false while there is no connection. */
    constructor(post: (frame: object) => boolean);
    /** Starts over on a new connection: receipts that were sent on the last one may be lost. */
    restart(): void;
    stop(): void;
    /**
     * Sends how far a room was received and read, where that is further than the server knows.
     * @param {ReceiptRoom} room
     */
    update(room: ReceiptRoom): void;
    #private;
}
/**
 * The part of a room that decides its receipt.
 */
export type ReceiptRoom = {
    id: number;
    owner: unknown;
    isNotes: boolean;
    received: number;
    reading: number;
    ownMarks: Watermarks;
};
import type { Watermarks } from "./protocol.js";
