// The rest of the demo's client that needs no server: the way back, the outbox, receipts. Run with `node --test tests/demo/`.

import assert from "node:assert/strict";
import test from "node:test";

import { resumeFrames } from "../../src/http/demo/chat-client.js";
import { afterClose } from "../../src/http/demo/client/connection.js";
import { MemoryStorage, Outbox, Shelf } from "../../src/http/demo/client/outbox.js";
import { Receipts } from "../../src/http/demo/client/receipts.js";
import { Problem } from "../../src/http/demo/client/rest.js";

test("after a close the code decides: come back, bring a new token, or stay away", () => {
  for (const code of [1000, 1001, 1006, 1008, 1009, 4408, 4429, 4503, 4508]) {
    assert.equal(afterClose(code, 0).retry, true, String(code));
  }
  for (const code of [4400, 4403, 4404, 4409, 1002]) {
    assert.deepEqual(afterClose(code, 0), { retry: false, token: false, wait: 0 }, String(code));
  }
  assert.deepEqual(afterClose(4401, 0), { retry: false, token: true, wait: 0 });
});

test("the wait is drawn from a range that doubles up to 30 s; after 4429 it begins at 5 s", () => {
  const most = (attempt, code = 1006) => afterClose(code, attempt, () => 1).wait;
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 60].map((attempt) => most(attempt)),
    [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000],
  );
  assert.equal(afterClose(1006, 9, () => 0).wait, 0);
  assert.deepEqual([afterClose(4429, 0, () => 0).wait, most(0, 4429)], [5_000, 6_000]);
});

test("rooms are resumed at most 500 a frame", () => {
  const rooms = Array.from({ length: 1_201 }, (_, id) => ({ id, version: id * 2 }));
  const frames = resumeFrames(rooms);
  assert.deepEqual(
    frames.map(({ chatrooms }) => Object.keys(chatrooms).length),
    [500, 500, 201],
  );
  assert.deepEqual([frames[0].type, frames[2].chatrooms[1_200]], ["resume", 2_400]);
  assert.deepEqual(resumeFrames([]), []);
});

test("the outbox outlives the page and keeps order, names and failures", () => {
  const storage = new MemoryStorage();
  const shelf = () => new Shelf(storage, "out:");
  const outbox = new Outbox(shelf());
  const [first, second, third] = ["one", "two", "three"].map((content) => outbox.add(7, content, 1_000));
  outbox.add(8, "elsewhere", 1_000);
  assert.equal(outbox.next(7), first);
  first.state = "sending";
  assert.equal(outbox.next(7), undefined, "one at a time");
  outbox.failed(second, new Problem({ code: "invalid", detail: "no" }));
  const later = new Outbox(shelf());
  assert.deepEqual(
    later.of(7).map(({ content, state }) => [content, state]),
    [
      ["one", "waiting"],
      ["two", "failed"],
      ["three", "waiting"],
    ],
  );
  assert.deepEqual(
    later.of(7).map(({ client_id }) => client_id),
    [first, second, third].map(({ client_id }) => client_id),
  );
  later.remove(first.client_id);
  assert.equal(later.next(7).content, "three", "a failed one waits for the person");
  later.again(later.get(second.client_id));
  assert.equal(new Outbox(shelf()).next(7).content, "two");
});

test("client_ids are printable, short and different", () => {
  const outbox = new Outbox(new Shelf(new MemoryStorage(), ""));
  const ids = new Set(Array.from({ length: 1_000 }, () => outbox.add(1, "x", 5).client_id));
  assert.equal(ids.size, 1_000);
  for (const id of ids) assert.match(id, /^[\x21-\x7e]{1,64}$/);
});

test("a storage that is full or broken only costs what it would have kept", () => {
  const full = Object.assign(new MemoryStorage(), { setItem: () => assert.fail("full"), getItem: () => "{" });
  const shelf = new Shelf(full, "");
  const outbox = new Outbox(shelf);
  assert.equal(outbox.next(outbox.add(1, "x").room_id).content, "x");
  assert.equal(shelf.get("any"), null);
});

test("receipts are gathered, said once, and at most ten rooms at a time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const said = [];
  let online = true;
  const receipts = new Receipts((frame) => online && said.push(frame));
  const room = (id) => ({
    id,
    owner: {},
    isNotes: false,
    received: 0,
    reading: 0,
    ownMarks: { delivered_seq: 0, read_seq: 0 },
  });
  const rooms = Array.from({ length: 12 }, (_, id) => room(id));
  for (const received of [1, 2, 3]) for (const one of rooms) receipts.consider(Object.assign(one, { received }));
  assert.equal(said.length, 0);
  t.mock.timers.tick(250);
  assert.equal(said.length, 10);
  t.mock.timers.tick(250);
  assert.deepEqual([said.length, said[11]], [12, { type: "receipt", chatroom_id: 11, delivered_seq: 3, read_seq: 0 }]);
  receipts.consider(rooms[0]);
  t.mock.timers.tick(250);
  assert.equal(said.length, 12, "nothing new");
  online = false;
  receipts.consider(Object.assign(rooms[0], { reading: 3 }));
  t.mock.timers.tick(250);
  online = true;
  receipts.restart();
  receipts.consider(rooms[0]);
  t.mock.timers.tick(250);
  assert.deepEqual(said[12], { type: "receipt", chatroom_id: 0, delivered_seq: 3, read_seq: 3 });
});
