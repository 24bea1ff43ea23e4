// @ts-check
// The part of a room's history that a client holds: consecutive chats, ascending by seq.

/**
 * @import { Change, Chat } from "./protocol.js"
 * @typedef {"newest" | "around" | "older" | "newer"} PageKind
 * @typedef {{kind: PageKind, replacements: number}} PageRequest
 */

/** A longer window is cut at its far end; those chats are read again when they are needed. */
const CHATS_MAX = 400;

export class ChatWindow {
  /** @type {Chat[]} */
  chats = [];
  /** Whether any page of history has come. */
  loaded = false;
  hasOlder = true;
  hasNewer = false;

  /** @type {Map<number, Change>} Changes that came while a page was requested, by seq. */
  #changed = new Map();
  #requests = 0;
  #replacements = 0;

  /**
   * The chat with this seq, where the window holds it.
   * @param {number} seq
   */
  get(seq) {
    const chat = this.chats[this.#indexOf(seq)];
    return chat?.seq === seq ? chat : null;
  }

  /** Whether the window ends at the newest chat of the room, or shows that there is none. */
  get endsAtNewest() {
    return this.loaded && !this.hasNewer && (this.chats.length > 0 || !this.hasOlder);
  }

  /**
   * Registers a request for a page of history; pass the result to `page`, then call `endRequest`.
   * @param {PageKind} kind
   * @returns {PageRequest}
   */
  beginRequest(kind) {
    this.#requests += 1;
    return { kind, replacements: this.#replacements };
  }

  /**
   * Takes in a page of history: "older" and "newer" lengthen the window, "newest" and "around" replace it. False for a
   * page that was requested for a window that has been replaced since.
   * @param {PageRequest} request
   * @param {Chat[]} chats
   * @param {boolean} hasMore Whether the history goes on behind the page. A page of large chats may be short.
   * @param {number} lastSeq The last seq of the room.
   */
  page({ kind, replacements }, chats, hasMore, lastSeq) {
    if (replacements !== this.#replacements) return false;
    if (kind === "newest") this.replace(chats, hasMore, false);
    if (kind === "around") this.replace(chats, (chats[0]?.seq ?? 1) > 1, (chats.at(-1)?.seq ?? 0) < lastSeq);
    if (kind === "older") this.#prepend(chats, hasMore);
    if (kind === "newer") this.#append(chats, hasMore);
    // A change that came while the page was on its way may be newer than the page.
    for (const change of this.#changed.values()) {
      if (change.deleted) this.remove(change.seq);
      else this.upsert(/** @type {Chat} */ (change), lastSeq);
    }
    return true;
  }

  /** Forgets all chats, also those of pages that are on their way. */
  forget() {
    this.replace([], true, false);
    this.loaded = false;
    this.#changed.clear();
  }

  /** Ends a request, answered or not. */
  endRequest() {
    this.#requests -= 1;
    if (this.#requests === 0) this.#changed.clear();
  }

  /**
   * Remembers a change for the page that is on its way.
   * @param {Change} change
   */
  note(change) {
    if (this.#requests > 0) this.#changed.set(change.seq, change);
  }

  /**
   * @param {Chat[]} chats
   * @param {boolean} hasOlder
   * @param {boolean} hasNewer
   */
  replace(chats, hasOlder, hasNewer) {
    this.#replacements += 1;
    this.chats = [...chats];
    this.loaded = true;
    this.hasOlder = hasOlder;
    this.hasNewer = hasNewer;
  }

  /**
   * Takes in a chat, unless it lies outside the window.
   * @param {Chat} chat
   * @param {number} lastSeq The last seq of the room.
   */
  upsert(chat, lastSeq) {
    const at = this.#indexOf(chat.seq);
    const present = this.chats[at];
    if (present?.seq === chat.seq) {
      if (chat.version >= present.version) this.chats[at] = chat;
      return;
    }
    const tooOld = at === 0 && this.hasOlder && (this.chats.length > 0 || chat.seq < lastSeq);
    const tooNew = at === this.chats.length && this.hasNewer;
    if (!this.loaded || tooOld || tooNew) return;
    this.chats.splice(at, 0, chat);
    this.#trimOlder();
  }

  /** @param {number} seq */
  remove(seq) {
    const at = this.#indexOf(seq);
    if (this.chats[at]?.seq === seq) this.chats.splice(at, 1);
  }

  /**
   * @param {Chat[]} chats
   * @param {boolean} hasMore
   */
  #prepend(chats, hasMore) {
    const oldest = this.chats[0]?.seq ?? Infinity;
    this.chats = [...chats.filter(({ seq }) => seq < oldest), ...this.chats];
    this.hasOlder = hasMore;
    if (this.chats.length > CHATS_MAX) this.hasNewer = true;
    this.chats.length = Math.min(this.chats.length, CHATS_MAX);
  }

  /**
   * @param {Chat[]} chats
   * @param {boolean} hasMore
   */
  #append(chats, hasMore) {
    const newest = this.chats.at(-1)?.seq ?? 0;
    this.chats.push(...chats.filter(({ seq }) => seq > newest));
    this.hasNewer = hasMore;
    this.#trimOlder();
  }

  #trimOlder() {
    if (this.chats.length <= CHATS_MAX) return;
    this.chats = this.chats.slice(-CHATS_MAX);
    this.hasOlder = true;
  }

  /**
   * Where a seq is, or would be put.
   * @param {number} seq
   */
  #indexOf(seq) {
    let at = this.chats.length;
    while (at > 0 && (this.chats[at - 1]?.seq ?? 0) >= seq) at -= 1;
    return at;
  }
}
