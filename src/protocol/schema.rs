//! How the documents describe what is not a struct of `wire`: times and refusals.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::clock::Micros;
use crate::problem::{Code, Problem};

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
        let codes = Code::ALL.iter().map(|code| code.as_str());
        let mut schema = ObjectBuilder::new()
            .description(Some(
                "A refusal (RFC 9457). Programs go by `code`, which is stable; the texts are for people.",
            ))
            .property("type", text("`urn:hyper-chat:problem:` and the code."))
            .property("title", text("What the code means, in one line."))
            .property("status", number("The HTTP status that goes with the code."))
            .property("detail", text("What went wrong here, and what to do about it."))
            .property("code", text("The reason, from the table of codes.").enum_values(Some(codes)))
            .property("field", text("The field that breaks a rule; with `invalid`."))
            .property("chatroom_id", number("The room that exists already; with `chatroom_exists`."))
            .property("retry_after_s", number("Seconds to wait before the next try; over HTTP also as `Retry-After`."));
        for key in ["type", "title", "status", "detail", "code"] {
            schema = schema.required(key);
        }
        schema.into()
    }
}

impl ToSchema for Problem {}
