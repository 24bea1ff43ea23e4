/**
 * An account, as one viewer sees it.
 */
export type Chatter = {
    id: number;
    username: string;
    nickname: string;
    /**
     * Empty for every viewer but the account itself.
     */
    fcm_reg_id: string;
    /**
     * Present for people who share a room, unless they hide it.
     */
    online?: boolean | undefined;
    /**
     * Present together with `online`.
     */
    last_seen?: string | null | undefined;
    /**
     * Present for the account itself.
     */
    show_last_seen?: boolean | undefined;
    /**
     * Present for the account itself.
     */
    show_receipts?: boolean | undefined;
};
/**
 * One message in a room.
 */
export type Chat = {
    id: number;
    chatroom_id: number;
    sender_id: number;
    receiver_id: number;
    content: string;
    /**
     * RFC 3339, UTC.
     */
    create_time: string;
    /**
     * The chat's place in its room: 1, 2, 3 …
     */
    seq: number;
    /**
     * The number of the chat's last change in its room.
     */
    version: number;
    client_id: string | null;
    edit_time: string | null;
    /**
     * Present, and true, where the chat was deleted.
     */
    deleted?: boolean | undefined;
};
/**
 * A deleted chat.
 */
export type Tombstone = {
    id: number;
    seq: number;
    version: number;
    deleted: true;
};
/**
 * A chat that is new or edited, or a deleted one.
 */
export type Change = Chat | Tombstone;
/**
 * How far a chatter has received and read a room.
 */
export type Watermarks = {
    delivered_seq: number;
    read_seq: number;
};
/**
 * A room in `ready` and `chatrooms`.
 */
export type RoomSummary = {
    id: number;
    version: number;
    last_seq: number;
    unread_count: number;
    /**
     * By the chatter's id.
     */
    receipts: Record<string, Watermarks>;
};
/**
 * A room as REST answers it.
 */
export type ChatroomOnly = {
    create_time: string;
    last_chat_time: string;
    owner: Chatter;
    opponent: Chatter;
    last_chat: Chat | null;
};
/**
 * A room as REST answers it.
 */
export type Chatroom = RoomSummary & ChatroomOnly;
/**
 * A refusal (RFC 9457).
 */
export type ProblemBody = {
    code: string;
    status?: number | undefined;
    title?: string | undefined;
    detail?: string | undefined;
    field?: string | undefined;
    chatroom_id?: number | undefined;
    retry_after_s?: number | undefined;
};
export type ReadyFrame = {
    type: "ready";
    chatter: Chatter;
    server_time: string;
    heartbeat_s: number;
    epoch?: string;
    chatrooms: RoomSummary[];
    has_more: boolean;
};
export type ChatroomsFrame = {
    type: "chatrooms";
    chatrooms: RoomSummary[];
    has_more: boolean;
};
export type ChatFrame = {
    type: "chat" | "chat_edited";
    chat: Chat;
};
export type DeletedFrame = {
    type: "chat_deleted";
    chatroom_id: number;
    chat_id: number;
    seq: number;
    version: number;
};
export type ChangesFrame = {
    type: "changes";
    chatroom_id: number;
    since: number;
    changes: Change[];
    version: number;
    has_more: boolean;
};
export type ResetFrame = {
    type: "reset";
    chatroom_id: number;
    chats: Chat[];
    version: number;
};
export type ReceiptFrame = {
    type: "receipt";
    chatroom_id: number;
    chatter_id: number;
    unread_count?: number;
    version?: number;
    last_seq?: number;
} & Watermarks;
export type TypingFrame = {
    type: "typing";
    chatroom_id: number;
    chatter_id: number;
    typing: boolean;
};
export type PresenceFrame = {
    type: "presence";
    chatter_id: number;
    online: boolean;
    last_seen: string | null;
};
export type CreatedFrame = {
    type: "chatroom_created";
    chatroom: Chatroom;
};
export type RoomDeletedFrame = {
    type: "chatroom_deleted";
    chatroom_id: number;
};
export type AckFrame = {
    type: "ack";
    chat: Chat;
};
export type ErrorFrame = {
    type: "error";
    problem: ProblemBody;
};
export type PlainFrame = {
    type: "resumed" | "authenticated" | "pong";
};
/**
 * A frame of the server on the device socket.
 */
export type ServerFrame = (ReadyFrame | ChatroomsFrame | ChatFrame | DeletedFrame | ChangesFrame | ResetFrame | ReceiptFrame | TypingFrame | PresenceFrame | CreatedFrame | RoomDeletedFrame | AckFrame | ErrorFrame | PlainFrame) & {
    ref?: number | string | null;
};
