// @ts-check
// Texts of the page: names, times, refusals, and the contents of chats.

import { h, icon } from "./dom.js";

/**
 * @import { Chatter, ChatRoom } from "../chat-client.js"
 */

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const DATE_YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const SHORT = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const DAY_MS = 86_400_000;

/**
 * How many midnights ago.
 * @param {Date} date
 */
function daysAgo(date) {
  const midnight = (/** @type {Date} */ day) => new Date(day.getFullYear(), day.getMonth(), day.getDate()).getTime();
  return Math.round((midnight(new Date()) - midnight(date)) / DAY_MS);
}

/** @param {string} time */
export const clock = (time) => CLOCK.format(new Date(time));

/**
 * For the line between two days.
 * @param {string} time
 */
export function day(time) {
  const date = new Date(time);
  const ago = daysAgo(date);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  if (ago < 7) return WEEKDAY.format(date);
  return (date.getFullYear() === new Date().getFullYear() ? DATE : DATE_YEAR).format(date);
}

/**
 * For a list: the time today, else the day.
 * @param {string} time
 */
export function shortTime(time) {
  const date = new Date(time);
  const ago = daysAgo(date);
  if (ago === 0) return CLOCK.format(date);
  if (ago === 1) return "Yesterday";
  return ago < 7 ? WEEKDAY.format(date).slice(0, 3) : SHORT.format(date);
}

/** @param {string} time */
export function lastSeen(time) {
  const minutes = Math.floor((Date.now() - Date.parse(time)) / 60_000);
  if (minutes < 1) return "last seen just now";
  if (minutes < 60) return `last seen ${minutes} min ago`;
  const ago = daysAgo(new Date(time));
  if (ago === 0) return `last seen at ${clock(time)}`;
  return ago === 1 ? `last seen yesterday at ${clock(time)}` : `last seen ${day(time)}`;
}

/** @param {ChatRoom} room */
export const roomName = ({ isNotes, other }) =>
  isNotes ? "Notes to self" : !other || isGone(other) ? "Deleted account" : other.nickname;

/**
 * Whether an account was deleted.
 * @param {Chatter} chatter
 */
export const isGone = (chatter) => chatter.username === `deleted-${chatter.id}`;

/** @type {Record<string, string>} */
const REFUSALS = {
  offline: "The server cannot be reached. Check your connection.",
  credentials_wrong: "This username and password do not belong together.",
  username_taken: "This username is taken. Please choose another one.",
  rate_limited: "That was a little too fast. Please wait a moment.",
  receiver_deleted: "This account was deleted, so nothing can be sent to it.",
  client_id_conflict: "This was sent before with another text.",
  unavailable: "The server is having trouble. Please try again in a moment.",
  busy: "The server is busy. Please try again in a moment.",
  draining: "The server is restarting. Please try again in a moment.",
  internal: "Something went wrong on the server.",
  outbox_full: "Too many messages wait to be sent. Please wait until they have left.",
};

/**
 * The text of a refusal.
 * @param {any} problem
 * @returns {string}
 */
export const explain = (problem) => REFUSALS[problem.code] ?? problem.message ?? "Something went wrong.";

const LINK = /https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]}]/g;

/** @type {Record<string, [string, string]>} */
const MARKS = {
  waiting: ["waiting", "Waiting to be sent"],
  sending: ["waiting", "Waiting to be sent"],
  sent: ["sent", "Sent"],
  delivered: ["delivered", "Delivered"],
  read: ["delivered", "Read"],
  failed: ["failed", "Not sent"],
};

/**
 * How far one's own chat has got, as an icon.
 * @param {string} mark
 */
export function markIcon(mark) {
  const [name, label] = MARKS[mark] ?? ["sent", "Sent"];
  const svg = icon(name, label);
  svg.classList.add("mark", mark);
  return svg;
}

/**
 * A chat's content as nodes, with its links as links.
 * @param {string} content
 */
export function rich(content) {
  const nodes = [];
  let end = 0;
  for (const { 0: url, index } of content.matchAll(LINK)) {
    nodes.push(content.slice(end, index), h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url));
    end = index + url.length;
  }
  nodes.push(content.slice(end));
  return nodes;
}

/**
 * One to three emoji and nothing else: shown large.
 * @param {string} content
 */
export const isEmoji = (content) => content.length < 40 && /^(?:\p{RGI_Emoji}\s?){1,3}$/v.test(content);

/**
 * The part of a long content around the searched text, as nodes with the find marked.
 * @param {string} content
 * @param {string} query
 */
export function excerpt(content, query) {
  const at = content.toLowerCase().indexOf(query.toLowerCase());
  if (at < 0) return [content.slice(0, 160)];
  const start = Math.max(0, at - 40);
  const end = at + query.length;
  return [
    (start > 0 ? "…" : "") + content.slice(start, at),
    h("mark", {}, content.slice(at, end)),
    content.slice(end, end + 120),
  ];
}

/**
 * Characters as the server counts them.
 * @param {string} content
 */
export const characters = (content) => [...content.normalize("NFC")].length;
