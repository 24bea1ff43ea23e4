// @ts-check
// The form for signing in and up.

import { signIn, signUp } from "../chat-client.js";
import { $ } from "./dom.js";
import { deviceName } from "./sessions.js";
import { explain } from "./words.js";

const WORDS = {
  in: {
    title: "Welcome back",
    hint: "Sign in to go on where you left off.",
    submit: "Sign in",
    swap: ["New here?", "Create an account"],
  },
  up: {
    title: "Create your account",
    hint: "A name and a password, that is all.",
    submit: "Create account",
    swap: ["You have an account?", "Sign in"],
  },
};

export class SignInForm {
  #form = $("sign-in");
  /** @type {"in" | "up"} */
  #mode = "in";
  #done;

  /**
   * @param {string} base
   * @param {(signedIn: any, stay: boolean) => void} done Gets each new sign-in, and whether to keep it.
   */
  constructor(base, done) {
    this.#done = done;
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#submit(base);
    });
    $("swap").addEventListener("click", () => this.#show(this.#mode === "in" ? "up" : "in"));
  }

  /** Shows the form, with the reason and the name that was signed in. */
  open(notice = "", username = "") {
    $("welcome").hidden = false;
    this.#show("in");
    $("sign-in-problem").textContent = notice;
    $("username").value = username;
    if (username) $("password").focus();
  }

  /** @param {"in" | "up"} mode */
  #show(mode) {
    this.#mode = mode;
    const words = WORDS[mode];
    this.#form.dataset.mode = mode;
    $("sign-in-title").textContent = words.title;
    $("sign-in-hint").textContent = words.hint;
    this.#form.querySelector("[type=submit]").textContent = words.submit;
    $("swap-text").textContent = words.swap[0];
    $("swap").textContent = words.swap[1];
    $("password").autocomplete = mode === "in" ? "current-password" : "new-password";
    this.#refuse("");
    $("username").focus();
  }

  /** @param {string} base */
  async #submit(base) {
    const { username, nickname, password, stay } = this.#form.elements;
    const name = username.value.trim();
    if (!name || !password.value) return this.#refuse("Please fill in both fields.", name ? password : username);
    const button = this.#form.querySelector("[type=submit]");
    button.disabled = true;
    try {
      if (this.#mode === "up") await signUp(base, name, password.value, nickname.value.trim() || name);
      const signedIn = await signIn(base, name, password.value, deviceName());
      this.#form.reset();
      this.#refuse("");
      $("welcome").hidden = true;
      this.#done(signedIn, stay.checked);
    } catch (error) {
      const problem = /** @type {any} */ (error);
      const field = problem.code === "username_taken" ? "username" : problem.field;
      this.#refuse(this.#words(problem, field), this.#form.elements[field]);
    } finally {
      button.disabled = false;
    }
  }

  /**
   * The server says "The password must …"; here the field has the name of its label.
   * @param {any} problem
   * @param {string} field
   */
  #words(problem, field) {
    const label = this.#form.querySelector(`label[for="${field}"]`)?.textContent.split(",")[0];
    return problem.code === "invalid" && label ? problem.message.replace(/^The \w+ /, `${label} `) : explain(problem);
  }

  /**
   * @param {string} text
   * @param {any} [input]
   */
  #refuse(text, input) {
    $("sign-in-problem").textContent = text;
    for (const other of this.#form.querySelectorAll("[aria-invalid]")) other.removeAttribute("aria-invalid");
    input?.setAttribute("aria-invalid", "true");
    input?.focus();
  }
}
