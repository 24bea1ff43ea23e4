// Receipts of the client. Run with `node --test tests/sdk/`.

import assert from "node:assert/strict";
import test from "node:test";

import { Receipts } from "../../src/sdk/receipts.js";

test("receipts are batched, sent once, and for at most ten rooms at a time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const sent = [];
  let online = true;
  const receipts = new Receipts((frame) => online && sent.push(frame));
  const room = (id) => ({
    id,
    owner: {},
    isNotes: false,
    received: 0,
    reading: 0,
    ownMarks: { delivered_seq: 0, read_seq: 0 },
  });
  const rooms = Array.from({ length: 12 }, (_, id) => room(id));
  for (const received of [1, 2, 3]) for (const one of rooms) receipts.update(Object.assign(one, { received }));
  assert.equal(sent.length, 0);
  t.mock.timers.tick(250);
  assert.equal(sent.length, 10);
  t.mock.timers.tick(250);
  assert.deepEqual([sent.length, sent[11]], [12, { type: "receipt", chatroom_id: 11, delivered_seq: 3, read_seq: 0 }]);
  receipts.update(rooms[0]);
  t.mock.timers.tick(250);
  assert.equal(sent.length, 12, "nothing new");
  online = false;
  receipts.update(Object.assign(rooms[0], { reading: 3 }));
  t.mock.timers.tick(250);
  online = true;
  receipts.restart();
  receipts.update(rooms[0]);
  t.mock.timers.tick(250);
  assert.deepEqual(sent[12], { type: "receipt", chatroom_id: 0, delivered_seq: 3, read_seq: 3 });
});
