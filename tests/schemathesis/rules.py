"""The formats of the schema, and rules between parameters that OpenAPI cannot say."""

import schemathesis
from hypothesis import strategies as st

# Every character of it can be seen.
LETTERS = st.characters(categories=("Lu", "Ll", "Nd"), max_codepoint=0x2FF)


def text(max_size):
    return st.text(LETTERS, min_size=1, max_size=max_size)


schemathesis.openapi.format("nickname", text(100))
schemathesis.openapi.format("visible-text", text(200))
# Two bytes a character at most.
schemathesis.openapi.format("search-text", text(500))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Valid bodies of a chat name the other person of the room, and one `client_id`."""
    body = case.body
    if case.operation.path.endswith("/chats") and isinstance(body, dict) and case.meta and is_valid(case):
        body.pop("receiver_id", None)
        if "Idempotency-Key" in (case.headers or {}):
            body.pop("client_id", None)


def is_valid(case):
    return case.meta.generation.mode.name == "POSITIVE"


@schemathesis.hook
def filter_case(context, case):
    query, body = case.query or {}, case.body if isinstance(case.body, dict) else {}
    excluding = sum(name in query for name in ("before", "after", "around"))
    if case.operation.path.endswith("/chats") and excluding > 1:
        return False
    # A cursor is what a Link header has given.
    if case.operation.path == "/api/chatrooms" and "after" in query:
        return False
    # JSON Schema takes -3.0 for an integer; the server wants integers as JSON writes them.
    return not any(isinstance(value, float) for value in body.values())
