// Sessions: tokens are kept, refreshed once for all tabs, and ended.

import assert from "node:assert/strict";
import test from "node:test";

import { Problem, Session } from "../../src/sdk/index.js";

const minutes = (count) => new Date(Date.now() + count * 60_000).toISOString();
const tokens = (n, expires_at = minutes(60)) => ({ token: `token-${n}`, refresh_token: `refresh-${n}`, expires_at });

/** A server whose newest refresh token is `refresh-N`, and the storage of a browser. */
class Place {
  kept = tokens(1);
  newest = 1;
  status = 200;
  requests = [];

  tab() {
    const save = (fresh) => (this.kept = fresh);
    return new Session({ base: "http://here", load: () => this.kept, save, fetch: (...args) => this.fetch(...args) });
  }

  async fetch(url, { method, body, headers }) {
    this.requests.push(`${method} ${new URL(url).pathname} ${JSON.parse(body)?.refresh_token ?? headers.authorization}`);
    if (this.status === 0) throw new TypeError("no network");
    const isNewest = method === "DELETE" || JSON.parse(body).refresh_token === `refresh-${this.newest}`;
    const status = isNewest ? this.status : 401;
    if (status !== 200) return new Response(JSON.stringify({ code: status === 401 ? "token_revoked" : "busy" }), { status });
    if (method === "POST") this.newest += 1;
    return new Response(JSON.stringify(tokens(this.newest)));
  }
}

test("the kept token comes first, then fresh ones, each from the newest refresh token", async () => {
  const place = new Place();
  const session = place.tab();
  const given = [];
  for (let n = 0; n < 3; n += 1) given.push(await session.getToken());
  assert.deepEqual(given, ["token-1", "token-2", "token-3"]);
  assert.deepEqual(place.requests, ["POST /api/auth/refresh refresh-1", "POST /api/auth/refresh refresh-2"]);
  assert.equal(place.kept.refresh_token, "refresh-3");
});

test("a kept token that has expired is refreshed at once", async () => {
  const place = new Place();
  place.kept = tokens(1, minutes(-1));
  assert.equal(await place.tab().getToken(), "token-2");
});

test("a tab takes the token that another tab has refreshed", async () => {
  const place = new Place();
  const [one, other] = [place.tab(), place.tab()];
  assert.deepEqual([await one.getToken(), await other.getToken()], ["token-1", "token-1"]);
  assert.deepEqual([await one.getToken(), await other.getToken()], ["token-2", "token-2"]);
  assert.equal(place.requests.length, 1);
});

test("a session that has ended gives no token, and a server that is away gives none now", async () => {
  const place = new Place();
  const session = place.tab();
  await session.getToken();
  for (const status of [0, 503, 429]) {
    place.status = status;
    await assert.rejects(session.getToken(), Problem, String(status));
  }
  place.status = 200;
  assert.equal(await session.getToken(), "token-2", "the same refresh token still counts");
  place.newest = 7;
  assert.equal(await session.getToken(), null);
  place.kept = null;
  assert.equal(await session.getToken(), null);
  place.kept = { token: "token-1", expires_at: minutes(-1) };
  assert.equal(await session.getToken(), null, "kept by a release without refresh tokens");
});

test("signing out ends the session, and does not fail without a network", async () => {
  const place = new Place();
  const session = place.tab();
  await session.end();
  assert.deepEqual(place.requests, ["DELETE /api/auth Bearer token-1"]);
  place.status = 0;
  await session.end();
});
