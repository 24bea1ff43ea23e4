export class ChatWindow {
    /** @type {Chat[]} */
    chats: Chat[];
    /** Whether any page of history has come. */
    loaded: boolean;
    hasOlder: boolean;
    hasNewer: boolean;
    /**
     * The chat with this seq, where the window holds it.
     * @param {number} seq
     */
    get(seq: number): Chat | null;
    /** Whether the window ends at the newest chat of the room, or shows that there is none. */
    get endsAtNewest(): boolean;
    /**
     * Registers a request for a page of history; pass the result to `page`, then call `endRequest`.
     * @param {PageKind} kind
     * @returns {PageRequest}
     */
    beginRequest(kind: PageKind): PageRequest;
    /**
     * Takes in a page of history: "older" and "newer" lengthen the window, "newest" and "around" replace it. False for a
     * page that was requested for a window that has been replaced since.
     * @param {PageRequest} request
     * @param {Chat[]} chats
     * @param {boolean} hasMore Whether the history goes on behind the page. A page of large chats may be short.
     * @param {number} lastSeq The last seq of the room.
     */
    page({ kind, replacements }: PageRequest, chats: Chat[], hasMore: boolean, lastSeq: number): boolean;
    /** Forgets all chats, also those of pages that are on their way. */
    forget(): void;
    /** Ends a request, answered or not. */
    endRequest(): void;
    /**
     * Remembers a change for the page that is on its way.
     * @param {Change} change
     */
    note(change: Change): void;
    /**
     * @param {Chat[]} chats
     * @param {boolean} hasOlder
     * @param {boolean} hasNewer
     */
    replace(chats: Chat[], hasOlder: boolean, hasNewer: boolean): void;
    /**
     * Takes in a chat, unless it lies outside the window.
     * @param {Chat} chat
     * @param {number} lastSeq The last seq of the room.
     */
    upsert(chat: Chat, lastSeq: number): void;
    /** @param {number} seq */
    remove(seq: number): void;
    #private;
}
export type PageKind = "newest" | "around" | "older" | "newer";
export type PageRequest = {
    kind: PageKind;
    replacements: number;
};
import type { Chat } from "./protocol.js";
import type { Change } from "./protocol.js";
