// Building and updating the page. Contents only ever become text nodes: nothing here parses HTML.

export const $ = (id) => document.getElementById(id);

/** An element: `h("a.link", { href, onclick }, "text", child)`. */
export function h(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else if (key === "data") Object.assign(element.dataset, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** One of the icons in index.html; `label` where it says something that no text says. */
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

/** The initials of somebody, in a colour of their own. */
export function avatar(person, online = false) {
  const words = person.nickname.trim().split(/\s+/);
  const first = (word) => /[\p{L}\p{N}]|\p{Extended_Pictographic}/u.exec(word)?.[0] ?? "";
  const latin = /^\p{Script=Latin}/u.test(words[0]);
  const initials = first(words[0]) + (latin && words.length > 1 ? first(words.at(-1)) : "");
  const hue = person.id % 8;
  return h("span.avatar", { data: { hue }, "aria-hidden": "true" }, initials.toUpperCase(), online ? h("i.dot") : null);
}

/**
 * Makes the children of `parent` these items, each `{ key, make(), update(node) }`: nodes that are there already stay,
 * with their focus, selection and scroll positions.
 */
export function reconcile(parent, items) {
  const focused = document.activeElement;
  const old = parent.keyed ?? new Map();
  const keys = new Set(items.map(({ key }) => key));
  for (const [key, node] of old) if (!keys.has(key)) node.remove();
  parent.keyed = new Map();
  let place = parent.firstChild;
  for (const { key, make, update } of items) {
    const node = old.get(key) ?? make();
    update?.(node);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    parent.keyed.set(key, node);
  }
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** Says something to those who hear the page. */
export function announce(text) {
  $("live").textContent = text;
}

let toastTimer;

/** Shows a short text for a while. */
export function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), 6_000);
}

/** Asks before something that cannot be undone. */
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

/** Whether there is room for one pane only; the same width as in style.css. */
export const onePane = () => matchMedia("(max-width: 52rem)").matches;

/** Runs at most once a frame, however often it is called. */
export function onceAFrame(run) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    // A hidden page gets no frames, but its title and its counts go on.
    const when = document.hidden ? (then) => setTimeout(then, 50) : requestAnimationFrame;
    when(() => {
      asked = false;
      run();
    });
  };
}
