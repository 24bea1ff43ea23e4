// The connection of the client: close codes, tokens, garbled frames, the WebSocket option.

import assert from "node:assert/strict";
import test from "node:test";

import { ChatClient } from "../../src/sdk/index.js";
import { afterClose } from "../../src/sdk/connection.js";
import { resumeFrames } from "../../src/sdk/sync.js";
import { ANN, BOB, chatOf, FakeServer, jwt, settled, ticks } from "./fake-server.mjs";

test("the close code decides whether to reconnect, to get a new token first, or to stay away", () => {
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

/** A client of a fake server, with a mocked clock. */
function begin(t, options, server = new FakeServer()) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2026-11-22T00:00:00Z") });
  const made = { ...server.options(), ...(typeof options === "function" ? options() : options) };
  const client = new ChatClient(made);
  const warnings = [];
  client.addEventListener("warning", ({ error }) => warnings.push(error.message));
  t.after(() => client.stop());
  return { server, client, warnings };
}

/** A `getToken` that hands out numbered tokens of this many seconds. */
function tokens(seconds) {
  const handedOut = [];
  const getToken = async () => {
    handedOut.push(jwt(seconds, `token ${handedOut.length}`));
    return handedOut.at(-1);
  };
  return { handedOut, getToken };
}

test("getToken is called before the first connection", async (t) => {
  const { handedOut, getToken } = tokens(3_600);
  const { client, server } = begin(t, { getToken });
  client.start();
  await settled();
  assert.deepEqual([client.state, handedOut.length, server.tokens], ["online", 1, handedOut]);
  assert.equal(client.me.username, "ann");
});

test("getToken is called before the token expires, and the new token is sent on the open socket", async (t) => {
  const { handedOut, getToken } = tokens(3_600);
  const { client, server } = begin(t, { getToken });
  client.start();
  await ticks(t, 3_530_000, 10_000);
  assert.equal(handedOut.length, 1);
  await ticks(t, 30_000, 10_000);
  assert.equal(handedOut.length, 2);
  const auth = server.frames.filter(({ type }) => type === "auth");
  assert.deepEqual(
    auth.map(({ token }) => token),
    [handedOut[1]],
  );
  await ticks(t, 3_600_000, 10_000);
  assert.deepEqual([handedOut.length, server.sockets.length, client.state], [3, 1, "online"]);
});

test("a short-lived token is replaced half-way, and never more often than every 5 s", async (t) => {
  const { handedOut, getToken } = tokens(1);
  const { client } = begin(t, { getToken });
  client.start();
  await ticks(t, 60_000);
  assert.ok(handedOut.length >= 10 && handedOut.length <= 14, String(handedOut.length));
});

test("close code 4401 calls getToken and reconnects with the new token", async (t) => {
  const { handedOut, getToken } = tokens(3_600);
  const { client, server } = begin(t, { getToken, token: jwt(3_600, "revoked") });
  const states = [];
  client.addEventListener("state", () => states.push(client.state));
  client.start();
  await settled();
  server.socket.end(4401);
  await ticks(t, 1);
  assert.deepEqual([client.state, server.tokens.length, server.tokens[1]], ["online", 2, handedOut[0]]);
  assert.equal(states.includes("signed-out"), false);
});

test("the state is signed-out where getToken gives no token, or only refused ones", async (t) => {
  const server = new FakeServer();
  server.accepts = (token) => token === "good";
  const first = begin(t, { getToken: () => null, token: "bad" }, server);
  first.client.start();
  await ticks(t, 1_000);
  assert.equal(first.client.state, "signed-out");

  let calls = 0;
  const second = new ChatClient({ ...server.options(), getToken: () => `bad ${(calls += 1)}` });
  second.start();
  await ticks(t, 120_000);
  assert.deepEqual([second.state, calls], ["signed-out", 4]);
  second.setToken("good");
  await settled();
  assert.equal(second.state, "online");
  second.stop();
});

test("without getToken close code 4401 signs out, and setToken connects again", async (t) => {
  const { client, server } = begin(t, { token: "one" });
  client.start();
  await settled();
  server.socket.end(4401);
  assert.equal(client.state, "signed-out");
  client.setToken("two");
  await settled();
  assert.deepEqual([client.state, server.tokens], ["online", ["one", "two"]]);
});

test("a getToken that fails or hangs is called again later", async (t) => {
  const answers = [() => Promise.reject(new Error("no network")), () => new Promise(() => {}), () => "good"];
  let calls = 0;
  const { client } = begin(t, { getToken: () => answers[calls++]() });
  client.start();
  await settled();
  assert.equal(client.state, "offline");
  await ticks(t, 20_000);
  assert.deepEqual([calls, client.state], [2, "connecting"]);
  await ticks(t, 20_000);
  assert.deepEqual([calls, client.state], [3, "online"]);
});

test("a request that REST refuses for its token is sent again with a new one", async (t) => {
  const { client, server } = begin(t, { token: "old", getToken: () => "new" });
  server.restStatus = (token) => (token === "new" ? 200 : 401);
  assert.equal((await client.rest("GET", "/api/chatrooms")).length, 1);
  assert.deepEqual(
    server.requests.map(({ token }) => token),
    ["old", "new"],
  );
  server.restStatus = () => 401;
  await assert.rejects(client.rest("GET", "/api/chatrooms"), { code: "token_invalid" });
  assert.equal(client.state, "signed-out");
});

test("garbled frames throw nothing, and the client goes on", async (t) => {
  const { client, server, warnings } = begin(t, { token: "t" });
  client.start();
  await settled();
  const garbled = ["", "{", "7", "null", "[]", '"x"', "{}", '{"type":7}', '{"type":"chat"}', '{"type":"changes"}'];
  garbled.push('{"type":"changes","chatroom_id":7,"since":0}', '{"type":"reset","chatroom_id":7}');
  garbled.push('{"type":"chatrooms"}', '{"type":"chatroom_created"}', '{"type":"ready"}', "\u0000");
  for (const frame of garbled) assert.doesNotThrow(() => server.socket.push(frame), frame);
  assert.doesNotThrow(() => server.socket.onmessage({ data: new ArrayBuffer(3) }));
  assert.ok(warnings.length >= 12, String(warnings.length));
  for (const frame of ['{"type":"presence"}', '{"type":"typing"}', '{"type":"error"}', '{"type":"news"}']) {
    server.socket.push(frame);
  }
  const room = client.rooms.get(7);
  server.socket.push({ type: "chat", chat: chatOf(1, { sender_id: BOB }) });
  assert.deepEqual([client.state, room.version, room.unread], ["online", 1, 1]);
  client.send(room, "still here");
  await settled();
  assert.deepEqual(server.stored, ["still here"]);
});

test("a garbled reply counts as no success and stops nothing", async (t) => {
  const { client, server } = begin(t, { token: "t" });
  client.start();
  await settled();
  const room = client.rooms.get(7);
  server.answer = ({ ref, type }, socket) => {
    if (type === "edit") socket.push({ type: "error", ref });
    return type === "edit";
  };
  await assert.rejects(client.edit(room, chatOf(1), "x"), { code: "unknown" });
  assert.equal(client.state, "online");
});

test("a page of changes that was lost is asked for again", async (t) => {
  const { client, server } = begin(t, { token: "t" });
  client.start();
  await settled();
  const room = client.rooms.get(7);
  server.socket.push({ type: "chat", chat: chatOf(3) }); // a gap
  await settled();
  assert.equal(room.resuming, true, "`resumed` came without its `changes`");
  server.answer = ({ type, ref }, socket) => {
    if (type !== "resume") return false;
    const changes = [chatOf(1), chatOf(2), chatOf(3)];
    socket.push({ type: "changes", chatroom_id: 7, since: 0, changes, version: 3, has_more: false });
    socket.push({ type: "resumed", ref });
    return true;
  };
  await ticks(t, 6_000);
  assert.deepEqual([room.resuming, room.version], [false, 3]);
});

test("the option webSocket is used, with the token as a subprotocol; without any WebSocket the client says so", (t) => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  t.after(() => before && Object.defineProperty(globalThis, "WebSocket", before));
  delete globalThis.WebSocket;
  assert.throws(() => new ChatClient({ base: "http://chat.example", token: "t" }), /webSocket/);
  const { client, server } = begin(t, { token: "t", base: "https://chat.example/" });
  client.start();
  return settled().then(() => {
    const { url, protocols } = server.socket;
    assert.deepEqual([url, protocols], ["wss://chat.example/ws", ["hyper-chat.v1", "bearer.t"]]);
  });
});

test("a WebSocket whose constructor throws counts as a failed attempt", async (t) => {
  const webSocket = class {
    constructor() {
      throw new SyntaxError("a bad URL");
    }
  };
  const { client, warnings } = begin(t, { token: "t", webSocket });
  client.start();
  await settled();
  assert.deepEqual([client.state, warnings], ["offline", ["a bad URL"]]);
});

test("a token of another account ends the connection", async (t) => {
  const { client } = begin(t, { token: "t", me: { id: BOB, username: "bob", nickname: "bob", fcm_reg_id: "" } });
  client.start();
  await settled();
  assert.deepEqual([client.state, client.me.id], ["signed-out", BOB]);
});
