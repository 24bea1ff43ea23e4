export class Timers {
    /**
     * Calls `run` once after `ms`, unless the timer is set again or cancelled before.
     * @param {string} name
     * @param {number} ms
     * @param {() => void} run
     */
    set(name: string, ms: number, run: () => void): void;
    /** @param {string} name */
    has(name: string): boolean;
    /** @param {string} name */
    cancel(name: string): void;
    cancelAll(): void;
    #private;
}
