export class Api {
    /**
     * `onSignedOut` is called where the server refuses the newest token.
     * @param {object} options
     * @param {string} options.base
     * @param {TokenSource} options.tokens
     * @param {typeof fetch} options.fetch
     * @param {Rooms} options.rooms
     * @param {() => void} options.onSignedOut
     */
    constructor(options: {
        base: string;
        tokens: TokenSource;
        fetch: typeof fetch;
        rooms: Rooms;
        onSignedOut: () => void;
    });
    /**
     * The body of an answer.
     * @param {string} method
     * @param {string} path
     * @param {unknown} [body]
     * @returns {Promise<any>}
     */
    rest(method: string, path: string, body?: unknown): Promise<any>;
    /**
     * Fills a room's window: with the newest page or, with many unread, with the one around the first of them.
     * @param {ChatRoom} room
     */
    open(room: ChatRoom): Promise<void>;
    /** @param {ChatRoom} room */
    newest(room: ChatRoom): Promise<void>;
    /**
     * @param {ChatRoom} room
     * @param {number} seq
     */
    around(room: ChatRoom, seq: number): Promise<void>;
    /** @param {ChatRoom} room */
    older(room: ChatRoom): Promise<void>;
    /** @param {ChatRoom} room */
    newer(room: ChatRoom): Promise<void>;
    /** Reads all rooms with their people, who is online, and their last chats. */
    readRooms(): Promise<void>;
    /**
     * Searches a room until a page of chats is found. The server examines a part of a long room with each request.
     * @param {ChatRoom} room
     * @param {string} query
     * @returns {Promise<Chat[]>}
     */
    search(room: ChatRoom, query: string): Promise<Chat[]>;
    /** @param {number} id */
    readRoom(id: number): Promise<ChatRoom>;
    /** @param {number} chatterId */
    roomWith(chatterId: number): Promise<ChatRoom>;
    #private;
}
import type { ChatRoom } from "./room.js";
import type { Chat } from "./protocol.js";
import type { TokenSource } from "./token.js";
import type { Rooms } from "./rooms.js";
