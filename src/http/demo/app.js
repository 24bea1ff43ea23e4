// @ts-check
// The demo page: the account that is signed in, the open room, and the state of the connection.

import { Account } from "./app/account.js";
import { ChatPane } from "./app/chat-pane.js";
import { $, announce, h, onceAFrame, onePane, redraw, toast } from "./app/dom.js";
import { RoomList } from "./app/room-list.js";
import { SignInForm } from "./app/sign-in.js";
import { roomName } from "./app/words.js";
import { ChatClient, Session } from "./chat-client.js";

/**
 * @import { Chat, ChatRoom, SignedIn } from "./chat-client.js"
 */

// The page is `/`, or `/chat/` where the server is shown below a path.
const BASE = new URL(".", location.href).href.slice(0, -1);
const SESSION = "hyper-chat:session";
const QUICK_MS = 800; // a connection that is made faster than this needs no words

let client = /** @type {any} */ (null);
let session = /** @type {any} */ (null);
let connectingSince = 0;
let cameFromList = false; // then the arrow and the device's own Back are one

const account = new Account(signOut);
const pane = new ChatPane();
const list = new RoomList((room) => (location.hash = `#/${room.id}`));
const form = new SignInForm(BASE, (signedIn, stay) => {
  const storage = stay ? localStorage : sessionStorage;
  storage.setItem(SESSION, JSON.stringify(signedIn));
  enter(signedIn, storage);
});

// ---- Who is signed in ----

function begin() {
  for (const storage of [sessionStorage, localStorage]) {
    const kept = readSession(storage);
    if (kept) return enter(kept, storage);
  }
  form.open();
}

/**
 * The sign-in that a storage keeps.
 * @param {Storage} storage
 * @returns {SignedIn | null}
 */
function readSession(storage) {
  try {
    const kept = JSON.parse(storage.getItem(SESSION) ?? "null");
    return typeof kept?.token === "string" && kept.chatter?.id ? kept : null;
  } catch {
    return null;
  }
}

/**
 * @param {SignedIn} signedIn
 * @param {Storage} storage
 */
function enter({ chatter }, storage) {
  // Rooms and chats that another account left on this device are not for this one.
  for (const key of Object.keys(storage)) {
    if (/^hyper-chat:\d+:/.test(key) && !key.startsWith(`hyper-chat:${chatter.id}:`)) storage.removeItem(key);
  }
  const save = (/** @type {SignedIn} */ fresh) => storage.setItem(SESSION, JSON.stringify(fresh));
  session = new Session({ base: BASE, load: () => readSession(storage), save });
  const getToken = () => session.getToken();
  if (client?.me.id === chatter.id) getToken().then((/** @type {string} */ token) => client.setToken(token));
  else start(new ChatClient({ base: BASE, getToken, me: chatter, storage }));
  $("app").hidden = false;
  follow();
}

/** @param {ChatClient} fresh */
function start(fresh) {
  client?.stop();
  client = fresh;
  const whileCurrent = (/** @type {(event: any) => void} */ run) => (/** @type {Event} */ event) => {
    if (client === fresh) run(event);
  };
  fresh.addEventListener("state", whileCurrent(stateChanged));
  fresh.addEventListener("rooms", whileCurrent(follow));
  fresh.addEventListener("room", whileCurrent(render));
  fresh.addEventListener(
    "chat",
    whileCurrent(({ room, chat }) => arrived(room, chat)),
  );
  fresh.addEventListener(
    "failed",
    whileCurrent(({ room }) => failed(room)),
  );
  account.use(client);
  list.use(client);
  client.start();
}

/** @param {string} notice */
function leave(notice) {
  for (const storage of [sessionStorage, localStorage]) storage.removeItem(SESSION);
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  pane.close();
  $("app").hidden = true;
  document.title = "Hyper Chat";
  form.open(notice, client?.me.username);
}

function signOut() {
  session.end(); // reads the token before it goes
  client.forget();
  client = null;
  history.replaceState(null, "", location.pathname);
  leave("");
}

// ---- Which room is open ----

/** The room is in the address, so that Back goes back and a reload comes back. */
function follow() {
  if (!client || $("app").hidden) return;
  const room = client.rooms.get(Number(location.hash.slice(2)));
  document.body.dataset.view = room?.owner ? "chat" : "list";
  if (room?.owner) {
    pane.open(client, room);
  } else if (pane.room) {
    const left = pane.room.id;
    pane.close();
    if (location.hash) history.replaceState(null, "", location.pathname); // the room is gone
    const link = /** @type {HTMLElement | null} */ (document.querySelector(`#rooms a[href="#/${left}"]`));
    if (onePane()) link?.focus();
  }
  render();
}

/**
 * @param {ChatRoom} room
 * @param {Chat} chat
 */
function arrived(room, chat) {
  if (room === pane.room) {
    pane.arrived();
    announce(`${roomName(room)}: ${chat.content.slice(0, 300)}`);
  } else {
    announce(`New message from ${roomName(room)}`);
  }
}

/**
 * The log shows a failed chat in the open room; other rooms need a word.
 * @param {ChatRoom | undefined} room
 */
function failed(room) {
  if (room?.owner && room !== pane.room) toast(`A message to ${roomName(room)} was not sent.`);
  else announce("Your message was not sent.");
}

const render = onceAFrame(() => {
  if (!client || $("app").hidden) return;
  pane.render();
  list.render(pane.room);
  account.render();
  const unread = client.unreadTotal;
  document.title = unread ? `(${unread}) Hyper Chat` : "Hyper Chat";
});

// ---- The connection ----

function stateChanged() {
  document.body.dataset.connection = client.state;
  if (client.state === "signed-out") return leave("Your sign-in has ended. Please sign in again; nothing is lost.");
  if (client.state === "connecting") connectingSince ||= Date.now();
  if (client.state === "online") {
    connectingSince = 0;
    pane.reconnected();
  }
  showConnection();
  render();
}

function showConnection() {
  const { state, retryAt, closeCode } = client;
  const quick = state === "connecting" && Date.now() - connectingSince < QUICK_MS;
  const seconds = Math.ceil((retryAt - Date.now()) / 1_000);
  if (state === "online" || quick) showLine("");
  else if (state === "stopped" && closeCode === 4409) showLine("Chat is open in many other places.", "", "Use it here");
  else if (state === "stopped") showLine("The server has ended the connection.", "", "Connect again");
  else if (state === "connecting" || seconds <= 0) showLine("Connecting…");
  else showLine("No connection.", `Next try in ${seconds} s`, "Try now");
}

/**
 * Only the countdown changes every second; a screen reader does not read it.
 * @param {string} text
 * @param {string} [countdown]
 * @param {string} [action]
 */
function showLine(text, countdown = "", action = "") {
  const line = $("connection");
  redraw(line, text, () => {
    const run = () => (client.state === "stopped" ? client.start() : client.wake());
    const button = action ? h("button.link", { onclick: run }, action) : "";
    line.replaceChildren(...(text ? [h("span", {}, text), h("span.grow", { "aria-hidden": "true" }), button] : []));
  });
  if (text) line.children[1].textContent = countdown;
}

setInterval(() => client && !$("app").hidden && showConnection(), 500);

// ---- The window ----

addEventListener("hashchange", ({ oldURL }) => {
  cameFromList = !new URL(oldURL).hash;
  follow();
});
addEventListener("online", () => client?.wake());
addEventListener("offline", () => client?.wake());
// A page that the browser keeps for the Back button must not look online.
addEventListener("pagehide", () => client?.stop());
addEventListener("pageshow", ({ persisted }) => persisted && client?.start());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) client?.wake();
  render();
});
$("back").addEventListener("click", () => {
  if (cameFromList) history.back();
  else location.hash = "";
});
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k" && client) {
    event.preventDefault();
    if (onePane()) location.hash = "";
    $("find").focus();
  }
});
// Signed out in another tab: here too.
addEventListener("storage", ({ key, newValue }) => {
  if (key === SESSION && newValue === null && client) location.reload();
});

begin();
