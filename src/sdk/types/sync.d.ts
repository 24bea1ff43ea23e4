/**
 * The frames that resume these rooms, at most 500 rooms each.
 * @param {Pick<ChatRoom, "id" | "version">[]} rooms
 * @param {string} [epoch] The epoch of their versions.
 */
export function resumeFrames(rooms: Pick<ChatRoom, "id" | "version">[], epoch?: string): {
    epoch?: string | undefined;
    type: string;
    chatrooms: {
        [k: string]: number | null;
    };
}[];
export class Synchronizer {
    /**
     * @param {object} options
     * @param {Connection} options.connection
     * @param {Rooms} options.rooms
     * @param {Typing} options.typing
     * @param {object} options.on
     * @param {(change: Change) => void} options.on.stored A change came by an event.
     * @param {(room: ChatRoom, chat: Chat) => void} options.on.chat A chat of the other person is new on this device.
     * @param {() => void} options.on.listed `ready` and its `chatrooms` have named every room.
     * @param {(roomId: number) => void} options.on.removed
     * @param {() => Promise<void>} options.on.readRooms Reads all rooms by REST.
     * @param {(roomId: number) => Promise<unknown>} options.on.readRoom Reads a room by REST.
     */
    constructor({ connection, rooms, typing, on }: {
        connection: Connection;
        rooms: Rooms;
        typing: Typing;
        on: {
            stored: (change: Change) => void;
            chat: (room: ChatRoom, chat: Chat) => void;
            listed: () => void;
            removed: (roomId: number) => void;
            readRooms: () => Promise<void>;
            readRoom: (roomId: number) => Promise<unknown>;
        };
    });
    /** Forgets what was requested: the connection broke, and `ready` starts over. */
    reset(): void;
    /** @param {ServerFrame} frame */
    receive(frame: ServerFrame): void;
    #private;
}
import type { ChatRoom } from "./room.js";
import type { ServerFrame } from "./protocol.js";
import type { Connection } from "./connection.js";
import type { Rooms } from "./rooms.js";
import type { Typing } from "./typing.js";
import type { Change } from "./protocol.js";
import type { Chat } from "./protocol.js";
