declare const ChatClient_base: new () => import("./events.js").TypedEventTarget<import("./events.js").ClientEvents>;
/**
 * @import { ClientOptions } from "./options.js"
 * @import { OutboxEntry } from "./outbox.js"
 * @import { Chat, Chatter } from "./protocol.js"
 * @import { ChatRoom } from "./room.js"
 */
/** A client of one account, on one device. Its events are those of `ClientEvents`. */
export class ChatClient extends ChatClient_base {
    /** @param {ClientOptions} options */
    constructor(options: ClientOptions);
    /** One's own account; null until the first connection, unless it was given. */
    get me(): Chatter | null;
    /** All rooms by id. Those whose `owner` is null are not fully known yet. */
    get rooms(): Map<number, ChatRoom>;
    /** The state of the connection. */
    get state(): import("./connection.js").ConnectionState;
    /** When the next attempt is made, in ms since 1970, while the state is "offline". */
    get retryAt(): number;
    /** The code of the last close: why the state is "stopped". */
    get closeCode(): number;
    /** How many chats are unread, over all rooms. */
    get unreadTotal(): number;
    /** Connects, and from then on reconnects by itself. */
    start(): void;
    /** Ends the connection. The storage keeps the outbox and the rooms for the next start. */
    stop(): void;
    /** Stops, and removes everything of this account from the storage: for signing out. */
    forget(): void;
    /**
     * Takes a new token: where the state is "signed-out", or before the old one expires.
     * @param {string} token
     */
    setToken(token: string): void;
    /** Reconnects or probes now: the network or the device came back, or seems to be gone. */
    wake(): void;
    /**
     * Puts a chat into the outbox, also without a connection, and sends it as soon as possible.
     * @param {ChatRoom} room
     * @param {string} content
     * @returns {OutboxEntry}
     * @throws {Problem} `outbox_full`.
     */
    send(room: ChatRoom, content: string): OutboxEntry;
    /**
     * The chats of a room, or of all rooms, that the server has not acknowledged; oldest first.
     * @param {ChatRoom} [room]
     */
    pending(room?: ChatRoom): OutboxEntry[];
    /**
     * Sends a failed chat again.
     * @param {OutboxEntry} entry
     */
    retry(entry: OutboxEntry): void;
    /**
     * Removes a chat from the outbox, unless it is under way.
     * @param {OutboxEntry} entry
     */
    discard(entry: OutboxEntry): void;
    /**
     * Changes one's own chat.
     * @param {ChatRoom} room
     * @param {Chat} chat
     * @param {string} content
     */
    edit(room: ChatRoom, chat: Chat, content: string): Promise<void>;
    /**
     * Deletes one's own chat, for both people.
     * @param {ChatRoom} room
     * @param {Chat} chat
     */
    delete(room: ChatRoom, chat: Chat): Promise<void>;
    /**
     * Marks a room as read up to this seq.
     * @param {ChatRoom} room
     * @param {number} seq
     */
    markRead(room: ChatRoom, seq: number): void;
    /**
     * Shows the other person that one types, or has stopped. It may be called with every key.
     * @param {ChatRoom} room
     * @param {boolean} typing
     */
    setTyping(room: ChatRoom, typing: boolean): void;
    /**
     * Fills a room's window: with the newest page or, with many unread, with the one around the first of them.
     * @param {ChatRoom} room
     */
    open(room: ChatRoom): Promise<void>;
    /**
     * Replaces a room's window by the newest page.
     * @param {ChatRoom} room
     */
    newest(room: ChatRoom): Promise<void>;
    /**
     * Replaces a room's window by the page around a chat.
     * @param {ChatRoom} room
     * @param {number} seq
     */
    around(room: ChatRoom, seq: number): Promise<void>;
    /**
     * Lengthens a room's window into the past.
     * @param {ChatRoom} room
     */
    older(room: ChatRoom): Promise<void>;
    /**
     * Lengthens a room's window towards the newest chat.
     * @param {ChatRoom} room
     */
    newer(room: ChatRoom): Promise<void>;
    /**
     * Chats of a room that contain a text, newest first; at most 50.
     * @param {ChatRoom} room
     * @param {string} query
     * @returns {Promise<Chat[]>}
     */
    search(room: ChatRoom, query: string): Promise<Chat[]>;
    /**
     * The room with a person, created where there is none.
     * @param {number} chatterId
     * @returns {Promise<ChatRoom>}
     */
    roomWith(chatterId: number): Promise<ChatRoom>;
    /**
     * Deletes a room, for both people.
     * @param {ChatRoom} room
     */
    deleteRoom(room: ChatRoom): Promise<void>;
    /**
     * People whose username begins with a text; at most 20.
     * @param {string} query
     * @returns {Promise<Chatter[]>}
     */
    findPeople(query: string): Promise<Chatter[]>;
    /**
     * Changes one's own account.
     * @param {{nickname?: string, show_last_seen?: boolean, show_receipts?: boolean}} changes
     */
    updateMe(changes: {
        nickname?: string;
        show_last_seen?: boolean;
        show_receipts?: boolean;
    }): Promise<void>;
    /**
     * Any other request of the REST API: the body of the answer.
     * @param {string} method
     * @param {string} path
     * @param {unknown} [body]
     * @returns {Promise<any>}
     */
    rest(method: string, path: string, body?: unknown): Promise<any>;
    #private;
}
import type { Chatter } from "./protocol.js";
import type { ChatRoom } from "./room.js";
import type { OutboxEntry } from "./outbox.js";
import type { Chat } from "./protocol.js";
import type { ClientOptions } from "./options.js";
export {};
