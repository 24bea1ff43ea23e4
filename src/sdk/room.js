// @ts-check
// One room as a client holds it: its cursor, its counts, both people's watermarks, and a window of its chats.
// Pure: no network, no clock, no page.

import { UnreadCount } from "./unread.js";
import { ChatWindow } from "./window.js";

/**
 * @import { Change, ChangesFrame, Chat, ChatFrame, Chatroom, Chatter, DeletedFrame } from "./protocol.js"
 * @import { ReceiptFrame, ResetFrame, RoomSummary, Watermarks } from "./protocol.js"
 * @import { PageKind, PageRequest } from "./window.js"
 */

/** @typedef {{gap: boolean, added: Chat[]}} Applied `gap`: something before is missing. `added`: chats new here. */

/** @type {Readonly<Watermarks>} */
const NOTHING = Object.freeze({ delivered_seq: 0, read_seq: 0 });

export class ChatRoom {
  id;
  /** The cursor: every change up to this version was applied. Null until the server names the room. */
  version = /** @type {number | null} */ (null);
  /** Null, like `opponent`, while only the room's numbers are known. */
  owner = /** @type {Chatter | null} */ (null);
  opponent = /** @type {Chatter | null} */ (null);
  lastSeq = 0;
  /** The newest chat that is not deleted. */
  lastChat = /** @type {Chat | null} */ (null);
  lastChatTime = "";
  /** By the chatter's id; the other person's are absent where they hide them. @type {Map<number, Watermarks>} */
  receipts = new Map();
  /** The highest seq that reached this device. */
  received = 0;
  /** The highest seq that was shown on this device. */
  reading = 0;
  /** Changes of this room were asked for and are not complete yet. */
  resuming = false;
  /** The last chat or the count is unknown: the room has to be read again. */
  stale = false;
  /** The other person is typing. */
  typing = false;

  #me;
  #unread = new UnreadCount();
  #window = new ChatWindow();

  /**
   * @param {number} id
   * @param {number} me One's own chatter id.
   */
  constructor(id, me) {
    this.id = id;
    this.#me = me;
  }

  /** The window: consecutive chats, ascending by seq. */
  get chats() {
    return this.#window.chats;
  }

  /** Whether any page of history has come. */
  get loaded() {
    return this.#window.loaded;
  }

  /** Whether the history goes on before the window. */
  get hasOlder() {
    return this.#window.hasOlder;
  }

  /** Whether the history goes on after the window. */
  get hasNewer() {
    return this.#window.hasNewer;
  }

  /** The other person; oneself in notes to self; null while only the room's numbers are known. */
  get other() {
    return this.owner?.id === this.#me ? this.opponent : this.owner;
  }

  /** Whether the room is one's notes to self. */
  get isNotes() {
    return this.owner !== null && this.owner.id === this.opponent?.id;
  }

  /** How many chats of the other person are unread. */
  get unread() {
    return this.isNotes || this.reading >= this.lastSeq ? 0 : this.#unread.value;
  }

  /** One's own watermarks, as the server knows them. */
  get ownMarks() {
    return this.receipts.get(this.#me) ?? NOTHING;
  }

  /**
   * How far one's own chat has got.
   * @param {{seq: number}} chat
   * @returns {"sent" | "delivered" | "read"}
   */
  progress(chat) {
    const marks = this.receipts.get(this.other?.id ?? 0) ?? NOTHING;
    if (this.isNotes) return "sent";
    return chat.seq <= marks.read_seq ? "read" : chat.seq <= marks.delivered_seq ? "delivered" : "sent";
  }

  /** Forgets all but the id: the room may be another one in a new epoch of the database. */
  forget() {
    Object.assign(this, new ChatRoom(this.id, this.#me));
    this.#unread = new UnreadCount();
    this.#window.forget();
  }

  /**
   * Applies an entry of `ready` or `chatrooms`. False where changes between the cursor and the entry are missing.
   * @param {RoomSummary} entry
   */
  applySummary(entry) {
    this.#setReceipts(entry.receipts);
    this.#unread.set(entry);
    this.lastSeq = Math.max(this.lastSeq, entry.last_seq);
    this.version ??= entry.version;
    return this.version === entry.version;
  }

  /**
   * Applies a room as REST answers it. It never moves a cursor that exists.
   * @param {Chatroom} body
   */
  applyBody(body) {
    const newer = body.version >= (this.version ?? 0);
    this.owner = body.owner;
    this.opponent = body.opponent;
    this.version ??= body.version;
    this.lastSeq = Math.max(this.lastSeq, body.last_seq);
    if (body.last_chat_time > this.lastChatTime) this.lastChatTime = body.last_chat_time;
    // A read that began before one's latest receipt counts chats that have been read since.
    const read = body.receipts[this.#me]?.read_seq ?? 0;
    if (read >= this.ownMarks.read_seq) this.#unread.set(body);
    this.#setReceipts(body.receipts);
    if (newer || (body.last_chat?.seq ?? 0) > (this.lastChat?.seq ?? 0)) this.lastChat = body.last_chat;
    this.received = Math.max(this.received, body.last_chat?.seq ?? 0);
    if (newer) this.stale = false;
  }

  /**
   * Applies a live event.
   * @param {ChatFrame | DeletedFrame} event
   * @returns {Applied}
   */
  applyEvent(event) {
    /** @type {Change} */
    const change =
      event.type === "chat_deleted"
        ? { id: event.chat_id, seq: event.seq, version: event.version, deleted: true }
        : event.chat;
    this.version ??= change.version - 1;
    if (change.version <= this.version) return { gap: false, added: [] };
    if (change.version > this.version + 1) return { gap: true, added: [] };
    this.version = change.version;
    return { gap: false, added: this.#apply(change) };
  }

  /**
   * Applies a page of `changes`, requested or not.
   * @param {ChangesFrame} frame
   * @returns {Applied}
   */
  applyChanges(frame) {
    const cursor = this.version ?? 0;
    if (cursor < frame.since) return { gap: true, added: [] };
    const added = frame.changes.flatMap((change) => (change.version > cursor ? this.#apply(change) : []));
    this.version = Math.max(cursor, frame.version);
    this.resuming = frame.has_more;
    return { gap: false, added };
  }

  /**
   * Replaces the window by the newest page: too many changes are missing.
   * @param {ResetFrame} frame
   * @returns {Applied}
   */
  applyReset(frame) {
    this.version = frame.version;
    this.resuming = false;
    this.#window.replace(frame.chats, (frame.chats[0]?.seq ?? 1) > 1, false);
    this.lastChat = frame.chats.at(-1) ?? null;
    return { gap: false, added: frame.chats.filter((chat) => this.#isNew(chat)) };
  }

  /**
   * Applies a person's watermarks; one's own come with the counts that follow from them.
   * @param {ReceiptFrame | Omit<ReceiptFrame, "type" | "chatroom_id">} frame
   */
  applyReceipt(frame) {
    const current = frame.chatter_id === this.#me ? this.ownMarks.read_seq : Infinity;
    this.#advance(frame.chatter_id, frame);
    // A receipt that a newer one overtook counts chats that have been read since.
    if (frame.version !== undefined && frame.read_seq >= current) this.#unread.set(frame);
  }

  /**
   * Shows a chat of an `ack` or an answer at once; the cursor stays.
   * @param {Change} chat
   */
  put(chat) {
    this.lastSeq = Math.max(this.lastSeq, chat.seq);
    if (chat.deleted) return this.#remove(chat.seq);
    this.#window.upsert(/** @type {Chat} */ (chat), this.lastSeq);
    this.#setLast(/** @type {Chat} */ (chat));
  }

  /** @param {PageKind} kind Pass the result to `applyPage`, then call `endRequest`. */
  beginRequest(kind) {
    return this.#window.beginRequest(kind);
  }

  /**
   * Applies a page of history.
   * @param {PageRequest} request
   * @param {Chat[]} chats
   * @param {boolean} hasMore Whether the history goes on behind the page.
   */
  applyPage(request, chats, hasMore) {
    if (!this.#window.page(request, chats, hasMore, this.lastSeq)) return;
    const newest = this.chats.at(-1);
    if (!this.hasNewer && newest) this.#setLast(newest);
    for (const { seq } of chats) this.received = Math.max(this.received, seq);
  }

  /** Ends a request, answered or not. */
  endRequest() {
    this.#window.endRequest();
  }

  /**
   * Applies one change above the cursor; the chat in a list, where it is new here.
   * @param {Change} change
   * @returns {Chat[]}
   */
  #apply(change) {
    this.#count(change); // before the window forgets who sent a deleted chat
    this.#window.note(change);
    const isNew = this.#isNew(change);
    this.put(change);
    return isNew && !change.deleted ? [/** @type {Chat} */ (change)] : [];
  }

  /** @param {Change} change */
  #isNew({ seq }) {
    const isNew = seq > this.received;
    this.received = Math.max(this.received, seq);
    return isNew;
  }

  /** @param {Change} change */
  #count(change) {
    if (!change.deleted) {
      const chat = /** @type {Chat} */ (change);
      if (chat.sender_id !== this.#me) this.#unread.add(chat);
      return;
    }
    // A deletion does not say who sent the chat.
    const chat = this.lastChat?.seq === change.seq ? this.lastChat : this.#window.get(change.seq);
    const isTheirs = chat && chat.sender_id !== this.#me;
    if (!this.#unread.remove(change, this.ownMarks.read_seq, isTheirs)) this.stale = true;
  }

  /** @param {Record<string, Watermarks>} receipts */
  #setReceipts(receipts) {
    for (const id of this.receipts.keys()) if (!receipts[id]) this.receipts.delete(id);
    for (const [id, marks] of Object.entries(receipts)) this.#advance(Number(id), marks);
  }

  /**
   * @param {number} id
   * @param {Watermarks} marks
   */
  #advance(id, { delivered_seq, read_seq }) {
    const current = this.receipts.get(id) ?? NOTHING;
    this.receipts.set(id, {
      delivered_seq: Math.max(current.delivered_seq, delivered_seq),
      read_seq: Math.max(current.read_seq, read_seq),
    });
  }

  /**
   * Makes a chat the last of the room, unless a later one is.
   * @param {Chat} chat
   */
  #setLast(chat) {
    if (chat.seq < (this.lastChat?.seq ?? 0)) return;
    if (chat.version < (this.lastChat?.seq === chat.seq ? this.lastChat.version : 0)) return;
    this.lastChat = chat;
    if (chat.create_time > this.lastChatTime) this.lastChatTime = chat.create_time;
  }

  /** @param {number} seq */
  #remove(seq) {
    this.#window.remove(seq);
    if (this.lastChat?.seq !== seq) return;
    const { endsAtNewest } = this.#window;
    this.lastChat = endsAtNewest ? (this.chats.at(-1) ?? null) : null;
    this.stale ||= !endsAtNewest;
  }
}
