// What a client does with the generated types; it has to compile.
import type { DeviceSocket } from "./frames/DeviceSocket";
import type { components, paths } from "./rest";

type Schemas = components["schemas"];

/** A tombstone and a chat are told apart without a cast. */
export function apply(change: Schemas["Change"], chats: Map<number, Schemas["Chat"]>): void {
  if ("deleted" in change) {
    const isDeleted: true = change.deleted;
    if (isDeleted) chats.delete(change.id);
  } else {
    const content: string = change.content;
    if (content) chats.set(change.id, change);
  }
}

/** A refusal is one of the known codes. */
export function again(problem: Schemas["Problem"]): boolean {
  return problem.code === "busy" || problem.code === "unavailable";
}

export type History = paths["/api/chatrooms/{id}/chats"]["get"]["responses"][200]["content"]["application/json"];

/** The type of a frame decides its keys. */
export function cursor(frame: DeviceSocket): number | undefined {
  switch (frame.type) {
    case "chat":
      return frame.chat.version;
    case "chat_deleted":
    case "changes":
      return frame.version;
    default:
      return undefined;
  }
}
