// @ts-check
// The parts of the account dialog that concern access: devices that are signed in, the password, deletion.

import { $, confirmed, h, toast } from "./dom.js";
import { explain, shortTime } from "./words.js";

/**
 * @import { ChatClient } from "../chat-client.js"
 */

/**
 * @typedef {{id: number, last_used: string, device_name: string | null, address_class: string | null,
 *   current: boolean}} OpenSession
 */

const BROWSERS = ["Edg", "OPR", "Firefox", "Chrome", "Safari"];
const SYSTEMS = ["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"];
/** @type {Record<string, string>} */
const NAMES = { Edg: "Edge", OPR: "Opera", "Mac OS": "macOS" };

/** What the list of sessions calls this browser: `Firefox on Linux`. */
export function deviceName() {
  const found = (/** @type {string[]} */ names, other = "") => {
    const name = names.find((part) => navigator.userAgent.includes(part)) ?? other;
    return NAMES[name] ?? name;
  };
  const system = found(SYSTEMS);
  return found(BROWSERS, "A browser") + (system && ` on ${system}`);
}

export class Sessions {
  #client = /** @type {any} */ (null);

  /** @param {() => void} signOut */
  constructor(signOut) {
    $("sessions-part").addEventListener("toggle", () => {
      if ($("sessions-part").open) this.#run("sessions", () => this.#list());
    });
    $("end-others").addEventListener("click", () => this.#run("sessions", () => this.#endOthers()));
    $("password-save").addEventListener("click", () => this.#run("password", () => this.#changePassword()));
    $("delete-account").addEventListener("click", () => this.#run("delete", () => this.#deleteAccount(signOut)));
    for (const id of ["current-password", "new-password"]) {
      $(id).addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" || event.isComposing) return;
        event.preventDefault();
        if (id === "new-password") $("password-save").click();
        else $("new-password").focus();
      });
    }
  }

  /** @param {ChatClient} client */
  use(client) {
    this.#client = client;
  }

  /** The dialog opens with all parts closed and no password in them. */
  reset() {
    for (const part of document.querySelectorAll("#account details")) part.removeAttribute("open");
    for (const id of ["current-password", "new-password"]) $(id).value = "";
    for (const part of ["sessions", "password", "delete"]) $(`${part}-problem`).textContent = "";
  }

  /**
   * Shows a refusal below the part that caused it.
   * @param {string} part
   * @param {() => Promise<void>} run
   */
  async #run(part, run) {
    $(`${part}-problem`).textContent = "";
    try {
      await run();
    } catch (problem) {
      $(`${part}-problem`).textContent = explain(problem);
    }
  }

  async #list() {
    /** @type {OpenSession[]} */
    const open = await this.#client.rest("GET", "/api/auth/sessions");
    $("sessions").replaceChildren(...open.map((one) => this.#item(one)));
    $("end-others").hidden = open.every((one) => one.current);
  }

  /** @param {OpenSession} one */
  #item(one) {
    const name = one.device_name ?? "Another device";
    const state = one.current ? "This device" : `Last used ${shortTime(one.last_used)}`;
    const place = one.address_class ? `, from ${one.address_class}` : "";
    const end = () => this.#run("sessions", () => this.#end(one.id));
    const label = { type: "button", onclick: end, "aria-label": `Sign out ${name}` };
    return h(
      "li",
      {},
      h("p.grow", {}, h("strong", {}, name), h("br"), h("span.quiet.small", {}, state + place)),
      one.current ? null : h("button.plain.danger", label, "Sign out"),
    );
  }

  /** @param {number} id */
  async #end(id) {
    await this.#client.rest("DELETE", `/api/auth/sessions/${id}`);
    await this.#list();
  }

  async #endOthers() {
    await this.#client.rest("DELETE", "/api/auth/sessions");
    await this.#list();
  }

  async #changePassword() {
    const [current, fresh] = [$("current-password"), $("new-password")];
    await this.#client.updateMe({ password: fresh.value, current_password: current.value });
    $("account").close();
    toast("Your password is changed. All other devices are signed out.");
  }

  /** @param {() => void} signOut */
  async #deleteAccount(signOut) {
    const text = "It cannot be brought back, and nobody can take your username.";
    if (!(await confirmed("Delete your account?", text, "Delete"))) return;
    await this.#client.rest("DELETE", "/api/chatters");
    $("account").close();
    signOut();
  }
}
