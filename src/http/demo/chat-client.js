// @ts-check
// The client of the package `@hyper-chat/client` (src/sdk/), as this server serves it.

export * from "./sdk/index.js";
