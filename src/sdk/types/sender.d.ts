export class Sender {
    /**
     * `onStored` gets the chat of each `ack`. `onChanged` gets each entry whose state changed, and why it was refused.
     * @param {object} options
     * @param {Outbox} options.outbox
     * @param {Connection} options.connection
     * @param {Partial<GiveUp>} [options.giveUp]
     * @param {() => number} [options.random]
     * @param {(roomId: number) => Chatter | null | undefined} options.person The other person, where they are known.
     * @param {(roomId: number, chat: Chat) => void} options.onStored
     * @param {(entry: OutboxEntry, problem?: Problem) => void} options.onChanged
     */
    constructor({ outbox, connection, giveUp, random, person, onStored, onChanged }: {
        outbox: Outbox;
        connection: Connection;
        giveUp?: Partial<GiveUp> | undefined;
        random?: (() => number) | undefined;
        person: (roomId: number) => Chatter | null | undefined;
        onStored: (roomId: number, chat: Chat) => void;
        onChanged: (entry: OutboxEntry, problem?: Problem) => void;
    });
    /** Sends what can be sent now. */
    flush(): void;
    /** Sends at once what waits for another try: on a new connection. */
    restart(): void;
    stop(): void;
    /**
     * Sends a failed chat again, with all its tries.
     * @param {OutboxEntry} entry
     */
    retry(entry: OutboxEntry): void;
    #private;
}
/**
 * When a chat is given up that the server may take later. `tries`: how often it failed by itself (500, a broken
 * connection while it was under way, no answer). `ms`: how long the server was too busy to take it (429, 503).
 */
export type GiveUp = {
    tries: number;
    ms: number;
};
import type { OutboxEntry } from "./outbox.js";
import type { Outbox } from "./outbox.js";
import type { Connection } from "./connection.js";
import type { Chatter } from "./protocol.js";
import type { Chat } from "./protocol.js";
import { Problem } from "./rest.js";
