// @ts-check
// Timers by name, so that their owner can cancel them all.

/** The longest delay that `setTimeout` takes without overflow. */
const DELAY_MAX = 2 ** 31 - 1;

export class Timers {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #running = new Map();

  /**
   * Calls `run` once after `ms`, unless the timer is set again or cancelled before.
   * @param {string} name
   * @param {number} ms
   * @param {() => void} run
   */
  set(name, ms, run) {
    this.cancel(name);
    const fire = () => {
      this.#running.delete(name);
      run();
    };
    this.#running.set(name, setTimeout(fire, Math.min(ms, DELAY_MAX)));
  }

  /** @param {string} name */
  has(name) {
    return this.#running.has(name);
  }

  /** @param {string} name */
  cancel(name) {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  cancelAll() {
    for (const name of [...this.#running.keys()]) this.cancel(name);
  }
}
