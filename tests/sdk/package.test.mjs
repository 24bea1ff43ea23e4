// The package of the client: its name, its version, its files.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";

const at = (path) => new URL(`../../${path}`, import.meta.url);
const read = (path) => readFileSync(at(path), "utf8");

test("the package has the version of the server, no dependency, and the files that it names", () => {
  const { name, version, type, license, exports: entries, ...rest } = JSON.parse(read("src/sdk/package.json"));
  assert.deepEqual([name, type, license], ["@hyper-chat/client", "module", "MIT OR Apache-2.0"]);
  assert.equal(version, /^version = "(.*)"$/m.exec(read("Cargo.toml"))[1]);
  for (const key of ["dependencies", "peerDependencies", "scripts"]) assert.equal(rest[key], undefined, key);
  for (const path of Object.values(entries["."])) assert.ok(existsSync(at(`src/sdk/${path}`)), path);
});
