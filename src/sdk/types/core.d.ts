/**
 * @import { ClientOptions } from "./options.js"
 * @import { ConnectionState } from "./connection.js"
 * @import { OutboxEntry } from "./outbox.js"
 * @import { Change, Chat, Chatter, ServerFrame } from "./protocol.js"
 * @import { Problem } from "./rest.js"
 * @import { ChatRoom } from "./room.js"
 */
export class ClientCore {
    /**
     * @param {ClientOptions} options
     * @param {(type: string, properties?: object) => void} emit Dispatches an event of the client.
     */
    constructor(options: ClientOptions, emit: (type: string, properties?: object) => void);
    /** One's own account; null until it is known. */
    me: Chatter | null;
    tokens: TokenSource;
    connection: Connection;
    rooms: Rooms;
    outbox: Outbox;
    typing: Typing;
    api: Api;
    sender: Sender;
    stop(): void;
    forget(): void;
    /** @param {string} token */
    authenticate(token: string): void;
    /**
     * Shows a stored chat at once; the cursor waits for its event.
     * @param {ChatRoom | undefined} room
     * @param {Chat} chat
     */
    put(room: ChatRoom | undefined, chat: Chat): void;
    /** @param {number} id */
    remove(id: number): void;
    #private;
}
import type { Chatter } from "./protocol.js";
import { TokenSource } from "./token.js";
import { Connection } from "./connection.js";
import { Rooms } from "./rooms.js";
import { Outbox } from "./outbox.js";
import { Typing } from "./typing.js";
import { Api } from "./api.js";
import { Sender } from "./sender.js";
import type { ChatRoom } from "./room.js";
import type { Chat } from "./protocol.js";
import type { ClientOptions } from "./options.js";
