// @ts-check
// Applies the server's frames to the rooms, and asks for what a break or a gap left out.

import { Timers } from "./timers.js";

/**
 * @import { Connection } from "./connection.js"
 * @import { ChatFrame, Chat, Change, ChatroomsFrame, DeletedFrame, PresenceFrame, ServerFrame } from "./protocol.js"
 * @import { Problem } from "./rest.js"
 * @import { Applied, ChatRoom } from "./room.js"
 * @import { Rooms } from "./rooms.js"
 * @import { Typing } from "./typing.js"
 */

const RESUME_ROOMS_MAX = 500;
const RESUME_MS = 120_000;
const LOST_PAGE_S = 5;
const READ_AGAIN_MS = 2_000;

/**
 * The frames that resume these rooms, at most 500 rooms each.
 * @param {Pick<ChatRoom, "id" | "version">[]} rooms
 * @param {string} [epoch] The epoch of their versions.
 */
export function resumeFrames(rooms, epoch) {
  const frames = [];
  for (let at = 0; at < rooms.length; at += RESUME_ROOMS_MAX) {
    const part = rooms.slice(at, at + RESUME_ROOMS_MAX);
    const chatrooms = Object.fromEntries(part.map((room) => [room.id, room.version]));
    frames.push({ type: "resume", chatrooms, ...(epoch && { epoch }) });
  }
  return frames;
}

export class Synchronizer {
  #connection;
  #rooms;
  #typing;
  #on;
  #timers = new Timers();
  /** @type {Set<number>} Rooms that existed when `ready` came and that it has not named yet. */
  #unnamed = new Set();
  /** @type {Set<number>} Rooms that are being read again. */
  #reading = new Set();

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
  constructor({ connection, rooms, typing, on }) {
    this.#connection = connection;
    this.#rooms = rooms;
    this.#typing = typing;
    this.#on = on;
  }

  /** Forgets what was requested: the connection broke, and `ready` starts over. */
  reset() {
    this.#timers.cancelAll();
    for (const room of this.#rooms.byId.values()) room.resuming = room.typing = false;
  }

  /** @param {ServerFrame} frame */
  receive(frame) {
    switch (frame.type) {
      case "ready":
        this.#unnamed = new Set(this.#rooms.byId.keys());
        return this.#list(frame);
      case "chatrooms":
        return this.#list(frame);
      case "chatroom_created":
        return this.#rooms.changed(this.#rooms.apply(frame.chatroom));
      case "chatroom_deleted":
        return this.#on.removed(frame.chatroom_id);
      case "presence":
        return this.#presence(frame);
      case "chat":
      case "chat_edited":
        return this.#event(frame, frame.chat.chatroom_id);
      case "chat_deleted":
        return this.#event(frame, frame.chatroom_id);
    }
    const room = "chatroom_id" in frame ? this.#rooms.byId.get(frame.chatroom_id) : undefined;
    if (room) this.#inRoom(room, frame);
  }

  /**
   * @param {ChatFrame | DeletedFrame} frame
   * @param {number} roomId
   */
  #event(frame, roomId) {
    const room = this.#rooms.byId.get(roomId);
    if (!room) return;
    if ("chat" in frame) this.#on.stored(frame.chat);
    // A room that is being resumed gets the event with its `changes`.
    if (!room.resuming) this.#applied(room, room.applyEvent(frame));
  }

  /**
   * @param {ChatRoom} room
   * @param {ServerFrame} frame
   */
  #inRoom(room, frame) {
    switch (frame.type) {
      case "changes":
        this.#stored(frame.changes);
        return this.#applied(room, room.applyChanges(frame));
      case "reset":
        this.#stored(frame.chats);
        return this.#applied(room, room.applyReset(frame));
      case "receipt":
        room.applyReceipt(frame);
        return this.#rooms.changed(room);
      case "typing":
        this.#typing.show(room, frame.typing);
        return this.#rooms.changed(room);
    }
  }

  /** @param {Change[]} changes */
  #stored(changes) {
    for (const change of changes) this.#on.stored(change);
  }

  /** @param {Pick<ChatroomsFrame, "chatrooms" | "has_more">} frame */
  #list({ chatrooms, has_more: hasMore }) {
    const behind = [];
    for (const entry of chatrooms) {
      const room = this.#rooms.ensure(entry.id);
      if (!room.applySummary(entry)) behind.push(room);
      this.#unnamed.delete(room.id);
      this.#rooms.updated(room);
    }
    this.#resume(behind);
    if (hasMore) return;
    for (const id of this.#unnamed) this.#on.removed(id);
    this.#unnamed.clear();
    this.#on.listed();
    // Names, presence and last chats, now that no event can be missed any more.
    this.#readRooms(true);
  }

  /** @param {boolean} again Whether to try once more. */
  #readRooms(again) {
    this.#on.readRooms().catch(() => {
      if (again) this.#timers.set("rooms", READ_AGAIN_MS, () => this.#readRooms(false));
    });
  }

  /** @param {ChatRoom[]} rooms */
  #resume(rooms) {
    for (const room of rooms) room.resuming = true;
    for (const frame of resumeFrames(rooms, this.#rooms.epoch)) {
      const requested = rooms.filter((room) => room.id in frame.chatrooms);
      this.#connection.ask(frame, RESUME_MS).then(
        () => this.#resumeAgain(requested, LOST_PAGE_S),
        (/** @type {Problem} */ { code, retry_after_s = 1 }) => {
          if (code !== "offline") this.#resumeAgain(requested, retry_after_s); // else the next `ready` starts over
        },
      );
    }
  }

  /**
   * Resumes those of the rooms that are not complete.
   * @param {ChatRoom[]} rooms
   * @param {number} seconds
   */
  #resumeAgain(rooms, seconds) {
    const open = rooms.filter((room) => room.resuming && this.#rooms.byId.get(room.id) === room);
    if (open.length) this.#timers.set(`resume ${open[0]?.id}`, seconds * 1_000, () => this.#resume(open));
  }

  /**
   * Acts on what a room made of changes.
   * @param {ChatRoom} room
   * @param {Applied} applied
   */
  #applied(room, { gap, added }) {
    if (gap && !room.resuming) this.#resume([room]);
    for (const chat of added) {
      if (chat.sender_id === this.#rooms.me) continue;
      this.#typing.show(room, false);
      this.#on.chat(room, chat);
    }
    this.#rooms.changed(room);
    this.#readStale(room);
  }

  /**
   * Reads a room again whose last chat or count is unknown.
   * @param {ChatRoom} room
   */
  async #readStale(room) {
    if (!room.stale || this.#reading.has(room.id)) return;
    this.#reading.add(room.id);
    await this.#on.readRoom(room.id).catch(() => {});
    this.#reading.delete(room.id);
  }

  /** @param {PresenceFrame} frame */
  #presence({ chatter_id: id, online, last_seen }) {
    for (const room of this.#rooms.byId.values()) {
      if (room.other?.id !== id) continue;
      Object.assign(room.other, { online, last_seen });
      this.#rooms.changed(room);
    }
  }
}
