//! How the documents describe what is not derived from a struct: times, refusals and chats that may be deleted.
//! Compiled for the unit test that generates the documents.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::clock::Micros;
use crate::problem::{Code, Problem};
use crate::protocol::rest::ChatBody;

impl PartialSchema for Micros {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339 in UTC, always with six digits and `Z`."))
            .into()
    }
}

impl ToSchema for Micros {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let text = |about: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let number = |about: &str| ObjectBuilder::new().schema_type(Type::Integer).description(Some(about));
        let mut schema = ObjectBuilder::new()
            .description(Some(
                "A refusal (RFC 9457). Programs go by `code`, which is stable; the texts are for people.",
            ))
            .property("type", text("`urn:hyper-chat:problem:` and the code."))
            .property("title", text("What the code means, in one line."))
            .property("status", number("The HTTP status that goes with the code."))
            .property("detail", text("What went wrong here, and what to do about it."))
            .property("code", Ref::from_schema_name("ProblemCode"))
            .property(
                "field",
                text("The field that breaks a rule or has a wrong type; with `invalid` and `malformed`."),
            )
            .property("chatroom_id", number("The room that exists already; with `chatroom_exists`."))
            .property("retry_after_s", number("Seconds to wait before the next try; over HTTP also as `Retry-After`."))
            .property("request_id", text("The id of the refused request, over HTTP only; also as `X-Request-Id`."));
        for key in ["type", "title", "status", "detail", "code"] {
            schema = schema.required(key);
        }
        schema.into()
    }
}

impl ToSchema for Problem {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        let codes = Code::ALL.iter().map(|code| code.as_str());
        let code = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The reason of a refusal, from the table of codes."))
            .enum_values(Some(codes));
        schemas.push(("ProblemCode".to_owned(), code.into()));
    }
}

/// A chat that a retry or a deletion may answer with: as [`ChatBody`], with `deleted` where it is one.
pub struct StoredChat;

impl PartialSchema for StoredChat {
    fn schema() -> RefOr<Schema> {
        match ChatBody::schema() {
            RefOr::T(Schema::Object(mut chat)) => {
                let about = "A chat that is stored. Where it has been deleted since, `content` is empty.";
                chat.description = Some(about.to_owned());
                chat.properties.insert("deleted".to_owned(), always_true());
                Schema::Object(chat).into()
            }
            other => other,
        }
    }
}

impl ToSchema for StoredChat {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ChatBody::schemas(schemas);
    }
}

/// A flag that is true wherever it is there.
pub fn always_true() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some("Only there, and true, when the chat is deleted."))
        .enum_values(Some([true]))
        .into()
}
