// @ts-check
// The parts of a client and how they work together. `ChatClient` is what programs see of them.

import { Api } from "./api.js";
import { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
import { Receipts } from "./receipts.js";
import { Rooms } from "./rooms.js";
import { Sender } from "./sender.js";
import { JsonStore, MemoryStorage } from "./storage.js";
import { Synchronizer } from "./sync.js";
import { TokenSource } from "./token.js";
import { Typing } from "./typing.js";

/**
 * @import { ClientOptions } from "./options.js"
 * @import { ConnectionState } from "./connection.js"
 * @import { OutboxEntry } from "./outbox.js"
 * @import { Change, Chat, Chatter, ServerFrame } from "./protocol.js"
 * @import { Problem } from "./rest.js"
 * @import { ChatRoom } from "./room.js"
 */

export class ClientCore {
  /** One's own account; null until it is known. */
  me = /** @type {Chatter | null} */ (null);
  tokens;
  connection;
  rooms;
  outbox;
  typing;
  api;
  sender;

  #storage;
  /** @type {JsonStore | null} */
  #owner = null;
  #emit;
  #receipts;
  #sync;

  /**
   * @param {ClientOptions} options
   * @param {(type: string, properties?: object) => void} emit Dispatches an event of the client.
   */
  constructor(options, emit) {
    const { getToken, token, me, storage = new MemoryStorage(), random, outboxMax, giveUp } = options;
    const webSocket = options.webSocket ?? globalThis.WebSocket;
    if (!webSocket) throw new TypeError("Pass a WebSocket as the option webSocket.");
    const base = options.base.replace(/\/$/, "");
    this.#storage = storage;
    this.#emit = emit;
    const tokens = (this.tokens = new TokenSource({ token, getToken }));
    const connection = (this.connection = new Connection({
      url: `${base.replace(/^http/, "ws")}/ws`,
      tokens,
      webSocket,
      random,
      onFrame: (frame) => this.#received(frame),
      onState: (state, unanswered) => this.#stateChanged(state, unanswered),
      onError: (error) => emit("warning", { error }),
    }));
    const post = (/** @type {object} */ frame) => connection.post(frame);
    this.#receipts = new Receipts(post);
    const rooms = (this.rooms = new Rooms({
      onUpdated: (room) => this.#receipts.update(room),
      onChanged: (room) => emit("room", { room }),
    }));
    this.typing = new Typing(post, (room) => rooms.changed(room));
    const fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.api = new Api({ base, tokens, fetch, rooms, onSignedOut: () => this.#signedOut() });
    const outbox = (this.outbox = new Outbox(outboxMax));
    this.sender = new Sender({
      outbox,
      connection,
      giveUp,
      random,
      person: (roomId) => rooms.byId.get(roomId)?.other,
      onStored: (roomId, chat) => this.put(rooms.byId.get(roomId), chat),
      onChanged: (entry, problem) => this.#entryChanged(entry, problem),
    });
    this.#sync = new Synchronizer({ connection, rooms, typing: this.typing, on: this.#syncHandlers() });
    if (me) this.#identify(me);
  }

  stop() {
    this.connection.stop();
    this.rooms.stop();
    this.#receipts.stop();
  }

  forget() {
    this.stop();
    this.rooms.forget();
    this.outbox.forget();
    this.#owner?.clear();
  }

  /** @param {string} token */
  authenticate(token) {
    // A refusal has no consequence: the server ends the connection when the old token expires.
    this.connection.ask({ type: "auth", token }).catch(() => {});
  }

  /**
   * Shows a stored chat at once; the cursor waits for its event.
   * @param {ChatRoom | undefined} room
   * @param {Chat} chat
   */
  put(room, chat) {
    room?.put(chat);
    this.rooms.changed(room);
  }

  /** @param {number} id */
  remove(id) {
    const room = this.rooms.byId.get(id);
    if (!room) return;
    this.rooms.remove(id);
    for (const { client_id } of this.outbox.list(id)) this.outbox.remove(client_id);
    this.#emit("rooms");
    this.#emit("room", { room });
  }

  #syncHandlers() {
    return {
      stored: (/** @type {Change} */ change) => {
        if ("client_id" in change && change.client_id && change.sender_id === this.rooms.me) {
          this.outbox.remove(change.client_id);
        }
      },
      chat: (/** @type {ChatRoom} */ room, /** @type {Chat} */ chat) => this.#emit("chat", { room, chat }),
      listed: () => {
        this.sender.restart();
        this.#emit("rooms");
      },
      removed: (/** @type {number} */ id) => this.remove(id),
      readRooms: () => this.#readRooms(),
      readRoom: (/** @type {number} */ id) => this.api.readRoom(id),
    };
  }

  async #readRooms() {
    await this.api.readRooms();
    this.sender.flush();
    this.#emit("rooms");
  }

  /** @param {Chatter} me */
  #identify(me) {
    if (!this.me) {
      const store = (/** @type {string} */ kind) => new JsonStore(this.#storage, `hyper-chat:${me.id}:${kind}:`);
      const owner = (this.#owner = store("me"));
      // In another epoch of the database the id may have been somebody else's.
      if ((owner.get("name") ?? me.username) !== me.username) {
        store("out").clear();
        store("room").clear();
      }
      owner.set("name", me.username);
      this.outbox.load(store("out"));
      this.rooms.load(store("room"), me.id);
    }
    this.me = { ...this.me, ...me };
  }

  #signedOut() {
    if (this.connection.state !== "signed-out") this.connection.stop("signed-out");
  }

  /** @param {ServerFrame} frame */
  #received(frame) {
    if (frame.type === "ready") {
      // The rooms of one account are not those of another: a token for another one is as good as none.
      const { id, username } = frame.chatter;
      if (this.me && (this.me.id !== id || this.me.username !== username)) return this.#signedOut();
      this.#identify(frame.chatter);
      this.rooms.enterEpoch(frame.epoch);
      this.#receipts.restart();
    }
    this.#sync.receive(frame);
  }

  /**
   * @param {ConnectionState} state
   * @param {boolean} unanswered
   */
  #stateChanged(state, unanswered) {
    if (state === "online") {
      this.tokens.watch((token) => this.authenticate(token));
    } else {
      this.tokens.unwatch();
      this.typing.reset();
      this.#sync.reset();
      this.sender.stop();
    }
    this.#emit("state");
    // To a browser a refused upgrade looks like a dead network. REST tells them apart, and reads the rooms meanwhile.
    if (state === "offline" && unanswered && this.me) this.#readRooms().catch(() => {});
  }

  /**
   * @param {OutboxEntry} entry
   * @param {Problem} [problem]
   */
  #entryChanged(entry, problem) {
    const room = this.rooms.byId.get(entry.room_id);
    if (problem?.code === "receiver_deleted") this.api.readRoom(entry.room_id).catch(() => {});
    if (problem && entry.state === "failed") this.#emit("failed", { room, entry, problem });
    this.rooms.changed(room);
  }
}
