// The size of the client, without comments and indentation, gzipped. A minified bundle is smaller still:
// `tests/sdk/check` holds it at 10 KB.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";
import { gzipSync } from "node:zlib";

const SDK = new URL("../../src/sdk/", import.meta.url);
const BYTES_MAX = 14_000;

const withoutComments = (text) =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/ +\/\/ .*$/gm, "")
    .replace(/^\s+/gm, "");

test(`the client has at most ${BYTES_MAX} bytes, gzipped, without comments and indentation`, () => {
  const files = readdirSync(SDK).filter((name) => name.endsWith(".js"));
  assert.ok(files.includes("index.js"));
  const code = files.map((name) => withoutComments(readFileSync(new URL(name, SDK), "utf8"))).join("");
  const { length } = gzipSync(code, { level: 9 });
  assert.ok(length <= BYTES_MAX, `${length} bytes`);
});
