/*
 * How to write a client of Hyper Chat: one socket for all rooms, nothing lost, nothing twice. No dependency; runs in
 * browsers and in Node (22 or newer, or 20 with --experimental-websocket).
 *
 *   const { token, chatter } = await signIn("https://chat.example", "ann", "correct horse");
 *   const client = new ChatClient({ base: "https://chat.example", token, me: chatter, storage: localStorage });
 *   client.addEventListener("chat", ({ room, chat }) => console.log(room.other.nickname, chat.content));
 *   client.start();
 *   client.send(room, "hi"); // any time, also offline: it leaves as soon as it can, once
 *
 * Why it holds, and where:
 * - A chat stays in the outbox until the server has acknowledged it. After a break it is sent again under the same
 *   client_id, which the server stores once (client/outbox.js).
 * - A room's cursor, its `version`, says up to where changes were taken in. After a break the rooms whose version in
 *   `ready` is another one are resumed. Only the socket moves a cursor (client/room.js).
 * - A connection that is silent is asked, one that is dead is given up, and the way back has jitter (client/connection.js).
 *
 * Events: `state`; `rooms` (the list changed); `room` {room} (something in it changed); `chat` {room, chat} (a chat of
 * the other's is new on this device).
 */

import { Connection } from "./client/connection.js";
import { MemoryStorage, Outbox, Shelf } from "./client/outbox.js";
import { Receipts } from "./client/receipts.js";
import { Problem, rest, signIn, signUp } from "./client/rest.js";
import { ChatRoom } from "./client/room.js";
import { Timers } from "./client/timers.js";

export { MemoryStorage, Problem, signIn, signUp };

const HISTORY_PAGE = 50;
const RESUME_ROOMS_MAX = 500;
const TYPING_MS = 3_000; // "typing" is said again after this long at the earliest
const TYPING_GONE_MS = 7_000; // the server forgets after 6 s; this is for a lost frame
const SNAPSHOT_ROOMS = 50;
const SNAPSHOT_CHARS = 20_000;

/** The rooms to resume, as frames of at most 500. */
export function resumeFrames(rooms) {
  const frames = [];
  for (let at = 0; at < rooms.length; at += RESUME_ROOMS_MAX) {
    const part = rooms.slice(at, at + RESUME_ROOMS_MAX);
    frames.push({ type: "resume", chatrooms: Object.fromEntries(part.map((room) => [room.id, room.version])) });
  }
  return frames;
}

export class ChatClient extends EventTarget {
  /** id -> ChatRoom; those whose `owner` is null are not fully known yet. */
  rooms = new Map();

  #base;
  #token;
  #fetch;
  #connection;
  #outbox;
  #receipts;
  #shelves;
  #timers = new Timers();
  #unnamed = new Set(); // rooms that were held when `ready` came and that it has not named yet
  #paused = new Set(); // ids of rooms whose outbox waits because the server asked for it
  #refreshing = new Set(); // ids of rooms that are being read again
  #unsaved = new Set(); // rooms that changed since they were last kept
  #typingSaid = new Map(); // room id -> when "typing" was last said

  /**
   * `me` is one's own chatter body. `storage` (Web Storage or the like) keeps the outbox and the cursors with what they
   * stand for, apart for each account.
   */
  constructor({ base, token, me, storage = new MemoryStorage(), random = Math.random, WebSocket, fetch }) {
    super();
    this.me = me;
    this.#base = base.replace(/\/$/, "");
    this.#token = token;
    this.#fetch = fetch ?? globalThis.fetch.bind(globalThis);
    const shelf = (kind) => new Shelf(storage, `hyper-chat:${me.id}:${kind}:`);
    this.#shelves = { rooms: shelf("room"), outbox: shelf("out") };
    this.#outbox = new Outbox(this.#shelves.outbox);
    this.#connection = new Connection({
      url: `${this.#base.replace(/^http/, "ws")}/ws`,
      token: () => this.#token,
      WebSocket: WebSocket ?? globalThis.WebSocket,
      random,
      onFrame: (frame) => this.#heard(frame),
      onState: (state, opened) => this.#stateChanged(state, opened),
    });
    this.#receipts = new Receipts((frame) => this.#connection.post(frame));
    this.#restore();
  }

  // ---- Life ----

  start() {
    this.#connection.connect();
  }

  /** Ends the connection; what is stored stays for the next start. */
  stop() {
    this.#keep();
    this.#connection.stop();
    this.#receipts.stop();
    this.#timers.cancelAll();
  }

  /** Also removes everything of this account from the storage: for signing out. */
  forget() {
    this.stop();
    for (const shelf of Object.values(this.#shelves)) for (const name of shelf.names()) shelf.remove(name);
  }

  /** A new token: when the state is "signed-out", or before the old one expires. */
  setToken(token) {
    this.#token = token;
    if (this.state === "online") this.#connection.ask({ type: "auth", token }).catch(() => {});
    else this.start();
  }

  /** The network or the device came back, or seems to be gone: look now instead of later. */
  wake() {
    this.#connection.wake();
  }

  /** "connecting", "online", "offline" (comes back at `retryAt`), "signed-out", "stopped" (`closeCode` says why). */
  get state() {
    return this.#connection.state;
  }

  get retryAt() {
    return this.#connection.retryAt;
  }

  get closeCode() {
    return this.#connection.code;
  }

  get unreadTotal() {
    let total = 0;
    for (const room of this.rooms.values()) total += room.unread;
    return total;
  }

  // ---- Chats ----

  /** Puts a chat into the outbox and sends it as soon as it can; its entry there. */
  send(room, content) {
    const entry = this.#outbox.add(room.id, content);
    this.#typingSaid.delete(room.id); // a chat ends it by itself
    this.#pump(room.id);
    this.#changed(room);
    return entry;
  }

  /** A room's chats that are not acknowledged: `state` "waiting", "sending" or, with `problem`, "failed". */
  pending(room) {
    return this.#outbox.of(room.id);
  }

  /** Sends a failed one again. */
  retry(room, entry) {
    this.#outbox.again(entry);
    this.#pump(room.id);
    this.#changed(room);
  }

  /** Gives a failed one up. */
  discard(room, entry) {
    this.#outbox.remove(entry.client_id);
    this.#changed(room);
  }

  async edit(room, chat, content) {
    this.#stored(room, await this.#connection.ask({ type: "edit", chat_id: chat.id, content }));
  }

  async delete(room, chat) {
    this.#stored(room, await this.#connection.ask({ type: "delete", chat_id: chat.id }));
  }

  /** The person has seen the room up to this seq. */
  read(room, seq) {
    if (seq <= room.reading) return;
    room.reading = seq;
    room.received = Math.max(room.received, seq);
    this.#changed(room);
  }

  /** The person types, or has stopped. Say it as often as you like. */
  typing(room, typing) {
    const said = this.#typingSaid.get(room.id);
    if (room.isNotes || (typing ? Date.now() - (said ?? 0) < TYPING_MS : said === undefined)) return;
    if (!this.#connection.post({ type: "typing", chatroom_id: room.id, typing })) return;
    if (typing) this.#typingSaid.set(room.id, Date.now());
    else this.#typingSaid.delete(room.id);
  }

  /** Sends the oldest chat that waits in a room, then the next. */
  async #pump(roomId) {
    const entry = this.#outbox.next(roomId);
    if (!entry || this.state !== "online" || this.#paused.has(roomId)) return;
    entry.state = "sending";
    const { client_id, content } = entry;
    try {
      const ack = await this.#connection.ask({ type: "send", chatroom_id: roomId, client_id, content });
      this.#outbox.remove(client_id);
      this.#stored(this.rooms.get(roomId), ack);
    } catch (problem) {
      this.#notSent(entry, problem);
    }
    this.#changed(this.rooms.get(roomId));
    this.#pump(roomId);
  }

  #notSent(entry, problem) {
    if (problem.code === "offline") return this.#outbox.again(entry); // the next `ready` goes on with it
    if (problem.code === "receiver_deleted") this.#refresh(entry.room_id).catch(() => {});
    if (!problem.passing) return this.#outbox.failed(entry, problem);
    this.#outbox.again(entry);
    this.#paused.add(entry.room_id);
    this.#timers.set(`outbox ${entry.room_id}`, (problem.retry_after_s ?? 1) * 1_000, () => {
      this.#paused.delete(entry.room_id);
      this.#pump(entry.room_id);
    });
  }

  /** An `ack`: its chat is shown at once; the cursor waits for the event. */
  #stored(room, { chat }) {
    room?.put(chat);
    this.#changed(room);
  }

  /** One's own chat came with an event: then it is stored, whether or not its `ack` ever comes. */
  #settle({ client_id, sender_id }) {
    if (client_id && sender_id === this.me.id) this.#outbox.remove(client_id);
  }

  // ---- Reading by REST ----

  /** The body of an answer; throws a Problem. */
  async rest(method, path, body) {
    return (await this.#rest(method, path, body)).json;
  }

  /** Fills a room's window: with the newest page or, with many unread, with the one around the first of them. */
  async open(room) {
    const read = room.ownMarks.read_seq;
    const held = room.loaded && (!room.hasOlder || room.unread === 0 || room.chats[0]?.seq <= read);
    if (held) return;
    await (room.unread > HISTORY_PAGE / 2 && read > 0 ? this.around(room, read) : this.newest(room));
  }

  newest(room) {
    return this.#history(room, "newest", "");
  }

  around(room, seq) {
    return this.#history(room, "around", `&around=${seq}`);
  }

  older(room) {
    return this.#history(room, "older", room.chats.length ? `&before=${room.chats[0].seq}` : "");
  }

  newer(room) {
    return this.#history(room, "newer", `&after=${room.chats.at(-1)?.seq ?? 0}`);
  }

  /** Chats of a room that contain the text, newest first. */
  search(room, query) {
    return this.rest("POST", `/api/chatrooms/${room.id}/chats/search?limit=50`, { query });
  }

  /** Chatters whose username begins so. */
  people(query) {
    return this.rest("GET", `/api/chatters?limit=20&query=${encodeURIComponent(query)}`);
  }

  /** The room with somebody, made where there is none. */
  async roomWith(chatterId) {
    try {
      const room = this.#body(await this.rest("POST", "/api/chatrooms", { opponent_id: chatterId }));
      this.#changed(room);
      return room;
    } catch (problem) {
      if (problem.code !== "chatroom_exists") throw problem;
      const known = this.rooms.get(problem.chatroom_id);
      return known?.owner ? known : this.#refresh(problem.chatroom_id);
    }
  }

  async deleteRoom(room) {
    await this.rest("DELETE", `/api/chatrooms/${room.id}`);
    this.#gone(room.id);
  }

  /** Changes one's own account. */
  async changeMe(changes) {
    this.me = await this.rest("PUT", "/api/chatters", changes);
    this.#emit("rooms");
  }

  async #history(room, kind, query) {
    const place = room.beginPage(kind);
    try {
      const path = `/api/chatrooms/${room.id}/chats?limit=${HISTORY_PAGE}${query}`;
      room.page(place, await this.rest("GET", path), HISTORY_PAGE);
    } finally {
      room.endPage();
    }
    this.#changed(room);
  }

  async #rest(method, path, body) {
    const token = this.#token;
    try {
      return await rest(this.#base, method, path, { token, body, fetch: this.#fetch });
    } catch (problem) {
      if (problem.signIn && token === this.#token && this.state !== "signed-out") this.#connection.stop("signed-out");
      throw problem;
    }
  }

  /** All rooms with their people, who is online, and their last chats. */
  async #readRooms() {
    for (let next = "/api/chatrooms?limit=200"; next;) {
      const page = await this.#rest("GET", next);
      for (const body of page.json) this.#body(body);
      next = page.next;
    }
    this.#emit("rooms");
  }

  async #refresh(roomId) {
    const room = this.#body(await this.rest("GET", `/api/chatrooms/${roomId}`));
    this.#changed(room);
    return room;
  }

  #body(body) {
    const room = this.#room(body.id);
    room.body(body);
    this.#receipts.consider(room);
    return room;
  }

  // ---- The socket ----

  #stateChanged(state, opened) {
    if (state !== "online") {
      this.#typingSaid.clear();
      for (const room of this.rooms.values()) room.resuming = room.typing = false;
    }
    this.#emit("state");
    // To a browser a refused upgrade looks like a dead network. REST can tell them apart, and shows the rooms meanwhile.
    if (state === "offline" && !opened) this.#readRooms().catch(() => {});
  }

  #heard(frame) {
    const room = this.rooms.get(frame.chatroom_id ?? frame.chat?.chatroom_id);
    switch (frame.type) {
      case "ready":
        return this.#ready(frame);
      case "chatrooms":
        return this.#list(frame);
      case "chatroom_created":
        return this.#changed(this.#body(frame.chatroom));
      case "chatroom_deleted":
        return this.#gone(frame.chatroom_id);
      case "presence":
        return this.#presence(frame);
    }
    if (room) this.#inRoom(room, frame);
  }

  #inRoom(room, frame) {
    switch (frame.type) {
      case "chat":
      case "chat_edited":
      case "chat_deleted":
        if (frame.chat) this.#settle(frame.chat);
        if (room.resuming) return; // `changes` are on their way and hold it
        return this.#took(room, room.live(frame));
      case "changes":
        frame.changes.forEach((change) => this.#settle(change));
        return this.#took(room, room.changes(frame));
      case "reset":
        frame.chats.forEach((chat) => this.#settle(chat));
        return this.#took(room, { gap: false, fresh: room.reset(frame) });
      case "receipt":
        room.receipt(frame);
        return this.#changed(room);
      case "typing":
        this.#typing(room, frame.typing);
        return this.#changed(room);
    }
  }

  #ready(frame) {
    this.me = { ...this.me, ...frame.chatter };
    this.#unnamed = new Set(this.rooms.keys());
    this.#receipts.restart();
    this.#paused.clear();
    this.#list(frame);
  }

  #list({ chatrooms, has_more: hasMore }) {
    const behind = [];
    for (const entry of chatrooms) {
      const room = this.#room(entry.id);
      if (!room.summary(entry)) behind.push(room);
      this.#unnamed.delete(room.id);
      this.#receipts.consider(room);
    }
    this.#resume(behind);
    if (hasMore) return;
    this.#unnamed.forEach((id) => this.#gone(id));
    for (const id of this.rooms.keys()) this.#pump(id);
    this.#emit("rooms");
    // Names, presence and last chats, now that nothing can be missed any more.
    this.#readRooms().catch(() => this.#timers.set("rooms", 2_000, () => this.#readRooms().catch(() => {})));
  }

  #resume(rooms) {
    for (const room of rooms) room.resuming = true;
    for (const frame of resumeFrames(rooms)) {
      this.#connection.ask(frame).catch(({ code, retry_after_s: wait = 1 }) => {
        if (code === "offline") return; // the next `ready` starts over
        const again = rooms.filter((room) => room.resuming && room.id in frame.chatrooms);
        if (again.length) this.#timers.set(`resume ${again[0].id}`, wait * 1_000, () => this.#resume(again));
      });
    }
  }

  /** What a room made of changes. */
  #took(room, { gap, fresh }) {
    if (gap && !room.resuming) this.#resume([room]);
    for (const chat of fresh) {
      if (chat.sender_id === this.me.id) continue;
      this.#typing(room, false);
      this.#emit("chat", { room, chat });
    }
    this.#changed(room);
    this.#mend(room);
  }

  /** Reads a room again whose held chats no longer tell its last one or its count. */
  async #mend(room) {
    if (!room.stale || this.#refreshing.has(room.id)) return;
    this.#refreshing.add(room.id);
    await this.#refresh(room.id).catch(() => {});
    this.#refreshing.delete(room.id);
  }

  #presence({ chatter_id: id, online, last_seen }) {
    for (const room of this.rooms.values()) {
      if (room.other?.id !== id) continue;
      Object.assign(room.other, { online, last_seen });
      this.#changed(room);
    }
  }

  #typing(room, typing) {
    room.typing = typing;
    if (!typing) return this.#timers.cancel(`typing ${room.id}`);
    this.#timers.set(`typing ${room.id}`, TYPING_GONE_MS, () => {
      room.typing = false;
      this.#changed(room);
    });
  }

  // ---- Rooms and what is kept of them ----

  #room(id) {
    if (!this.rooms.has(id)) this.rooms.set(id, new ChatRoom(id, this.me.id));
    return this.rooms.get(id);
  }

  #gone(id) {
    const room = this.rooms.get(id);
    if (!room) return;
    this.rooms.delete(id);
    for (const { client_id } of this.#outbox.of(id)) this.#outbox.remove(client_id);
    this.#shelves.rooms.remove(id);
    this.#emit("rooms");
    this.#emit("room", { room });
  }

  #changed(room) {
    if (!room) return;
    this.#receipts.consider(room);
    this.#unsaved.add(room);
    this.#emit("room", { room });
    if (!this.#timers.has("keep")) this.#timers.set("keep", 1_000, () => this.#keep());
  }

  /** Keeps cursors together with the chats they stand for: one is worth nothing without the other. */
  #keep() {
    for (const room of this.#unsaved) {
      if (!room.owner || room.resuming || this.rooms.get(room.id) !== room) continue;
      this.#shelves.rooms.set(room.id, room.snapshot(SNAPSHOT_CHARS));
    }
    this.#unsaved.clear();
    const ids = this.#shelves.rooms.names().map(Number);
    if (ids.length <= SNAPSHOT_ROOMS) return;
    const time = (id) => this.rooms.get(id)?.lastChatTime ?? "";
    ids.sort((a, b) => (time(a) < time(b) ? 1 : -1));
    for (const id of ids.slice(SNAPSHOT_ROOMS)) this.#shelves.rooms.remove(id);
  }

  #restore() {
    for (const id of this.#shelves.rooms.names().map(Number)) {
      const kept = this.#shelves.rooms.get(id);
      if (kept?.owner) this.rooms.set(id, ChatRoom.restored(id, this.me.id, kept));
    }
  }

  #emit(type, properties) {
    this.dispatchEvent(Object.assign(new Event(type), properties));
  }
}
