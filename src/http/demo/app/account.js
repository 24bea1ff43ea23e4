// One's own account: name, what others see, signing out.

import { $, avatar, h } from "./dom.js";
import { explain } from "./words.js";

export class Account {
  #client;

  /** `signOut()` is called for signing out. */
  constructor(signOut) {
    $("account-button").addEventListener("click", () => this.#open());
    $("account-save").addEventListener("click", () => this.#save());
    $("account").addEventListener("submit", (event) => {
      if (event.submitter?.value !== "cancel") event.preventDefault();
    });
    $("new-nickname").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.#save();
    });
    $("sign-out").addEventListener("click", () => {
      $("account").close();
      signOut();
    });
  }

  use(client) {
    this.#client = client;
    this.render();
  }

  render() {
    const { me } = this.#client;
    const button = $("account-button");
    if (button.shown === me.nickname) return;
    button.shown = me.nickname;
    button.replaceChildren(avatar(me), h("span.unseen", {}, `Your account: ${me.nickname}`));
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
    $("account").showModal();
  }

  async #save() {
    const changes = {
      nickname: $("new-nickname").value.trim(),
      show_last_seen: $("show-last-seen").checked,
      show_receipts: $("show-receipts").checked,
    };
    try {
      await this.#client.changeMe(changes);
      $("account").close();
    } catch (problem) {
      $("account-problem").textContent = explain(problem);
    }
  }
}
