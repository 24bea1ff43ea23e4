// One room as a client holds it: its cursor, its counts, how far the two have got, and a window of its chats.
// Pure: no network, no clock, no page. `chat-client.js` feeds it.

/** A window holds at most this many chats; what scrolls out at the far end is read again when it is needed. */
const WINDOW_MAX = 400;

const NOTHING = Object.freeze({ delivered_seq: 0, read_seq: 0 });

export class ChatRoom {
  #fresh = new Set(); // seqs of the other's chats that came after the server counted
  #gone = new Map(); // seq -> version of counted chats that were deleted after it
  #late = new Map(); // changes that came while a page of history was on its way
  #pages = 0;
  #window = 0;

  /** `me` is one's own chatter id. */
  constructor(id, me) {
    this.id = id;
    this.me = me;
    /** The cursor: everything up to this version has been taken in. Null until the room is first heard of. */
    this.version = null;
    this.owner = null;
    this.opponent = null;
    this.lastSeq = 0;
    this.lastChat = null;
    this.lastChatTime = "";
    /** chatter id -> { delivered_seq, read_seq }; the other's is absent where they do not show it. */
    this.receipts = new Map();
    this.counted = { unread: 0, version: -1, lastSeq: 0 };
    /** The highest seq that reached this device, and the highest that was shown on it. */
    this.received = 0;
    this.reading = 0;
    /** Changes of this room were asked for and are not complete yet. */
    this.resuming = false;
    /** What is held no longer tells the last chat or the count: read the room again. */
    this.stale = false;
    this.typing = false;
    /** The window: consecutive chats, ascending by seq. `loaded` once any page of history has come. */
    this.chats = [];
    this.loaded = false;
    this.hasOlder = true;
    this.hasNewer = false;
  }

  /** The other person; oneself in notes to self; null while only numbers of the room are known. */
  get other() {
    return this.owner?.id === this.me ? this.opponent : this.owner;
  }

  get isNotes() {
    return this.owner !== null && this.owner.id === this.opponent.id;
  }

  get unread() {
    if (this.isNotes || this.reading >= this.lastSeq) return 0;
    return Math.max(0, this.counted.unread + this.#fresh.size - this.#gone.size);
  }

  get ownMarks() {
    return this.receipts.get(this.me) ?? NOTHING;
  }

  /** "sent", "delivered" or "read": how far one's own chat has got. */
  progress(chat) {
    const marks = this.receipts.get(this.other?.id) ?? NOTHING;
    if (this.isNotes) return "sent";
    return chat.seq <= marks.read_seq ? "read" : chat.seq <= marks.delivered_seq ? "delivered" : "sent";
  }

  /** A chat that is held, by its seq. */
  chat(seq) {
    if (this.lastChat?.seq === seq) return this.lastChat;
    const at = this.#place(seq);
    return this.chats[at]?.seq === seq ? this.chats[at] : null;
  }

  /** An entry of `ready` or `chatrooms`. False when changes are missing between the cursor and it. */
  summary(entry) {
    this.#marks(entry.receipts);
    this.#counts(entry);
    this.lastSeq = Math.max(this.lastSeq, entry.last_seq);
    this.version ??= entry.version;
    return this.version === entry.version;
  }

  /** A room as REST gives it. It never moves the cursor of a room that has one. */
  body(body) {
    const newer = body.version >= (this.version ?? 0);
    this.owner = body.owner;
    this.opponent = body.opponent;
    this.version ??= body.version;
    this.lastSeq = Math.max(this.lastSeq, body.last_seq);
    if (body.last_chat_time > this.lastChatTime) this.lastChatTime = body.last_chat_time;
    // A read that began before one's latest receipt counts chats that have been read since.
    const read = body.receipts[this.me]?.read_seq ?? 0;
    if (read >= this.ownMarks.read_seq) this.#counts(body);
    this.#marks(body.receipts);
    if (newer || (body.last_chat?.seq ?? 0) > (this.lastChat?.seq ?? 0)) this.lastChat = body.last_chat;
    this.received = Math.max(this.received, body.last_chat?.seq ?? 0);
    if (newer) this.stale = false;
  }

  /**
   * A live `chat`, `chat_edited` or `chat_deleted`. `gap` when something before it is missing, else `fresh`: the
   * chats that are new here.
   */
  live(event) {
    const { chat_id: id, seq, version } = event;
    const change = event.type === "chat_deleted" ? { id, seq, version, deleted: true } : event.chat;
    this.version ??= change.version - 1;
    if (change.version <= this.version) return { gap: false, fresh: [] };
    if (change.version > this.version + 1) return { gap: true, fresh: [] };
    this.version = change.version;
    return { gap: false, fresh: this.#take(change) };
  }

  /** A page of `changes`, asked for or not. */
  changes(frame) {
    if ((this.version ?? 0) < frame.since) return { gap: true, fresh: [] };
    const fresh = [];
    for (const change of frame.changes) {
      if (change.version > this.version) fresh.push(...this.#take(change));
    }
    this.version = Math.max(this.version, frame.version);
    this.resuming = frame.has_more;
    return { gap: false, fresh };
  }

  /** Too far behind for changes: the newest page instead of all that is held. */
  reset(frame) {
    this.version = frame.version;
    this.resuming = false;
    this.#replace(frame.chats, (frame.chats[0]?.seq ?? 1) > 1, false);
    this.lastChat = frame.chats.at(-1) ?? null;
    return frame.chats.filter((chat) => this.#isFresh(chat));
  }

  /** Somebody's watermarks; one's own come with the counts that follow from them. */
  receipt(frame) {
    const known = frame.chatter_id === this.me ? this.ownMarks.read_seq : Infinity;
    this.#advance(frame.chatter_id, frame);
    // One that another overtook on its way counts chats that have been read since.
    if (frame.version !== undefined && frame.read_seq >= known) this.#counts(frame);
  }

  /** A chat that an `ack` or an answer brought: held at once, but the cursor stays. */
  put(chat) {
    this.lastSeq = Math.max(this.lastSeq, chat.seq);
    if (chat.deleted) return this.#remove(chat.seq);
    this.#upsert(chat);
    this.#show(chat);
  }

  /** Before a page of history is asked for; give what this returns to `page` and `endPage`. */
  beginPage(kind) {
    this.#pages += 1;
    return { kind, window: this.#window };
  }

  /** A page of history: `kind` "older" and "newer" lengthen the window, "newest" and "around" replace it. */
  page({ kind, window }, chats, limit) {
    if (window !== this.#window) return; // the window was replaced meanwhile
    const full = chats.length >= limit;
    if (kind === "newest") this.#replace(chats, full, false);
    if (kind === "around") this.#replace(chats, (chats[0]?.seq ?? 1) > 1, (chats.at(-1)?.seq ?? 0) < this.lastSeq);
    if (kind === "older") {
      this.chats = [...chats.filter((chat) => chat.seq < (this.chats[0]?.seq ?? Infinity)), ...this.chats];
      this.hasOlder = full;
      if (this.chats.length > WINDOW_MAX) this.hasNewer = true;
      this.chats.length = Math.min(this.chats.length, WINDOW_MAX);
    }
    if (kind === "newer") {
      this.chats.push(...chats.filter((chat) => chat.seq > (this.chats.at(-1)?.seq ?? 0)));
      this.hasNewer = full;
      this.#trimOlder();
    }
    // What changed while the page was on its way may be newer than the page.
    for (const change of this.#late.values()) change.deleted ? this.#remove(change.seq) : this.#upsert(change);
    if (!this.hasNewer && this.chats.length) this.#show(this.chats.at(-1));
    for (const chat of chats) this.received = Math.max(this.received, chat.seq);
  }

  /** The page came, or did not. */
  endPage() {
    this.#pages -= 1;
    if (this.#pages === 0) this.#late.clear();
  }

  /** What to keep on this device: the cursor together with what it stands for, within `chars`. */
  snapshot(chars) {
    const { version, owner, opponent, lastSeq, lastChat, lastChatTime, received } = this;
    let chats = this.loaded && !this.hasNewer ? this.chats.slice(-50) : [];
    while (chats.reduce((sum, chat) => sum + chat.content.length, 0) > chars) chats = chats.slice(1);
    return { version, owner, opponent, lastSeq, lastChat, lastChatTime, received, chats };
  }

  /** The room from such a snapshot. */
  static restored(id, me, { chats, ...kept }) {
    const room = Object.assign(new ChatRoom(id, me), kept);
    if (chats.length) room.#replace(chats, chats[0].seq > 1, false);
    return room;
  }

  /** Takes in one change above the cursor; the chat, when it is new here. */
  #take(change) {
    this.#count(change); // before the window forgets whose it was
    if (this.#pages > 0) this.#late.set(change.seq, change);
    const fresh = this.#isFresh(change);
    this.put(change);
    return fresh && !change.deleted ? [change] : [];
  }

  #isFresh(change) {
    const fresh = change.seq > this.received;
    this.received = Math.max(this.received, change.seq);
    return fresh;
  }

  /** Counts come with the version and the last seq at which they held; only what lies above changes them. */
  #counts({ unread_count: unread, version, last_seq: lastSeq }) {
    if (version < this.counted.version) return;
    this.counted = { unread, version, lastSeq };
    for (const seq of this.#fresh) if (seq <= lastSeq) this.#fresh.delete(seq);
    for (const [seq, deleted] of this.#gone) if (deleted <= version) this.#gone.delete(seq);
  }

  #count(change) {
    const { counted } = this;
    if (!change.deleted) {
      if (change.sender_id !== this.me && change.seq > counted.lastSeq) this.#fresh.add(change.seq);
      return;
    }
    if (this.#fresh.delete(change.seq) || change.seq > counted.lastSeq) return;
    if (change.version <= counted.version || change.seq <= this.ownMarks.read_seq) return;
    const chat = this.chat(change.seq);
    if (!chat)
      this.stale = true; // a deletion does not say whose chat it was
    else if (chat.sender_id !== this.me) this.#gone.set(change.seq, change.version);
  }

  #marks(receipts) {
    for (const id of this.receipts.keys()) if (!receipts[id]) this.receipts.delete(id);
    for (const [id, marks] of Object.entries(receipts)) this.#advance(Number(id), marks);
  }

  #advance(id, marks) {
    const known = this.receipts.get(id) ?? NOTHING;
    this.receipts.set(id, {
      delivered_seq: Math.max(known.delivered_seq, marks.delivered_seq),
      read_seq: Math.max(known.read_seq, marks.read_seq),
    });
  }

  /** Shows this chat as the last of the room, unless a later one is. */
  #show(chat) {
    if (chat.seq < (this.lastChat?.seq ?? 0)) return;
    if (chat.version < (this.lastChat?.seq === chat.seq ? this.lastChat.version : 0)) return;
    this.lastChat = chat;
    if (chat.create_time > this.lastChatTime) this.lastChatTime = chat.create_time;
  }

  #replace(chats, hasOlder, hasNewer) {
    this.#window += 1;
    this.chats = [...chats];
    this.loaded = true;
    this.hasOlder = hasOlder;
    this.hasNewer = hasNewer;
  }

  /** Where a seq is, or would be put. */
  #place(seq) {
    let at = this.chats.length;
    while (at > 0 && this.chats[at - 1].seq >= seq) at -= 1;
    return at;
  }

  #upsert(chat) {
    const at = this.#place(chat.seq);
    const held = this.chats[at];
    if (held?.seq === chat.seq) {
      if (chat.version >= held.version) this.chats[at] = chat;
      return;
    }
    const tooOld = at === 0 && this.hasOlder && (this.chats.length > 0 || chat.seq < this.lastSeq);
    const tooNew = at === this.chats.length && this.hasNewer;
    if (!this.loaded || tooOld || tooNew) return;
    this.chats.splice(at, 0, chat);
    this.#trimOlder();
  }

  #remove(seq) {
    const at = this.#place(seq);
    if (this.chats[at]?.seq === seq) this.chats.splice(at, 1);
    if (this.lastChat?.seq !== seq) return;
    const known = this.loaded && !this.hasNewer && (this.chats.length > 0 || !this.hasOlder);
    this.lastChat = known ? (this.chats.at(-1) ?? null) : null;
    this.stale ||= !known;
  }

  #trimOlder() {
    if (this.chats.length <= WINDOW_MAX) return;
    this.chats = this.chats.slice(-WINDOW_MAX);
    this.hasOlder = true;
  }
}
