// @ts-check
// The keyboard in the log: one chat is a stop of the Tab key, the arrow keys go on from it.

import { chatOf } from "./bubbles.js";
import { $ } from "./dom.js";

/**
 * @import { KeyedChildren } from "./dom.js"
 */

export class LogKeys {
  #list;
  #children;
  #actions;
  /** @type {string | number | null} The key of the chat that the Tab key reaches. */
  #active = null;

  /**
   * @param {any} list The list of chats.
   * @param {KeyedChildren} children Its children.
   * @param {{edit: (chat: any) => void, remove: (chat: any) => void}} actions
   */
  constructor(list, children, actions) {
    this.#list = list;
    this.#children = children;
    this.#actions = actions;
    list.addEventListener("focusin", (/** @type {any} */ event) => this.#activate(event.target.closest(".chat")));
  }

  /** Forgets the active chat: another room is shown. */
  reset() {
    this.#active = null;
  }

  /** Lets the Tab key come to the newest chat first. */
  prepareFocus() {
    if (!this.#children.has(this.#active)) this.#activate(this.#nodes().at(-1));
  }

  /** @param {any} event */
  press(event) {
    const node = event.target.closest(".chat");
    if (!node || event.target !== node || event.ctrlKey || event.metaKey || event.altKey) return;
    const nodes = this.#nodes();
    const at = nodes.indexOf(node);
    /** @type {Record<string, any>} */
    const targets = { ArrowUp: nodes[at - 1], ArrowDown: nodes[at + 1], Home: nodes[0], End: nodes.at(-1) };
    const target = targets[event.key];
    const own = node.querySelector(".tools") !== null;
    if (target) target.focus();
    else if (event.key === "Escape") $("text").focus();
    else if (own && (event.key === "Enter" || event.key === "e")) this.#actions.edit(chatOf(node));
    else if (own && event.key === "Delete") this.#actions.remove(chatOf(node));
    else return;
    event.preventDefault();
  }

  /** @param {any} node */
  #activate(node) {
    if (!node) return;
    for (const stop of this.#list.querySelectorAll("[tabindex='0']")) stop.tabIndex = -1;
    for (const stop of [node, ...node.querySelectorAll(".tools button")]) stop.tabIndex = 0;
    this.#active = this.#children.keyOf(node);
  }

  #nodes() {
    return [...this.#list.querySelectorAll(".chat")];
  }
}
