// The installed package against a real server, which HYPER_CHAT_BIN names: two people chat, the server is killed while
// chats wait, a token ends, and a chat is refused. `tests/sdk/check` runs it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ChatClient, MemoryStorage, signIn, signUp } from "@hyper-chat/client";
import WebSocket from "ws";

const PASSWORD = "correct horse battery";
const folder = mkdtempSync(join(tmpdir(), "hyper-chat-sdk-"));
const port = await freePort();
const logFile = join(folder, "server.log");
// Below a path, as behind a proxy that keeps it.
const base = `http://127.0.0.1:${port}/chat`;
let server;

async function freePort() {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

async function startServer() {
  const env = {
    PATH: process.env.PATH,
    DATABASE_URL: `sqlite://${join(folder, "chat.db")}?mode=rwc`,
    HYPER_CHAT__SERVER__HOST: "127.0.0.1",
    HYPER_CHAT__SERVER__PORT: String(port),
    HYPER_CHAT__SERVER__BASE_PATH: "/chat",
  };
  const log = openSync(logFile, "a");
  server = spawn(process.env.HYPER_CHAT_BIN, [], { cwd: folder, env, stdio: ["ignore", log, log] });
  await until("the server is ready", async () => (await fetch(`${base}/readyz`).catch(() => null))?.ok);
}

async function killServer() {
  server.kill("SIGKILL");
  await once(server, "exit");
}

async function until(what, holds) {
  for (let tries = 0; tries < 300; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`30 s passed before ${what}`);
}

/** A client that signs in by itself with the password of the moment, and what it received. */
function begin(username, options = {}) {
  const person = { password: PASSWORD, signIns: 0, received: [], failed: [], warnings: [] };
  const getToken = async () => {
    person.signIns += 1;
    return (await signIn(base, username, person.password)).token;
  };
  const client = new ChatClient({ base, getToken, webSocket: WebSocket, ...options });
  client.addEventListener("chat", ({ chat }) => person.received.push(chat.content));
  client.addEventListener("failed", ({ entry, problem }) => person.failed.push([entry.content, problem.code]));
  client.addEventListener("warning", ({ error }) => person.warnings.push(error));
  client.start();
  return Object.assign(person, { client });
}

async function run() {
  await startServer();
  const bobs = await signUp(base, "bob", PASSWORD, "Bob");
  await signUp(base, "ann", PASSWORD, "Ann");
  const storage = new MemoryStorage();
  const ann = begin("ann", { storage });
  const bob = begin("bob", globalThis.WebSocket ? { webSocket: globalThis.WebSocket } : {});
  await until("both are online", () => ann.client.state === "online" && bob.client.state === "online");

  const room = await ann.client.roomWith(bobs.id);
  ann.client.send(room, "Hello Bob");
  await until("Bob has the chat", () => bob.received.length === 1);
  const bobsRoom = bob.client.rooms.get(room.id);
  assert.deepEqual([bobsRoom.other.nickname, bobsRoom.unread], ["Ann", 1]);
  bob.client.markRead(bobsRoom, bobsRoom.lastSeq);
  bob.client.send(bobsRoom, "Hello Ann");
  await until("Ann has the answer", () => ann.received.length === 1);
  await until("Ann sees that Bob has read", () => room.progress({ seq: 1 }) === "read");

  // Chats that are written while the server is dead arrive once, in their order.
  await killServer();
  await until("Ann is offline", () => ann.client.state !== "online");
  const texts = ["one", "two", "three"];
  for (const text of texts) ann.client.send(room, text);
  assert.equal(ann.client.pending(room).length, 3);
  // Another start on the same device goes on with the outbox.
  ann.client.stop();
  const again = begin("ann", { storage, me: ann.client.me });
  assert.deepEqual([again.client.pending().length, again.client.rooms.get(room.id)?.version], [3, room.version]);
  await startServer();
  await until("Bob has all chats", () => bob.received.length === 4);
  await until("nothing waits", () => again.client.pending().length === 0);
  assert.deepEqual(bob.received.slice(1), texts);

  // A changed password ends the other sign-ins: close code 4401, getToken, online again.
  const { signIns } = again;
  again.password = `${PASSWORD} staple`;
  const { token } = await signIn(base, "ann", PASSWORD);
  const changed = await fetch(`${base}/api/chatters`, {
    method: "PUT",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ password: again.password, current_password: PASSWORD }),
  });
  assert.equal(changed.status, 200);
  await until("Ann has a new token", () => again.signIns > signIns && again.client.state === "online");

  // A chat that breaks a rule fails at once, and the next one arrives.
  const annsRoom = again.client.rooms.get(room.id);
  again.client.send(annsRoom, "x".repeat(8_001));
  again.client.send(annsRoom, "after it");
  await until("the chat after it arrives", () => bob.received.at(-1) === "after it");
  assert.deepEqual(
    again.failed.map(([text, code]) => [text.length, code]),
    [[8_001, "invalid"]],
  );
  again.client.discard(again.client.pending()[0]);

  // Edits and deletions, and the history as a new device reads it.
  await again.client.open(annsRoom);
  await again.client.edit(annsRoom, annsRoom.chats[0], "Hello, Bob!");
  await again.client.delete(annsRoom, annsRoom.chats.at(-1));
  const device = begin("bob");
  await until("the new device is online", () => device.client.rooms.get(room.id)?.owner);
  const fresh = device.client.rooms.get(room.id);
  await device.client.open(fresh);
  assert.deepEqual(
    fresh.chats.map(({ content }) => content),
    ["Hello, Bob!", "Hello Ann", ...texts],
  );
  for (const person of [ann, again, bob, device]) {
    assert.deepEqual(person.warnings, []);
    person.client.stop();
  }
}

try {
  await run();
} catch (error) {
  console.error(readFileSync(logFile, "utf8"));
  throw error;
} finally {
  server?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
