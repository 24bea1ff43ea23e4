export class ChatRoom {
    /**
     * @param {number} id
     * @param {number} me One's own chatter id.
     */
    constructor(id: number, me: number);
    id: number;
    /** The cursor: every change up to this version was applied. Null until the server names the room. */
    version: number | null;
    /** Null, like `opponent`, while only the room's numbers are known. */
    owner: Chatter | null;
    opponent: Chatter | null;
    lastSeq: number;
    /** The newest chat that is not deleted. */
    lastChat: Chat | null;
    lastChatTime: string;
    /** By the chatter's id; the other person's are absent where they hide them. @type {Map<number, Watermarks>} */
    receipts: Map<number, Watermarks>;
    /** The highest seq that reached this device. */
    received: number;
    /** The highest seq that was shown on this device. */
    reading: number;
    /** Changes of this room were asked for and are not complete yet. */
    resuming: boolean;
    /** The last chat or the count is unknown: the room has to be read again. */
    stale: boolean;
    /** The other person is typing. */
    typing: boolean;
    /** The window: consecutive chats, ascending by seq. */
    get chats(): Chat[];
    /** Whether any page of history has come. */
    get loaded(): boolean;
    /** Whether the history goes on before the window. */
    get hasOlder(): boolean;
    /** Whether the history goes on after the window. */
    get hasNewer(): boolean;
    /** The other person; oneself in notes to self; null while only the room's numbers are known. */
    get other(): Chatter | null;
    /** Whether the room is one's notes to self. */
    get isNotes(): boolean;
    /** How many chats of the other person are unread. */
    get unread(): number;
    /** One's own watermarks, as the server knows them. */
    get ownMarks(): Readonly<Watermarks>;
    /**
     * How far one's own chat has got.
     * @param {{seq: number}} chat
     * @returns {"sent" | "delivered" | "read"}
     */
    progress(chat: {
        seq: number;
    }): "sent" | "delivered" | "read";
    /** Forgets all but the id: the room may be another one in a new epoch of the database. */
    forget(): void;
    /**
     * Applies an entry of `ready` or `chatrooms`. False where changes between the cursor and the entry are missing.
     * @param {RoomSummary} entry
     */
    applySummary(entry: RoomSummary): boolean;
    /**
     * Applies a room as REST answers it. It never moves a cursor that exists.
     * @param {Chatroom} body
     */
    applyBody(body: Chatroom): void;
    /**
     * Applies a live event.
     * @param {ChatFrame | DeletedFrame} event
     * @returns {Applied}
     */
    applyEvent(event: ChatFrame | DeletedFrame): Applied;
    /**
     * Applies a page of `changes`, requested or not.
     * @param {ChangesFrame} frame
     * @returns {Applied}
     */
    applyChanges(frame: ChangesFrame): Applied;
    /**
     * Replaces the window by the newest page: too many changes are missing.
     * @param {ResetFrame} frame
     * @returns {Applied}
     */
    applyReset(frame: ResetFrame): Applied;
    /**
     * Applies a person's watermarks; one's own come with the counts that follow from them.
     * @param {ReceiptFrame | Omit<ReceiptFrame, "type" | "chatroom_id">} frame
     */
    applyReceipt(frame: ReceiptFrame | Omit<ReceiptFrame, "type" | "chatroom_id">): void;
    /**
     * Shows a chat of an `ack` or an answer at once; the cursor stays.
     * @param {Change} chat
     */
    put(chat: Change): void;
    /** @param {PageKind} kind Pass the result to `applyPage`, then call `endRequest`. */
    beginRequest(kind: PageKind): PageRequest;
    /**
     * Applies a page of history.
     * @param {PageRequest} request
     * @param {Chat[]} chats
     * @param {boolean} hasMore Whether the history goes on behind the page.
     */
    applyPage(request: PageRequest, chats: Chat[], hasMore: boolean): void;
    /** Ends a request, answered or not. */
    endRequest(): void;
    #private;
}
/**
 * `gap`: something before is missing. `added`: chats new here.
 */
export type Applied = {
    gap: boolean;
    added: Chat[];
};
import type { Chatter } from "./protocol.js";
import type { Chat } from "./protocol.js";
import type { Watermarks } from "./protocol.js";
import type { RoomSummary } from "./protocol.js";
import type { Chatroom } from "./protocol.js";
import type { ChatFrame } from "./protocol.js";
import type { DeletedFrame } from "./protocol.js";
import type { ChangesFrame } from "./protocol.js";
import type { ResetFrame } from "./protocol.js";
import type { ReceiptFrame } from "./protocol.js";
import type { Change } from "./protocol.js";
import type { PageKind } from "./window.js";
import type { PageRequest } from "./window.js";
