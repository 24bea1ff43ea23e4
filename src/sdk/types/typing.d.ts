export class Typing {
    /**
     * @param {(frame: object) => boolean} post Sends a frame; false while there is no connection.
     * @param {(room: ChatRoom) => void} onChanged
     */
    constructor(post: (frame: object) => boolean, onChanged: (room: ChatRoom) => void);
    /**
     * Sends that the person types or has stopped, unless the server has it already.
     * @param {ChatRoom} room
     * @param {boolean} typing
     */
    send(room: ChatRoom, typing: boolean): void;
    /**
     * A chat ends one's own "typing" without a frame.
     * @param {ChatRoom} room
     */
    sent(room: ChatRoom): void;
    /**
     * Shows that the other person types or has stopped.
     * @param {ChatRoom} room
     * @param {boolean} typing
     */
    show(room: ChatRoom, typing: boolean): void;
    /** Forgets everything: the connection broke. */
    reset(): void;
    #private;
}
import type { ChatRoom } from "./room.js";
