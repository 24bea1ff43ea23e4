// @ts-check
// What the client reads and writes by REST.

import { Problem, request } from "./rest.js";

/**
 * @import { Chat, Chatroom, Chatter } from "./protocol.js"
 * @import { ChatRoom } from "./room.js"
 * @import { Rooms } from "./rooms.js"
 * @import { TokenSource } from "./token.js"
 * @import { PageKind } from "./window.js"
 */

const HISTORY_PAGE = 50;
const ROOM_PAGES_MAX = 500;
const SEARCH_PAGE = 50;
const SEARCH_PAGES_MAX = 20;

export class Api {
  #options;
  #rooms;

  /**
   * `onSignedOut` is called where the server refuses the newest token.
   * @param {object} options
   * @param {string} options.base
   * @param {TokenSource} options.tokens
   * @param {typeof fetch} options.fetch
   * @param {Rooms} options.rooms
   * @param {() => void} options.onSignedOut
   */
  constructor(options) {
    this.#options = options;
    this.#rooms = options.rooms;
  }

  /**
   * The body of an answer.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   */
  async rest(method, path, body) {
    return (await this.#request(method, path, body)).json;
  }

  /**
   * Fills a room's window: with the newest page or, with many unread, with the one around the first of them.
   * @param {ChatRoom} room
   */
  async open(room) {
    const read = room.ownMarks.read_seq;
    const isFilled = room.loaded && (!room.hasOlder || room.unread === 0 || (room.chats[0]?.seq ?? Infinity) <= read);
    if (isFilled) return;
    await (room.unread > HISTORY_PAGE / 2 && read > 0 ? this.around(room, read) : this.newest(room));
  }

  /** @param {ChatRoom} room */
  newest(room) {
    return this.#history(room, "newest", "");
  }

  /**
   * @param {ChatRoom} room
   * @param {number} seq
   */
  around(room, seq) {
    return this.#history(room, "around", `&around=${seq}`);
  }

  /** @param {ChatRoom} room */
  older(room) {
    const oldest = room.chats[0];
    return this.#history(room, "older", oldest ? `&before=${oldest.seq}` : "");
  }

  /** @param {ChatRoom} room */
  newer(room) {
    return this.#history(room, "newer", `&after=${room.chats.at(-1)?.seq ?? 0}`);
  }

  /** Reads all rooms with their people, who is online, and their last chats. */
  async readRooms() {
    /** @type {string | null} */
    let next = "/api/chatrooms?limit=200";
    for (let page = 0; next && page < ROOM_PAGES_MAX; page += 1) {
      const answer = await this.#request("GET", next);
      for (const body of answer.json) this.#rooms.apply(body);
      next = answer.next;
    }
  }

  /**
   * Searches a room until a page of chats is found. The server examines a part of a long room with each request.
   * @param {ChatRoom} room
   * @param {string} query
   * @returns {Promise<Chat[]>}
   */
  async search(room, query) {
    /** @type {Chat[]} */
    const found = [];
    /** @type {string | null} */
    let next = `/api/chatrooms/${room.id}/chats/search?limit=${SEARCH_PAGE}`;
    for (let page = 0; next && found.length < SEARCH_PAGE && page < SEARCH_PAGES_MAX; page += 1) {
      const answer = await this.#request("POST", next, { query });
      found.push(...answer.json);
      next = answer.next;
    }
    return found.slice(0, SEARCH_PAGE);
  }

  /** @param {number} id */
  async readRoom(id) {
    return this.#applied(await this.rest("GET", `/api/chatrooms/${id}`));
  }

  /** @param {number} chatterId */
  async roomWith(chatterId) {
    try {
      return this.#applied(await this.rest("POST", "/api/chatrooms", { opponent_id: chatterId }));
    } catch (problem) {
      const id = problem instanceof Problem && problem.code === "chatroom_exists" ? problem.chatroom_id : undefined;
      if (id === undefined) throw problem;
      const existing = this.#rooms.byId.get(id);
      return existing?.owner ? existing : this.readRoom(id);
    }
  }

  /** @param {Chatroom} body */
  #applied(body) {
    const room = this.#rooms.apply(body);
    this.#rooms.changed(room);
    return room;
  }

  /**
   * @param {ChatRoom} room
   * @param {PageKind} kind
   * @param {string} query
   */
  async #history(room, kind, query) {
    const page = room.beginRequest(kind);
    try {
      const path = `/api/chatrooms/${room.id}/chats?limit=${HISTORY_PAGE}${query}`;
      const { json: chats, next } = await this.#request("GET", path);
      room.applyPage(page, chats, next !== null);
    } finally {
      room.endRequest();
    }
    this.#rooms.changed(room);
  }

  /**
   * Sends a request, once again with a new token where the server refuses the first.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   */
  async #request(method, path, body) {
    const { base, tokens, fetch, onSignedOut } = this.#options;
    let token = await tokens.get();
    for (let last = !tokens.renewable; ; last = true) {
      try {
        return await request(base, method, path, { token, body, fetch });
      } catch (problem) {
        if (!(problem instanceof Problem && problem.needsToken)) throw problem;
        if (last && token === tokens.current) onSignedOut();
        if (last) throw problem;
        tokens.refuse(token);
        token = await tokens.get();
      }
    }
  }
}
