export class UnreadCount {
    get value(): number;
    /**
     * Takes over the server's count. It holds at its version; only changes above that count on top of it.
     * @param {{unread_count?: number, version?: number, last_seq?: number}} count
     */
    set({ unread_count: unread, version, last_seq: lastSeq }: {
        unread_count?: number;
        version?: number;
        last_seq?: number;
    }): void;
    /**
     * Counts a chat of the other person.
     * @param {Chat} chat
     */
    add({ seq }: Chat): void;
    /**
     * Takes a deleted chat out of the count. False where that depends on a chat that the room does not hold.
     * @param {Change} deletion
     * @param {number} readSeq One's own watermark.
     * @param {boolean | null} isTheirs Whether the other person sent the chat; null where that is unknown.
     */
    remove({ seq, version }: Change, readSeq: number, isTheirs: boolean | null): boolean;
    #private;
}
import type { Chat } from "./protocol.js";
import type { Change } from "./protocol.js";
