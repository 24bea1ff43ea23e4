// The outbox: what it keeps, in which order it is sent, and when a chat is given up.

import assert from "node:assert/strict";
import test from "node:test";

import { ChatClient, MemoryStorage, Problem } from "../../src/sdk/index.js";
import { Outbox } from "../../src/sdk/outbox.js";
import { JsonStore } from "../../src/sdk/storage.js";
import { chatOf, FakeServer, settled, ticks } from "./fake-server.mjs";

const contents = (entries) => entries.map(({ content, state }) => [content, state]);

/** A client of a fake server that is online, with its room; timers are mocked. */
async function online(t, options = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2026-11-22T00:00:00Z") });
  const server = new FakeServer();
  const client = new ChatClient({ ...server.options(), token: "t", ...options });
  const failed = [];
  client.addEventListener("failed", ({ room, entry, problem }) => failed.push([room?.id, entry.content, problem.code]));
  client.start();
  await settled();
  assert.equal(client.state, "online");
  t.after(() => client.stop());
  return { server, client, room: client.rooms.get(7), failed };
}

test("the outbox outlives the page and keeps order, client_ids and failures", () => {
  const storage = new MemoryStorage();
  const load = () => new Outbox().load(new JsonStore(storage, "out:"));
  const outbox = load();
  const [first, second, third] = ["one", "two", "three"].map((content) => outbox.add(7, content, 1_000));
  outbox.add(8, "elsewhere", 1_000);
  assert.deepEqual(contents(outbox.ready()), [
    ["one", "waiting"],
    ["elsewhere", "waiting"],
  ]);
  first.state = "sending";
  assert.deepEqual(contents(outbox.ready()), [["elsewhere", "waiting"]], "one at a time in a room");
  outbox.failed(second, new Problem({ code: "invalid", detail: "no" }));
  const later = load();
  assert.deepEqual(contents(later.list(7)), [
    ["one", "waiting"],
    ["two", "failed"],
    ["three", "waiting"],
  ]);
  assert.deepEqual(
    later.list(7).map(({ client_id }) => client_id),
    [first, second, third].map(({ client_id }) => client_id),
  );
  later.remove(first.client_id);
  assert.equal(later.ready()[0].content, "three", "a failed chat waits for the person");
  later.again(later.get(second.client_id));
  assert.equal(load().ready()[0].content, "two");
});

test("client_ids are printable, short and different", () => {
  const outbox = new Outbox();
  const ids = new Set(Array.from({ length: 1_000 }, () => outbox.add(1, "x", 5).client_id));
  assert.equal(ids.size, 1_000);
  for (const id of ids) assert.match(id, /^[\x21-\x7e]{1,64}$/);
  assert.throws(() => outbox.add(1, "one too many"), { code: "outbox_full" });
});

test("a storage that is full or garbled only costs what it would have kept", () => {
  const full = Object.assign(new MemoryStorage(), { setItem: () => assert.fail("full"), getItem: () => "{" });
  const store = new JsonStore(full, "");
  const outbox = new Outbox().load(store);
  outbox.add(1, "x");
  assert.equal(outbox.ready()[0].content, "x");
  assert.equal(store.get("any"), undefined);
  const forbidden = new JsonStore(new Proxy({}, { get: () => assert.fail("forbidden") }), "");
  assert.deepEqual([forbidden.names(), forbidden.get("x")], [[], undefined]);
});

test("garbled chats in the storage are removed", () => {
  const storage = new MemoryStorage();
  const garbled = { a: "{", b: "7", c: "null", d: '{"client_id":"other"}', e: '{"client_id":"e","room_id":"7"}' };
  for (const [name, text] of Object.entries(garbled)) storage.setItem(`out:${name}`, text);
  storage.setItem("out:f", '{"client_id":"f","room_id":7,"content":"good","at":"x","state":"sending"}');
  const outbox = new Outbox().load(new JsonStore(storage, "out:"));
  assert.deepEqual(contents(outbox.list()), [["good", "waiting"]]);
  assert.equal(storage.length, 1);
});

test("c9: a refusal that says not to retry fails the chat at once, and the next one is sent", async (t) => {
  const { server, client, room, failed } = await online(t);
  server.answer = (frame, socket) => frame.content === "bad" && server.refuse(frame, socket, "invalid", 422);
  client.send(room, "bad");
  client.send(room, "good");
  await settled();
  assert.deepEqual([server.stored, failed], [["good"], [[7, "bad", "invalid"]]]);
  const [entry] = client.pending(room);
  assert.deepEqual([entry.state, entry.problem], ["failed", { code: "invalid", detail: "invalid!" }]);
});

test("c9: a chat that the server answers 500 for ever is given up, and later chats of the room get through", async (t) => {
  const { server, client, room, failed } = await online(t);
  let tries = 0;
  server.answer = (frame, socket) => {
    if (frame.content !== "poison") return false;
    tries += 1;
    return server.refuse(frame, socket, "internal", 500);
  };
  client.send(room, "poison");
  client.send(room, "later");
  await settled();
  assert.deepEqual([server.stored, tries], [[], 1], "the order holds while there is hope");
  await ticks(t, 60_000);
  assert.deepEqual([server.stored, tries], [["later"], 6]);
  assert.deepEqual(failed, [[7, "poison", "internal"]]);
  assert.deepEqual(contents(client.pending(room)), [["poison", "failed"]]);
  await ticks(t, 60_000);
  assert.equal(tries, 6, "a failed chat is not sent again by itself");

  server.answer = () => false;
  client.retry(client.pending(room)[0]);
  await settled();
  assert.deepEqual([server.stored, client.pending(room)], [["later", "poison"], []]);
});

test("c9: a failed chat can be discarded", async (t) => {
  const storage = new MemoryStorage();
  const { server, client, room } = await online(t, { storage, giveUp: { tries: 1 } });
  server.answer = (frame, socket) => frame.type === "send" && server.refuse(frame, socket, "internal", 500);
  const entry = client.send(room, "poison");
  await settled();
  assert.equal(entry.state, "failed");
  assert.equal(storage.getItem(`hyper-chat:1:out:${entry.client_id}`) !== null, true);
  client.discard(entry);
  assert.deepEqual(client.pending(), []);
  assert.equal(storage.getItem(`hyper-chat:1:out:${entry.client_id}`), null);
});

test("a busy server does not use up the tries; the time is bounded instead", async (t) => {
  const { server, client, room, failed } = await online(t);
  const outage = (frame, socket) =>
    frame.type === "send" && server.refuse(frame, socket, "unavailable", 503, { retry_after_s: 1 });
  server.answer = outage;
  client.send(room, "patient");
  await ticks(t, 5 * 60_000);
  server.answer = () => false;
  await ticks(t, 10_000);
  assert.deepEqual([server.stored, failed], [["patient"], []]);

  server.answer = outage;
  client.send(room, "too long");
  await ticks(t, 16 * 60_000);
  assert.deepEqual(failed, [[7, "too long", "unavailable"]]);
});

test("c9: a chat that breaks the connection each time is given up", async (t) => {
  const { server, client, room, failed } = await online(t);
  server.answer = (frame, socket) => {
    if (frame.content !== "poison") return false;
    socket.end(1006);
    return true;
  };
  client.send(room, "poison");
  client.send(room, "later");
  await ticks(t, 120_000);
  assert.deepEqual([server.stored, failed], [["later"], [[7, "poison", "offline"]]]);
});

test("a chat without an answer is sent again under the same client_id", async (t) => {
  const { server, client, room } = await online(t);
  let silent = true;
  server.answer = (frame) => frame.type === "send" && silent;
  const { client_id } = client.send(room, "hello");
  await ticks(t, 29_000);
  silent = false;
  await ticks(t, 5_000);
  const sends = server.frames.filter(({ type }) => type === "send");
  assert.deepEqual([sends.map((frame) => frame.client_id), server.stored], [[client_id, client_id], ["hello"]]);
});

test("after close code 1009 only the longest chat under way fails", async (t) => {
  const { server, client, room, failed } = await online(t);
  server.answer = (frame, socket) => {
    if (frame.type !== "send" || server.sockets.length > 1) return false;
    if (frame.content.length > 100) socket.end(1009);
    return true;
  };
  client.send(room, "short");
  client.send({ id: 8 }, "long".repeat(100));
  await ticks(t, 5_000);
  assert.deepEqual([server.stored, client.pending().map(({ problem }) => problem?.code)], [["short"], ["too_large"]]);
  assert.equal(failed.length, 1);
});

test("the event of one's own chat removes it from the outbox, also without its ack", async (t) => {
  const { server, client, room } = await online(t);
  server.answer = (frame) => frame.type === "send";
  const { client_id } = client.send(room, "hello");
  await settled();
  server.socket.push({ type: "chat", chat: chatOf(1, { client_id, content: "hello" }) });
  assert.deepEqual([client.pending(), room.chats.length, room.lastChat.content], [[], 0, "hello"]);
});
