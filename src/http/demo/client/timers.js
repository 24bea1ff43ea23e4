// Timers by name, so that whoever owns them can end them all.

export class Timers {
  #running = new Map();

  /** Runs it once, this much later, unless it is set anew or cancelled. */
  set(name, ms, run) {
    this.cancel(name);
    const fire = () => {
      this.#running.delete(name);
      run();
    };
    this.#running.set(name, setTimeout(fire, ms));
  }

  has(name) {
    return this.#running.has(name);
  }

  cancel(name) {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  cancelAll() {
    for (const name of [...this.#running.keys()]) this.cancel(name);
  }
}
