// A program of a team that uses the package: it has to compile under `--strict`.

import WebSocket from "ws";

import { ChatClient, ChatRoom, MemoryStorage, Problem, signIn, signUp } from "@hyper-chat/client";
import type {
  Chat,
  Chatter,
  ClientEvents,
  ClientOptions,
  ConnectionState,
  GetToken,
  OutboxEntry,
  StorageLike,
} from "@hyper-chat/client";

const getToken: GetToken = async () => (await signIn("http://127.0.0.1:8080", "ann", "correct horse")).token;
const storage: StorageLike = new MemoryStorage();
const options: ClientOptions = { base: "http://127.0.0.1:8080", getToken, storage, webSocket: WebSocket };
const client = new ChatClient({ ...options, outboxMax: 10, giveUp: { tries: 3 } });

client.addEventListener("state", () => {
  const state: ConnectionState = client.state;
  console.log(state, client.retryAt.toFixed(), client.closeCode.toFixed());
});
client.addEventListener("chat", ({ room, chat }) => show(room, chat), { once: true });
client.addEventListener("failed", ({ room, entry, problem }) => {
  console.log(room?.other?.nickname, entry.content, problem.code, problem.retryable);
  if (problem.retryable) client.retry(entry);
  else client.discard(entry);
});
const warned = (event: ClientEvents["warning"]) => console.log(event.error);
client.addEventListener("warning", warned);
client.removeEventListener("warning", warned);
// @ts-expect-error There is no such event.
client.addEventListener("message", () => {});
// @ts-expect-error This event has no chat.
client.addEventListener("rooms", ({ chat }) => chat);
// @ts-expect-error A client needs to know where its server is.
new ChatClient({ getToken });

function show(room: ChatRoom, chat: Chat): void {
  const other: Chatter | null = room.other;
  console.log(other?.nickname, chat.content, room.unread, room.progress(chat).toUpperCase());
}

async function main(): Promise<void> {
  const bob = await signUp("http://127.0.0.1:8080", "bob", "correct horse", "Bob");
  client.start();
  const room = await client.roomWith(bob.id);
  const entry: OutboxEntry = client.send(room, "hi");
  const pending: OutboxEntry[] = client.pending(room);
  console.log(entry.state === "failed" && entry.problem?.code, pending.length, client.unreadTotal);
  await client.open(room);
  await client.older(room);
  const found: Chat[] = await client.search(room, "hi");
  const people: Chatter[] = await client.findPeople("bo");
  console.log(
    found.length,
    people[0]?.nickname,
    [...client.rooms.values()].map(({ id }) => id),
  );
  for (const chat of room.chats) if (chat.sender_id === client.me?.id) await client.edit(room, chat, "hello");
  client.markRead(room, room.lastSeq);
  client.setTyping(room, true);
  client.forget();
}

main().catch((error: unknown) => {
  if (error instanceof Problem && error.needsToken) client.setToken("…");
});
