// @ts-check
// The composer: drafts, sending, editing, "typing".

import { $, toast } from "./dom.js";
import { characters, explain } from "./words.js";

/**
 * @import { Chat, ChatClient, ChatRoom } from "../chat-client.js"
 * @import { ChatLog } from "./chat-log.js"
 */

const MAX = 8_000;
const TYPING_STOPS_MS = 4_000;

export class Composer {
  #text = $("text");
  #log;
  #client = /** @type {any} */ (null);
  #room = /** @type {any} */ (null);
  #editing = /** @type {Chat | null} */ (null);
  /** @type {WeakMap<ChatRoom, string>} What was written and not sent, by room. */
  #drafts = new WeakMap();
  #typingTimer = /** @type {any} */ (0);

  /** @param {ChatLog} log */
  constructor(log) {
    this.#log = log;
    this.#text.addEventListener("input", () => this.#changed());
    this.#text.addEventListener("keydown", (/** @type {any} */ event) => this.#key(event));
    $("composer").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#submit();
    });
    $("edit-cancel").addEventListener("click", () => this.#stopEditing());
  }

  /**
   * @param {ChatClient} client
   * @param {ChatRoom} room
   */
  open(client, room) {
    this.close();
    this.#client = client;
    this.#room = room;
    this.#fill(this.#drafts.get(room) ?? "");
  }

  close() {
    if (!this.#room) return;
    if (this.#editing) this.#stopEditing();
    this.#drafts.set(this.#room, this.#text.value);
    this.#stopTyping();
    this.#room = null;
  }

  /** @param {any} chat */
  edit(chat) {
    this.#drafts.set(this.#room, (this.#editing && this.#drafts.get(this.#room)) ?? this.#text.value);
    this.#editing = chat;
    $("editing").hidden = false;
    $("editing-text").textContent = chat.content.slice(0, 200);
    this.#fill(chat.content);
    this.#text.focus();
  }

  #stopEditing() {
    this.#editing = null;
    $("editing").hidden = true;
    this.#fill(this.#drafts.get(this.#room) ?? "");
    this.#text.focus();
  }

  /** @param {any} event */
  #key(event) {
    // Enter that ends a composition (한글, かな) belongs to the input method; Safari tells it by its key code.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey && !onPhone()) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && this.#editing) {
      event.stopPropagation();
      this.#stopEditing();
    } else if (event.key === "ArrowUp" && this.#text.value === "") {
      const chat = this.#log.lastOwn();
      if (!chat) return;
      event.preventDefault();
      this.edit(chat);
    }
  }

  async #submit() {
    const content = this.#text.value.trim();
    const [room, chat] = [this.#room, this.#editing];
    if (content === "" || tooLong(content)) return;
    if (!chat) return this.#send(room, content);
    this.#stopEditing();
    if (content === chat.content) return;
    try {
      await this.#client.edit(room, chat, content);
    } catch (problem) {
      toast(`The message was not changed. ${explain(problem)}`);
    }
  }

  /**
   * @param {ChatRoom} room
   * @param {string} content
   */
  #send(room, content) {
    try {
      this.#client.send(room, content);
    } catch (problem) {
      return toast(explain(problem)); // the outbox is full: the text stays
    }
    this.#fill("");
    this.#stopTyping();
    this.#text.focus();
    return this.#log.sent();
  }

  /** @param {string} text */
  #fill(text) {
    this.#text.value = text;
    this.#update();
  }

  #changed() {
    this.#update();
    clearTimeout(this.#typingTimer);
    if (this.#editing) return;
    if (this.#text.value.trim() === "") return this.#stopTyping();
    this.#client.setTyping(this.#room, true);
    this.#typingTimer = setTimeout(() => this.#stopTyping(), TYPING_STOPS_MS);
  }

  #stopTyping() {
    clearTimeout(this.#typingTimer);
    this.#client.setTyping(this.#room, false);
  }

  #update() {
    const content = this.#text.value;
    if (!CSS.supports("field-sizing", "content")) {
      this.#text.style.height = "auto";
      this.#text.style.height = `${this.#text.scrollHeight}px`;
    }
    const much = content.length > MAX - 500;
    const count = much ? characters(content.trim()) : 0;
    $("composer-note").textContent = much ? `${count.toLocaleString()} of ${MAX.toLocaleString()} characters` : "";
    $("composer-note").classList.toggle("problem", count > MAX);
    $("send").disabled = content.trim() === "" || count > MAX;
  }
}

const tooLong = (/** @type {string} */ content) => content.length > MAX && characters(content) > MAX;

/** Enter makes a line there, as everywhere on a phone. */
export const onPhone = () => matchMedia("(pointer: coarse)").matches;
