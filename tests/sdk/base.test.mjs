// A server that is shown below a path: `base` has the path, and so have its links.

import assert from "node:assert/strict";
import test from "node:test";

import { request } from "../../src/sdk/rest.js";

/** What one request asks for and where the next page is, if the server answers with this link. */
async function next(base, link) {
  let asked;
  const fetch = async (url) => {
    asked = url;
    return new Response("[]", { headers: { link } });
  };
  const answer = await request(base, "GET", "/api/chatrooms?limit=200", { fetch });
  return [asked, answer.next];
}

test("d6: the next page is found below a base path, whether or not the server knows the path", async () => {
  const after = "/api/chatrooms?limit=200&after=/api/7";
  for (const [base, link] of [
    ["http://host", `<${after}>; rel="next"`],
    ["http://host/chat", `</chat${after}>; rel="next"`],
    ["http://host/chat", `<${after}>; rel="next"`],
    ["http://host/api/chat", `</api/chat${after}>; rel="next"`],
    ["http://host/chat", `<http://host/chat${after}>; rel="next"`],
  ]) {
    assert.deepEqual(await next(base, link), [`${base}/api/chatrooms?limit=200`, after], link);
  }
  assert.deepEqual(await next("http://host", '<x>; rel="prev"'), ["http://host/api/chatrooms?limit=200", null]);
});
