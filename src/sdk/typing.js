// @ts-check
// "typing", in both directions.

import { Timers } from "./timers.js";

/**
 * @import { ChatRoom } from "./room.js"
 */

const REPEAT_MS = 3_000; // between two frames while the person goes on typing
const GONE_MS = 7_000; // the server ends it after 6 s; this is for a lost frame

export class Typing {
  #post;
  #onChanged;
  #timers = new Timers();
  /** @type {Map<number, number>} When "typing" was last sent, by room. */
  #sentAt = new Map();

  /**
   * @param {(frame: object) => boolean} post Sends a frame; false while there is no connection.
   * @param {(room: ChatRoom) => void} onChanged
   */
  constructor(post, onChanged) {
    this.#post = post;
    this.#onChanged = onChanged;
  }

  /**
   * Sends that the person types or has stopped, unless the server has it already.
   * @param {ChatRoom} room
   * @param {boolean} typing
   */
  send(room, typing) {
    const sentAt = this.#sentAt.get(room.id);
    const isCurrent = typing ? Date.now() - (sentAt ?? 0) < REPEAT_MS : sentAt === undefined;
    if (room.isNotes || isCurrent || !this.#post({ type: "typing", chatroom_id: room.id, typing })) return;
    if (typing) this.#sentAt.set(room.id, Date.now());
    else this.#sentAt.delete(room.id);
  }

  /**
   * A chat ends one's own "typing" without a frame.
   * @param {ChatRoom} room
   */
  sent(room) {
    this.#sentAt.delete(room.id);
  }

  /**
   * Shows that the other person types or has stopped.
   * @param {ChatRoom} room
   * @param {boolean} typing
   */
  show(room, typing) {
    room.typing = typing;
    this.#timers.cancel(`room ${room.id}`);
    if (typing) {
      this.#timers.set(`room ${room.id}`, GONE_MS, () => {
        room.typing = false;
        this.#onChanged(room);
      });
    }
  }

  /** Forgets everything: the connection broke. */
  reset() {
    this.#sentAt.clear();
    this.#timers.cancelAll();
  }
}
