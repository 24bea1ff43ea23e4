// A room of the client: cursor, counts, watermarks, window. Run with `node --test tests/sdk/`.

import assert from "node:assert/strict";
import test from "node:test";

import { ChatRoom } from "../../src/sdk/room.js";
import { restoreRoom, takeSnapshot } from "../../src/sdk/snapshot.js";
import { ChatWindow } from "../../src/sdk/window.js";

const [ANN, BOB] = [1, 2];

const chat = (seq, version = seq, sender_id = BOB, content = `chat ${seq}`) => ({
  id: 100 + seq,
  seq,
  version,
  sender_id,
  content,
  create_time: `2026-11-22T00:00:${String(seq % 60).padStart(2, "0")}Z`,
});
const marks = (delivered_seq, read_seq) => ({ delivered_seq, read_seq });
const summary = (version, last_seq, unread_count, read = 0) => ({
  id: 7,
  version,
  last_seq,
  unread_count,
  receipts: { [ANN]: marks(read, read), [BOB]: marks(0, 0) },
});
const body = (version, last_seq, unread_count, last_chat = null, read = 0) => ({
  ...summary(version, last_seq, unread_count, read),
  owner: { id: ANN },
  opponent: { id: BOB },
  last_chat,
  last_chat_time: last_chat?.create_time ?? "",
});
const seqs = (room) => room.chats.map(({ seq }) => seq);
const live = (room, chat) => room.applyEvent({ type: "chat", chat });
const deleted = (seq, version) => ({ type: "chat_deleted", chatroom_id: 7, chat_id: 100 + seq, seq, version });

/** Ann's room with Bob, whose newest page has been read. */
function opened(seq = 3, unread = 0, read = seq) {
  const room = new ChatRoom(7, ANN);
  room.applyBody(body(seq, seq, unread, seq ? chat(seq) : null, read));
  const place = room.beginRequest("newest");
  room.applyPage(
    place,
    Array.from({ length: seq }, (_, at) => chat(at + 1)),
    false,
  );
  room.endRequest();
  return room;
}

test("an event at the cursor + 1 applies, an older one is ignored, a later one is a gap", () => {
  const room = opened(3);
  assert.deepEqual(live(room, chat(4)), { gap: false, added: [chat(4)] });
  assert.deepEqual(live(room, chat(4)), { gap: false, added: [] });
  assert.equal(live(room, chat(6)).gap, true);
  assert.deepEqual([room.version, seqs(room)], [4, [1, 2, 3, 4]]);
});

test("an ack shows its chat and leaves the cursor; its event then applies without a second copy", () => {
  const room = opened(3);
  room.put(chat(5, 5, ANN));
  assert.deepEqual([room.version, seqs(room)], [3, [1, 2, 3, 5]]);
  assert.deepEqual(live(room, chat(4)).added, [chat(4)]);
  live(room, chat(5, 5, ANN));
  assert.deepEqual([room.version, seqs(room)], [5, [1, 2, 3, 4, 5]]);
});

test("changes apply above the cursor and jump to their version; ones that begin later are a gap", () => {
  const room = opened(3);
  assert.equal(room.applyChanges({ since: 5, changes: [chat(6)], version: 6, has_more: false }).gap, true);
  const rows = [chat(3, 3), chat(4, 5), { id: 101, seq: 1, version: 7, deleted: true }, chat(2, 9, BOB, "edited")];
  const { gap, added } = room.applyChanges({ since: 2, changes: rows, version: 9, has_more: false });
  assert.deepEqual([gap, added.map(({ seq }) => seq), room.version], [false, [4], 9]);
  assert.deepEqual(
    room.chats.map(({ content }) => content),
    ["edited", "chat 3", "chat 4"],
  );
});

test("a reset replaces the window", () => {
  const room = opened(3);
  room.applyReset({ chats: [chat(2000, 2100), chat(2001, 2101)], version: 2101 });
  assert.deepEqual([seqs(room), room.version, room.hasOlder, room.hasNewer], [[2000, 2001], 2101, true, false]);
  assert.equal(room.lastChat.seq, 2001);
});

test("REST never moves a cursor", () => {
  const room = opened(3);
  room.applyBody(body(9, 9, 2, chat(9)));
  assert.deepEqual([room.version, room.lastChat.seq, room.lastSeq], [3, 9, 9]);
  assert.equal(room.applySummary(summary(9, 9, 2)), false, "changes are missing");
});

test("the unread count follows new chats, deletions and one's own receipts", () => {
  const room = opened(5, 2, 3);
  assert.equal(room.unread, 2);
  live(room, chat(6));
  assert.equal(room.unread, 3);
  live(room, chat(7, 7, ANN));
  assert.equal(room.unread, 3, "one's own do not count");
  room.applyEvent(deleted(5, 8));
  assert.equal(room.unread, 2, "a counted one was deleted");
  room.applyEvent(deleted(6, 9));
  assert.equal(room.unread, 1, "one that came since was deleted");
  room.applyEvent(deleted(2, 10));
  assert.equal(room.unread, 1, "a read one was deleted");
  room.applyReceipt({ chatter_id: ANN, ...marks(7, 7), unread_count: 0, version: 10, last_seq: 7 });
  assert.equal(room.unread, 0);
  live(room, chat(8, 11));
  assert.equal(room.unread, 1);
});

test("a count taken before the newest chats leaves those counted", () => {
  const room = opened(3, 0);
  live(room, chat(4));
  live(room, chat(5));
  room.applyReceipt({ chatter_id: ANN, ...marks(4, 4), unread_count: 0, version: 4, last_seq: 4 });
  assert.equal(room.unread, 1);
});

test("the count in ready includes the changes that a resume brings", () => {
  const room = opened(3);
  assert.equal(room.applySummary(summary(6, 5, 2, 3)), false);
  room.applyChanges({
    since: 3,
    changes: [chat(4), { id: 105, seq: 5, version: 6, deleted: true }],
    version: 6,
    has_more: false,
  });
  assert.equal(room.unread, 2, "as the server said");
});

test("an older count by REST does not undo a receipt", () => {
  const room = opened(5, 2, 3);
  room.applyReceipt({ chatter_id: ANN, ...marks(5, 5), unread_count: 0, version: 5, last_seq: 5 });
  room.applyBody(body(5, 5, 2, chat(5), 3));
  assert.equal(room.unread, 0);
});

test("a deletion of a chat outside the window makes the room stale", () => {
  const room = new ChatRoom(7, ANN);
  room.applyBody(body(5, 5, 3, chat(5), 2));
  room.applyEvent(deleted(4, 6));
  assert.equal(room.stale, true);
  room.applyBody(body(5, 5, 3, chat(5), 2));
  assert.equal(room.stale, true, "that was read before the deletion");
  room.applyBody(body(6, 5, 2, chat(5), 2));
  assert.deepEqual([room.stale, room.unread], [false, 2]);
});

test("the last chat follows edits and deletions", () => {
  const room = opened(3);
  room.applyEvent({ type: "chat_edited", chat: chat(3, 4, BOB, "edited") });
  assert.equal(room.lastChat.content, "edited");
  room.applyEvent(deleted(3, 5));
  assert.equal(room.lastChat.seq, 2);
});

test("changes that come while a page is requested apply on top of it", () => {
  const room = opened(0);
  const place = room.beginRequest("newest");
  live(room, chat(1));
  live(room, chat(2));
  room.applyEvent({ type: "chat_edited", chat: chat(1, 3, BOB, "edited") });
  room.applyEvent(deleted(2, 4));
  room.applyPage(place, [chat(1), chat(2)], false);
  room.endRequest();
  assert.deepEqual(
    room.chats.map(({ content }) => content),
    ["edited"],
  );
});

test("pages lengthen the window at both ends; live chats stay out while it does not end at the newest", () => {
  const room = new ChatRoom(7, ANN);
  room.applyBody(body(300, 300, 0, chat(300)));
  const load = (kind, from, to, limit) => {
    const place = room.beginRequest(kind);
    room.applyPage(
      place,
      Array.from({ length: to - from + 1 }, (_, at) => chat(from + at)),
      to - from + 1 === limit,
    );
    room.endRequest();
  };
  load("around", 100, 149, 50);
  assert.deepEqual([room.hasOlder, room.hasNewer], [true, true]);
  live(room, chat(301));
  assert.equal(room.chats.at(-1).seq, 149);
  load("older", 50, 99, 50);
  load("older", 40, 49, 50);
  assert.deepEqual([room.chats[0].seq, room.hasOlder], [40, false]);
  load("newer", 150, 199, 50);
  load("newer", 200, 301, 150);
  assert.deepEqual([room.chats.length, room.hasNewer], [262, false]);
  live(room, chat(302));
  assert.equal(room.chats.at(-1).seq, 302);
});

test("a window stays bounded, and hasOlder and hasNewer say where it was cut", () => {
  const room = opened(0);
  for (let seq = 1; seq <= 450; seq += 1) live(room, chat(seq));
  assert.deepEqual([room.chats.length, room.chats[0].seq, room.hasOlder], [400, 51, true]);
  const place = room.beginRequest("older");
  room.applyPage(
    place,
    Array.from({ length: 50 }, (_, at) => chat(at + 1)),
    false,
  );
  room.endRequest();
  assert.deepEqual([room.chats[0].seq, room.chats.at(-1).seq, room.hasNewer], [1, 400, true]);
});

test("a page that was requested for a replaced window is dropped", () => {
  const room = opened(3);
  const place = room.beginRequest("older");
  room.applyReset({ chats: [chat(2000, 2100)], version: 2100 });
  room.applyPage(place, [chat(1)], false);
  assert.deepEqual(seqs(room), [2000]);
});

test("a new chat is shown in a window whose chats were all deleted", () => {
  const window = new ChatWindow();
  window.replace([], true, false);
  window.upsert(chat(1), 1);
  window.remove(1);
  window.upsert(chat(2, 3), 2);
  assert.deepEqual(seqs(window), [2]);
});

test("progress follows the other person's watermarks, and stays at sent where they hide them", () => {
  const room = opened(3);
  const own = chat(3, 3, ANN);
  assert.equal(room.progress(own), "sent");
  room.applyReceipt({ chatter_id: BOB, ...marks(3, 2) });
  assert.equal(room.progress(own), "delivered");
  room.applyReceipt({ chatter_id: BOB, ...marks(3, 3) });
  room.applyReceipt({ chatter_id: BOB, ...marks(1, 1) });
  assert.equal(room.progress(own), "read", "they only move forward");
  room.applySummary({ ...summary(3, 3, 0), receipts: { [ANN]: marks(3, 3) } });
  assert.equal(room.progress(own), "sent");
});

test("notes to self are never unread and have no marks", () => {
  const room = new ChatRoom(7, ANN);
  room.applyBody({ ...body(1, 1, 0, chat(1, 1, ANN)), opponent: { id: ANN } });
  live(room, chat(2, 2, ANN));
  assert.deepEqual([room.unread, room.progress(chat(1, 1, ANN)), room.isNotes], [0, "sent", true]);
});

test("a snapshot keeps the cursor with the newest chats, within a bound", () => {
  const room = opened(3);
  live(room, chat(4, 4, BOB, "x".repeat(50)));
  const again = restoreRoom(7, ANN, JSON.parse(JSON.stringify(takeSnapshot(room, 60))));
  assert.deepEqual([again.version, seqs(again), again.lastChat.seq, again.hasOlder], [4, [3, 4], 4, true]);
  assert.equal(again.other.id, BOB);
  assert.equal(again.applySummary(summary(6, 5, 1)), false);
});

test("a garbled snapshot restores no room", () => {
  const kept = JSON.parse(JSON.stringify(takeSnapshot(opened(3))));
  assert.equal(restoreRoom(7, ANN, kept).version, 3);
  const garbled = [null, 7, "x", [], {}, { ...kept, chats: [{}] }, { ...kept, chats: "x" }, { ...kept, owner: null }];
  garbled.push({ ...kept, version: "3" }, { ...kept, lastChat: 7 }, { ...kept, lastChatTime: 5 });
  for (const value of garbled) assert.equal(restoreRoom(7, ANN, value), null, JSON.stringify(value));
  assert.equal(restoreRoom(NaN, ANN, kept), null);
});
