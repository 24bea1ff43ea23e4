// @ts-check
// Building and updating the page. Contents only ever become text nodes: nothing here parses HTML.

/**
 * The element of index.html with this id.
 * @param {string} id
 * @returns {any}
 */
export const $ = (id) => document.getElementById(id);

/**
 * An element: `h("a.link", { href, onclick }, "text", child)`.
 * @param {string} name
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null)} children
 * @returns {any}
 */
export function h(name, properties = {}, ...children) {
  const [tag = "", ...classes] = name.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else if (key === "data") Object.assign(element.dataset, value);
    else Object.assign(element, { [key]: value });
  }
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/**
 * One of the icons in index.html; `label` where no text beside it says the same.
 * @param {string} name
 * @param {string} [label]
 */
export function icon(name, label = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  return svg;
}

/**
 * The initials of a person, in a colour of their own.
 * @param {{id: number, nickname: string}} person
 */
export function avatar(person, online = false) {
  const words = person.nickname.trim().split(/\s+/);
  const first = (word = "") => /[\p{L}\p{N}]|\p{Extended_Pictographic}/u.exec(word)?.[0] ?? "";
  const latin = /^\p{Script=Latin}/u.test(words[0] ?? "");
  const initials = first(words[0]) + (latin && words.length > 1 ? first(words.at(-1)) : "");
  const hue = person.id % 8;
  return h("span.avatar", { data: { hue }, "aria-hidden": "true" }, initials.toUpperCase(), online ? h("i.dot") : null);
}

/** @typedef {{key: string | number, make: () => any, update?: (node: any) => void}} Item */

/** The children of a node, by key. Nodes that exist already stay, with their focus, selection and scroll positions. */
export class KeyedChildren {
  #parent;
  /** @type {Map<string | number, any>} */
  #nodes = new Map();

  /** @param {any} parent */
  constructor(parent) {
    this.#parent = parent;
  }

  /** @param {string | number | null} key */
  has(key) {
    return key !== null && this.#nodes.has(key);
  }

  /**
   * The key of a child.
   * @param {Node} node
   */
  keyOf(node) {
    return [...this.#nodes].find(([, child]) => child === node)?.[0] ?? null;
  }

  clear() {
    this.#nodes.clear();
    this.#parent.replaceChildren();
  }

  /**
   * Makes the children these items.
   * @param {Item[]} items
   */
  reconcile(items) {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    const old = this.#nodes;
    const keys = new Set(items.map(({ key }) => key));
    for (const [key, node] of old) if (!keys.has(key)) node.remove();
    this.#nodes = new Map();
    let place = this.#parent.firstChild;
    for (const { key, make, update } of items) {
      const node = old.get(key) ?? make();
      update?.(node);
      if (node === place) place = place.nextSibling;
      else this.#parent.insertBefore(node, place);
      this.#nodes.set(key, node);
    }
    if (focused !== document.activeElement && this.#parent.contains(focused)) focused?.focus({ preventScroll: true });
  }
}

/** @type {WeakMap<Node, string>} What each node was last drawn from. */
const drawn = new WeakMap();

/**
 * Draws a node, unless it was last drawn from the same values.
 * @param {Node} node
 * @param {unknown} values
 * @param {() => void} draw
 */
export function redraw(node, values, draw) {
  const text = JSON.stringify(values);
  if (drawn.get(node) === text) return;
  drawn.set(node, text);
  draw();
}

/**
 * Lets a screen reader read a text aloud.
 * @param {string} text
 */
export function announce(text) {
  $("live").textContent = text;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer;

/**
 * Shows a short text for a while.
 * @param {string} text
 */
export function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), 6_000);
}

/**
 * Asks before something that cannot be undone.
 * @param {string} title
 * @param {string} text
 * @param {string} yes
 * @returns {Promise<boolean>}
 */
export function confirmed(title, text, yes) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Whether there is room for one pane only; the same width as in style/overlays.css. */
export const onePane = () => matchMedia("(max-width: 52rem)").matches;

/**
 * Runs at most once a frame, however often it is called.
 * @param {() => void} run
 */
export function onceAFrame(run) {
  let requested = false;
  return () => {
    if (requested) return;
    requested = true;
    // A hidden page gets no frames, but its title and its counts go on.
    const when = document.hidden ? (/** @type {() => void} */ then) => setTimeout(then, 50) : requestAnimationFrame;
    when(() => {
      requested = false;
      run();
    });
  };
}
