"use strict";
const ofSocket = location.pathname.replace(/\/$/, "").endsWith("/socket");
const base = new URL(ofSocket ? ".." : ".", location.href.replace(/[#?].*$/, "").replace(/\/$/, ""));
const source = new URL(ofSocket ? "api/asyncapi.json" : "api/openapi.json", base);
const $ = (id) => document.getElementById(id);
let spec;

/* Elements are created, never parsed from text. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const resolve = (value) => value?.$ref ? value.$ref.slice(2).split("/").reduce((at, key) => at[key.replaceAll("~1", "/").replaceAll("~0", "~")], spec) : value;
const nameOf = (schema) => schema?.$ref?.split("/").pop();
const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-");

/* The part of Markdown that the documents use. */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).filter(Boolean).map((part) => {
    if (part.startsWith("**")) return h("strong", {}, inline(part.slice(2, -2)));
    if (!part.startsWith("`")) return part;
    const code = part.slice(1, -1);
    const local = /^\/(docs(\/[\w-]+)?(\.md)?|api\/\w+api\.json|llms\.txt)$/.test(code);
    return local ? h("a", { href: new URL(code.slice(1), base) }, h("code", {}, code)) : h("code", {}, code);
  });
}
function block(text) {
  if (text.startsWith("## ")) return h("h2", { id: slug(text.slice(3)) }, text.slice(3));
  if (text.startsWith("- ")) return h("ul", {}, text.slice(2).split(/\n- /).map((item) => h("li", {}, inline(item.replace(/\s+/g, " ")))));
  if (text.startsWith("|")) {
    const cells = (line) => line.slice(1, -1).split("|").map((cell) => inline(cell.trim()));
    const [head, , ...lines] = text.split("\n");
    return rows(cells(head), lines.map((line) => h("tr", {}, cells(line).map((cell) => h("td", {}, cell)))));
  }
  return h("p", {}, inline(text.replace(/\s+/g, " ")));
}
function markdown(text) {
  return (text ?? "").split(/^```\w*\n([^]*?)^```$/m).flatMap((part, at) => at % 2
    ? h("pre", { tabindex: 0 }, h("code", {}, part.trimEnd()))
    : part.split(/\n\n+/).map((one) => one.trim()).filter(Boolean).map(block));
}
function json(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2).replace(/\{\s+("[^{}\[\]]{0,90})\s+\}/g, (_, inner) => `{${inner.replace(/\s*\n\s*/g, " ").trim()}}`);
  const parts = text.split(/("(?:[^"\\]|\\.)*"(?:\s*:)?|\b(?:true|false|null)\b|-?\b\d[\d.]*\b)/);
  return h("pre", { tabindex: 0 }, parts.map((part, at) => at % 2 === 0 ? part
    : h("span", { class: part.endsWith(":") ? "key" : part.startsWith('"') ? "text" : "word" }, part)));
}

function typeOf(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return h("a", { href: `#schema-${nameOf(schema)}` }, nameOf(schema));
  const any = schema.oneOf ?? schema.anyOf;
  if (any) return any.flatMap((one, at) => at ? [" or ", typeOf(one)].flat() : typeOf(one));
  if (schema.const !== undefined) return h("code", {}, JSON.stringify(schema.const));
  if (schema.type === "array") return ["list of ", typeOf(schema.items)].flat();
  if (schema.additionalProperties) return ["object of ", typeOf(schema.additionalProperties)].flat();
  return [schema.type ?? "object"].flat().join(" or ").replace("integer", "whole number");
}
function limits(schema) {
  const { minLength, maxLength, pattern, enum: values } = schema ?? {};
  const length = maxLength ? `${minLength ?? 0} to ${maxLength.toLocaleString("en")} characters` : "";
  return [length && h("span", { class: "quiet" }, ` ${length}`), pattern && [" ", h("code", {}, pattern)],
    values?.length > 1 && h("div", { class: "chips" }, values.map((value) => h("a", { class: "chip", href: `#code-${value}` }, value)))];
}
function rows(head, lines) {
  return h("div", { class: "scroll", tabindex: lines.length > 9 ? 0 : undefined }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((title) => h("th", { scope: "col" }, title)))), h("tbody", {}, lines)));
}
function fields(schema, head = "Key") {
  const whole = resolve(schema);
  if (whole?.oneOf) return h("p", {}, "One of: ", typeOf(whole), ".");
  if (!whole?.properties) return whole?.type === "object" || !whole ? null : h("p", {}, typeOf(whole), limits(whole));
  return rows([head, "Type", "Meaning"], Object.entries(whole.properties).map(([key, value]) => h("tr", {},
    h("td", {}, h("code", {}, key), " ", whole.required?.includes(key) ? h("span", { class: "need", title: "always there" }, "●") : null),
    h("td", {}, typeOf(value), limits(value)), h("td", {}, inline(value.description ?? value.oneOf?.[0]?.description ?? "")))));
}
const legend = () => h("p", { class: "quiet small" }, h("span", { class: "need" }, "●"), " must be given, or is always there.");

/* One operation of REST. */
function operation(path, method, op) {
  const parameters = op.parameters ?? [], body = op.requestBody?.content?.["application/json"];
  const open = (op.security ?? spec.security).some((one) => !Object.keys(one).length);
  const needs = open ? (op.security.length > 1 ? "A token may be sent." : "Needs no token.") : "Needs a token.";
  return h("details", { class: "card", id: op.operationId },
    h("summary", {}, h("span", { class: `method ${method}` }, method.toUpperCase()), h("span", { class: "path" }, path), h("span", { class: "quiet" }, inline(op.summary))),
    h("div", { class: "inner" }, markdown(op.description), h("p", { class: "quiet small" }, needs),
      parameters.length ? [h("h4", {}, "Parameters"), rows(["Name", "In", "Type", "Meaning"], parameters.map((one) => h("tr", {},
        h("td", {}, h("code", {}, one.name), " ", one.required ? h("span", { class: "need" }, "●") : null), h("td", {}, one.in),
        h("td", {}, typeOf(one.schema)), h("td", {}, inline(one.description ?? "")))))] : null,
      body ? [h("h4", {}, "Body"), fields(body.schema), json(body.example)] : null,
      h("h4", {}, "Answers"), Object.entries(op.responses).map(([status, answer]) => response(status, answer)),
      op.responses[101] ? null : attempt(path, method, parameters, body)));
}
function response(status, answer) {
  const [kind, content] = Object.entries(answer.content ?? {})[0] ?? [];
  const codes = Object.keys(content?.examples ?? {});
  const mark = h("span", { class: `status ${status < 400 ? "good" : "bad"}` }, status);
  const headers = Object.entries(answer.headers ?? {}).map(([name, value]) => h("p", { class: "small" }, h("code", {}, name), " ", inline(resolve(value).description ?? "")));
  if (codes.length) {
    return h("div", {}, h("div", { class: "chips" }, mark, codes.map((code) => h("a", { class: "chip", href: `#code-${code}`, title: resolve(content.examples[code]).summary }, code))));
  }
  return h("div", {}, h("p", {}, mark, " ", inline(answer.description), content ? [" ", h("span", { class: "quiet small" }, kind === "application/json" ? typeOf(content.schema) : kind)] : null),
    headers, content?.example !== undefined ? json(content.example) : null);
}

/* Sends the request for real. */
function attempt(path, method, parameters, body) {
  const inputs = parameters.map((one) => [one, h("input", { autocomplete: "off", required: one.required })]);
  const text = body && h("textarea", { spellcheck: "false", "aria-label": "Body" });
  if (text) text.value = JSON.stringify(body.example, null, 2);
  const result = h("div", { role: "status" });
  const send = async (event) => {
    event.preventDefault();
    const query = new URLSearchParams(), headers = text ? { "Content-Type": "application/json" } : {};
    let address = path.slice(1);
    for (const [{ name, in: place }, { value }] of inputs) {
      if (place === "path") address = address.replace(`{${name}}`, encodeURIComponent(value));
      else if (value && place === "query") query.set(name, value);
      else if (value) headers[name] = value;
    }
    const token = $("token").value.trim();
    if (token) headers.Authorization = `Bearer ${token}`;
    const url = new URL(address + (query.size ? `?${query}` : ""), base), began = performance.now();
    try {
      const answer = await fetch(url, { method: method.toUpperCase(), headers, body: text?.value, cache: "no-store" });
      const raw = await answer.text();
      let shown = raw;
      try {
        shown = JSON.parse(raw);
        if (shown?.token) $("token").value = shown.token;
      } catch { /* Not JSON: shown as it is. */ }
      const shownHeaders = ["link", "retry-after", "etag"].filter((name) => answer.headers.has(name)).map((name) => h("p", { class: "small" }, h("code", {}, name), " ", answer.headers.get(name)));
      result.replaceChildren(h("p", {}, h("span", { class: `status ${answer.ok ? "good" : "bad"}` }, answer.status), h("span", { class: "quiet small" }, ` ${method.toUpperCase()} ${url.pathname}${url.search}, ${Math.round(performance.now() - began)} ms`)), ...shownHeaders, json(shown));
    } catch (error) {
      result.replaceChildren(h("p", { class: "need" }, `No answer: ${error.message}`));
    }
  };
  return h("details", {}, h("summary", {}, "Try it"), h("form", { class: "try", submit: send },
    inputs.map(([{ name, required }, input]) => h("label", {}, h("code", {}, name + (required ? "" : " (optional)")), input)), text,
    h("div", {}, h("button", {}, "Send")), result));
}

function schemas(named, frames = []) {
  return [h("h2", { id: "schemas" }, "Bodies"), legend(), Object.entries(named).filter(([name]) => !frames.includes(name)).map(([name, schema]) => h("details", { class: "card", id: `schema-${name}` },
    h("summary", {}, h("span", { class: "path" }, name), h("span", { class: "quiet" }, inline(schema.description ?? ""))), h("div", { class: "inner" }, fields(schema))))];
}

function rest() {
  const all = Object.entries(spec.paths).flatMap(([path, methods]) => ["post", "get", "put", "delete"].filter((method) => methods[method]).map((method) => ({ path, method, op: methods[method] })));
  const retry = { no: "no", later: "yes, after a while", sign_in: "with a new token" };
  const groups = spec.tags.map((tag) => ({ tag, own: all.filter(({ op }) => op.tags[0] === tag.name) }));
  $("token").hidden = false;
  $("main").replaceChildren(h("h1", {}, `${spec.info.title} ${spec.info.version}`), ...markdown(spec.info.description),
    ...groups.flatMap(({ tag, own }) => [h("h2", { id: slug(tag.name) }, tag.name), h("p", { class: "quiet" }, inline(tag.description)), ...own.map(({ path, method, op }) => operation(path, method, op))]),
    h("h2", { id: "refusals" }, "Refusals"), h("p", {}, inline("Every refusal is `application/problem+json` (RFC 9457). Programs go by `code`, which does not change; the texts are for people.")),
    json(resolve(spec.components.examples.invalid).value),
    rows(["Code", "Status", "Again?", "Meaning", "What to do"], spec["x-problem-codes"].map((one) => h("tr", { id: `code-${one.code}` },
      h("td", {}, h("code", {}, one.code)), h("td", {}, one.status), h("td", {}, retry[one.retry]), h("td", {}, one.title), h("td", {}, inline(one.what_to_do))))),
    ...schemas(spec.components.schemas).flat());
  return [guide(), ...groups.map(({ tag, own }) => [tag.name, own.map(({ path, method, op }) => [op.operationId, op.summary.replaceAll("`", ""), method, path])]),
    ["More", [["refusals", "Refusals"], ["schemas", "Bodies"]]]];
}

/* The headings of the document's own text, for the contents. */
const guide = () => ["Guide", [...spec.info.description.matchAll(/^## (.*)$/gm)].map(([, title]) => [slug(title), title])];

function socket() {
  const parts = [], contents = [guide()];
  for (const [channel, { title, address, description, messages }] of Object.entries(spec.channels)) {
    parts.push(h("h2", { id: channel }, title), h("p", {}, h("code", {}, address), " ", inline(description)), legend());
    const links = [];
    for (const [key, reference] of Object.entries(messages)) {
      const message = resolve(resolve(reference)), client = key.startsWith("client."), id = `${channel}-${slug(key)}`;
      const replies = (spec.operations[`${channel}.${key}`]?.reply?.messages ?? []).map(({ $ref }) => $ref.split("/").pop());
      const sends = { class: `method ${client ? "from-client" : "from-server"}` };
      links.push([id, message.name, client ? "post" : "get", "", client ? "SEND" : "RECEIVE"]);
      parts.push(h("details", { class: "card", id, open: true },
        h("summary", {}, h("span", sends, client ? "SEND" : "RECEIVE"), h("span", { class: "path" }, message.name), h("span", { class: "quiet" }, inline(message.summary ?? ""))),
        h("div", { class: "inner" }, json(message.examples[0].payload),
          replies.length ? h("div", { class: "chips" }, h("span", { class: "quiet small" }, replies.length > 1 ? "answered with" : "answered only if it is wrong, with"), replies.map((reply) => h("a", { class: "chip", href: `#${channel}-${slug(reply)}` }, reply.slice(7)))) : null,
          h("details", {}, h("summary", {}, "Keys"), fields(message.payload)))));
    }
    contents.push([title, links]);
  }
  $("main").replaceChildren(h("h1", {}, `${spec.info.title} ${spec.info.version}`), ...markdown(spec.info.description), ...parts,
    h("h2", { id: "close-codes" }, "Close codes"), rows(["Code", "Meaning", "What a client does"], spec["x-close-codes"].map((one) => h("tr", {},
      h("td", {}, h("code", {}, one.code)), h("td", {}, inline(one.reason)), h("td", {}, inline(one.what_to_do))))),
    ...schemas(spec.components.schemas, Object.values(spec.components.messages).map(({ payload }) => nameOf(payload))).flat());
  return [...contents, ["More", [["close-codes", "Close codes"], ["schemas", "Bodies"]]]];
}

function reveal() {
  const target = $(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
  target?.scrollIntoView({ behavior: "instant" });
}
function contents(groups) {
  $("links").replaceChildren(...groups.map(([title, links]) => h("section", {}, h("h4", {}, title), h("ul", {}, links.map(([id, text, method, path, mark]) =>
    h("li", { "data-text": `${text} ${method ?? ""} ${path ?? ""}`.toLowerCase() }, h("a", { href: `#${id}`, title: path || undefined },
      method ? h("span", { class: `method ${method}` }, mark ?? method.toUpperCase()) : null, h("span", {}, text))))))));
}
$("filter").addEventListener("input", ({ target }) => {
  for (const item of $("links").querySelectorAll("li")) item.hidden = !item.dataset.text.includes(target.value.trim().toLowerCase());
  for (const part of $("links").children) part.hidden = !part.querySelector("li:not([hidden])");
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
  event.preventDefault();
  $("contents").open = true;
  $("filter").focus();
});
addEventListener("hashchange", reveal);
$("to-rest").href = new URL("docs", base);
$("to-socket").href = new URL("docs/socket", base);
$("to-json").href = source;
$("to-markdown").href = new URL(ofSocket ? "docs/socket.md" : "docs.md", base);
$(ofSocket ? "to-socket" : "to-rest").setAttribute("aria-current", "page");
if (matchMedia("(max-width: 56rem)").matches) $("contents").open = false;
fetch(source).then((answer) => answer.ok ? answer.json() : Promise.reject(new Error(`status ${answer.status}`))).then((document_) => {
  spec = document_;
  document.title = spec.info.title;
  contents(ofSocket ? socket() : rest());
  if (location.hash) reveal();
}).catch((error) => $("main").replaceChildren(h("p", {}, `The document could not be loaded: ${error.message}.`)));
