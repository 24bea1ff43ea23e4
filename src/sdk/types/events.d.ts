/**
 * @import { OutboxEntry } from "./outbox.js"
 * @import { Chat } from "./protocol.js"
 * @import { Problem } from "./rest.js"
 * @import { ChatRoom } from "./room.js"
 */
/**
 * What `addEventListener` of a client listens to.
 * @typedef {object} ClientEvents
 * @property {Event} state The connection's state changed.
 * @property {Event} rooms The list of rooms changed, or one's own account.
 * @property {Event & {room: ChatRoom}} room Something in a room changed.
 * @property {Event & {room: ChatRoom, chat: Chat}} chat A chat of the other person is new on this device.
 * @property {Event & {room: ChatRoom | undefined, entry: OutboxEntry, problem: Problem}} failed A chat was given up;
 *   `retry` or `discard` its entry.
 * @property {Event & {error: unknown}} warning A frame could not be read, or the socket not be opened. The client goes
 *   on by itself.
 */
/**
 * An EventTarget whose events have types.
 * @template {Record<keyof Events, Event>} Events
 * @typedef {{
 *   addEventListener<T extends keyof Events>(type: T, listener: (event: Events[T]) => void,
 *     options?: boolean | {capture?: boolean, once?: boolean, passive?: boolean, signal?: AbortSignal}): void;
 *   removeEventListener<T extends keyof Events>(type: T, listener: (event: Events[T]) => void,
 *     options?: boolean | {capture?: boolean}): void;
 *   dispatchEvent(event: Event): boolean;
 * }} TypedEventTarget
 */
/** The base of the client: EventTarget, with the types of its events. */
export const ClientEventTarget: new () => TypedEventTarget<ClientEvents>;
/**
 * What `addEventListener` of a client listens to.
 */
export type ClientEvents = {
    /**
     * The connection's state changed.
     */
    state: Event;
    /**
     * The list of rooms changed, or one's own account.
     */
    rooms: Event;
    /**
     * Something in a room changed.
     */
    room: Event & {
        room: ChatRoom;
    };
    /**
     * A chat of the other person is new on this device.
     */
    chat: Event & {
        room: ChatRoom;
        chat: Chat;
    };
    /**
     * A chat was given up;
     * `retry` or `discard` its entry.
     */
    failed: Event & {
        room: ChatRoom | undefined;
        entry: OutboxEntry;
        problem: Problem;
    };
    /**
     * A frame could not be read, or the socket not be opened. The client goes
     * on by itself.
     */
    warning: Event & {
        error: unknown;
    };
};
/**
 * An EventTarget whose events have types.
 */
export type TypedEventTarget<Events extends Record<keyof Events, Event>> = {
    addEventListener<T extends keyof Events>(type: T, listener: (event: Events[T]) => void, options?: boolean | {
        capture?: boolean;
        once?: boolean;
        passive?: boolean;
        signal?: AbortSignal;
    }): void;
    removeEventListener<T extends keyof Events>(type: T, listener: (event: Events[T]) => void, options?: boolean | {
        capture?: boolean;
    }): void;
    dispatchEvent(event: Event): boolean;
};
import type { ChatRoom } from "./room.js";
import type { Chat } from "./protocol.js";
import type { OutboxEntry } from "./outbox.js";
import type { Problem } from "./rest.js";
