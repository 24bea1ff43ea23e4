// A database that was set back: nothing that the client holds of the former epoch is shown, resumed or sent astray.

import assert from "node:assert/strict";
import test from "node:test";

import { ChatClient, MemoryStorage } from "../../src/sdk/index.js";
import { chatOf, FakeServer, settled, ticks } from "./fake-server.mjs";

const START = { apis: ["setTimeout", "Date"], now: Date.parse("2026-11-22T00:00:00Z") };

/** A client that is online and holds two chats of its room. */
async function online(t, options = {}) {
  t.mock.timers.enable(START);
  const server = new FakeServer();
  server.room = { ...server.room, version: 1, last_seq: 1 };
  const client = new ChatClient({ ...server.options(), token: "t", ...options });
  const failed = [];
  client.addEventListener("failed", ({ entry, problem }) => failed.push([entry.content, problem.code]));
  client.start();
  await settled();
  const room = client.rooms.get(7);
  server.socket.push({ type: "chat", chat: chatOf(2) });
  assert.deepEqual([client.state, room.version, room.lastChat.seq], ["online", 2, 2]);
  t.after(() => client.stop());
  return { server, client, room, failed };
}

/** The connection breaks, and comes back to a database of another epoch. */
async function setBack(t, server, room) {
  server.epoch = "second";
  server.room = { ...server.room, ...room };
  server.socket.end(1006);
  await ticks(t, 2_000);
}

test("b4 a new epoch drops cursors and cached chats, whatever the versions say", async (t) => {
  const { server, client, room } = await online(t);
  await setBack(t, server, { version: 2, last_seq: 1 });
  assert.deepEqual([client.state, room.version, room.lastSeq, room.lastChat], ["online", 2, 1, null]);
  assert.deepEqual([room.loaded, room.chats], [false, []]);
  server.socket.push({ type: "chat", chat: chatOf(5, { version: 9 }) });
  await settled();
  const resume = server.frames.filter(({ type }) => type === "resume").at(-1);
  assert.deepEqual([resume.chatrooms, resume.epoch], [{ 7: 2 }, "second"], "cursors go with their epoch");
});

test("b4 the same epoch keeps them, also over a restart of the client", async (t) => {
  const storage = new MemoryStorage();
  const { server, client, room } = await online(t, { storage });
  server.room = { ...server.room, version: 2, last_seq: 2 };
  server.socket.end(1006);
  await ticks(t, 2_000);
  assert.deepEqual([room.version, room.lastSeq], [2, 2]);
  client.stop();
  const next = new ChatClient({ ...server.options(), token: "t", storage });
  t.after(() => next.stop());
  next.start();
  await settled();
  assert.equal(next.rooms.get(7).version, 2, "the snapshot's cursor");
  next.stop();
  server.epoch = "second";
  server.room = { ...server.room, version: 1 };
  const later = new ChatClient({ ...server.options(), token: "t", storage });
  t.after(() => later.stop());
  later.start();
  await settled();
  assert.deepEqual([later.rooms.get(7).version, later.rooms.get(7).lastSeq], [1, 2]);
});

test("b4 a chat that waits is sent in the new epoch if the room is still with the same person", async (t) => {
  const { server, client, room, failed } = await online(t);
  server.socket.end(1006);
  client.send(room, "to bob");
  await setBack(t, server, { version: 1 });
  assert.deepEqual([server.stored, failed, client.pending()], [["to bob"], [], []]);
});

test("b4 a chat that waits is not sent to somebody else whose room has got the id", async (t) => {
  const { server, client, room, failed } = await online(t);
  server.socket.end(1006);
  client.send(room, "to bob");
  server.opponent = "carol";
  await setBack(t, server, { version: 1 });
  assert.deepEqual([server.stored, failed], [[], [["to bob", "epoch_changed"]]]);
  client.retry(client.pending()[0]);
  await settled();
  assert.deepEqual(server.stored, ["to bob"], "the person has decided");
});

test("b4 what another account of the same id has left on the device is dropped", async (t) => {
  const storage = new MemoryStorage();
  const { server, client, room } = await online(t, { storage });
  server.socket.end(1006);
  client.send(room, "of ann");
  client.stop();
  const me = { id: 1, username: "yolanda", nickname: "Y", fcm_reg_id: "" };
  const other = new ChatClient({ ...server.options(), token: "t", storage, me });
  assert.deepEqual([[...other.rooms.keys()], other.pending()], [[], []]);
});
