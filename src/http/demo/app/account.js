// @ts-check
// One's own account: name, what others see, signing out. sessions.js has devices, password and deletion.

import { $, avatar, h, redraw } from "./dom.js";
import { Sessions } from "./sessions.js";
import { explain } from "./words.js";

/**
 * @import { ChatClient } from "../chat-client.js"
 */

export class Account {
  #client = /** @type {any} */ (null);
  #sessions;

  /** @param {() => void} signOut */
  constructor(signOut) {
    this.#sessions = new Sessions(signOut);
    $("account-button").addEventListener("click", () => this.#open());
    $("account-save").addEventListener("click", () => this.#save());
    $("account").addEventListener("submit", (/** @type {any} */ event) => {
      if (event.submitter?.value !== "cancel") event.preventDefault();
    });
    $("new-nickname").addEventListener("keydown", (/** @type {any} */ event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.#save();
    });
    $("sign-out").addEventListener("click", () => {
      $("account").close();
      signOut();
    });
  }

  /** @param {ChatClient} client */
  use(client) {
    this.#client = client;
    this.#sessions.use(client);
    this.render();
  }

  render() {
    const { me } = this.#client;
    const button = $("account-button");
    redraw(button, [me.id, me.nickname], () => {
      button.replaceChildren(avatar(me), h("span.unseen", {}, `Your account: ${me.nickname}`));
    });
  }

  #open() {
    const { me } = this.#client;
    $("me-avatar").replaceChildren(avatar(me));
    $("me-name").textContent = me.nickname;
    $("me-username").textContent = `@${me.username}`;
    $("new-nickname").value = me.nickname;
    $("show-last-seen").checked = me.show_last_seen ?? true;
    $("show-receipts").checked = me.show_receipts ?? true;
    $("account-problem").textContent = "";
    this.#sessions.reset();
    $("account").showModal();
  }

  async #save() {
    const changes = {
      nickname: $("new-nickname").value.trim(),
      show_last_seen: $("show-last-seen").checked,
      show_receipts: $("show-receipts").checked,
    };
    try {
      await this.#client.updateMe(changes);
      $("account").close();
    } catch (problem) {
      $("account-problem").textContent = explain(problem);
    }
  }
}
