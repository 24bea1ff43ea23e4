//! JSON bodies: limited in size and time, and refused with the key that is wrong.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Deserializer, Track};

use super::extract::state_of;
use crate::problem::{Code, Problem};

/// The time that a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Unknown keys that a refusal names.
const KEYS_NAMED_MAX: usize = 5;

/// A JSON body, limited in size and time.
pub(super) struct Json<T>(pub T);

/// What happens to keys that the operation does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnknownKeys {
    Ignored,
    Refused,
}

impl UnknownKeys {
    /// The client asks for the strict way with `Prefer: handling=strict` (RFC 7240 section 4.4) or `?strict=1`.
    fn of(request: &HttpRequest) -> Self {
        let preferences = request.headers().get_all("prefer").filter_map(|value| value.to_str().ok());
        let strict = preferences
            .flat_map(|list| list.split([',', ';']))
            .any(|preference| preference.replace([' ', '"'], "").eq_ignore_ascii_case("handling=strict"));
        if strict || request.query_string().split('&').any(|pair| pair == "strict=1") {
            Self::Refused
        } else {
            Self::Ignored
        }
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let state = state_of(request);
        let json = is_json(request);
        let encoded = request.headers().contains_key(header::CONTENT_ENCODING);
        let unknown_keys = UnknownKeys::of(request);
        let payload = payload.take();
        Box::pin(async move {
            let state = state?;
            if !state.drain.takes_chats() {
                return Err(Problem::new(
                    Code::Draining,
                    "This instance is shutting down; send the same request again.",
                ));
            }
            if !json || encoded {
                return Err(Problem::new(
                    Code::UnsupportedMediaType,
                    "Send plain JSON with the header Content-Type: application/json.",
                ));
            }
            let late = |_| Problem::new(Code::Timeout, "The body did not arrive within ten seconds.");
            let body =
                tokio::time::timeout(BODY_TIME_MAX, read(payload, state.rules.body_bytes)).await.map_err(late)??;
            parse(&body, unknown_keys).map(Json)
        })
    }
}
fn is_json(request: &HttpRequest) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    json && parts.all(|p| {
        !p.to_ascii_lowercase().starts_with("charset=") || p.trim_matches('"').to_ascii_lowercase().ends_with("utf-8")
    })
}

async fn read(mut payload: Payload, bytes_max: usize) -> Result<BytesMut, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|_| Problem::new(Code::Malformed, "The body ended too early or is encoded wrongly."))?;
        if body.len() + chunk.len() > bytes_max {
            return Err(Problem::new(Code::TooLarge, format!("A body may have at most {bytes_max} bytes.")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads the object. Derived types would also take an array, field by field.
fn parse<T: DeserializeOwned>(body: &[u8], unknown_keys: UnknownKeys) -> Result<T, Problem> {
    let (mut json, mut track) = (serde_json::Deserializer::from_slice(body), Track::new());
    let mut unknown = Vec::new();
    let value = serde_ignored::deserialize(Deserializer::new(&mut json, &mut track), |path| {
        unknown.push(path.to_string());
    });
    let value = value.and_then(|value| json.end().map(|()| value)).map_err(|error| malformed(&error, &track.path()))?;
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::new(Code::Malformed, "The body must be a JSON object, as in {\"key\": \"value\"}."));
    }
    if unknown_keys == UnknownKeys::Refused && !unknown.is_empty() {
        unknown.truncate(KEYS_NAMED_MAX);
        let names: Vec<String> = unknown.iter().map(|key| key.chars().take(64).collect()).collect();
        return Err(Problem::new(
            Code::UnknownKey,
            format!("This operation does not know {}; leave that out.", names.join(", ")),
        ));
    }
    Ok(value)
}

/// Names the key and what it must be, or the place; the detail never repeats values.
fn malformed(error: &serde_json::Error, path: &serde_path_to_error::Path) -> Problem {
    let text = error.to_string();
    let is_data = error.is_data() && path.iter().next().is_some();
    let expected = text.rsplit_once(", expected ").map(|(_, rest)| rest.split(" at line ").next().unwrap_or(rest));
    match expected {
        Some(expected) if is_data => {
            let field = path.to_string();
            let detail = format!("{field} must be {}.", in_words(expected));
            Problem::new(Code::Malformed, detail).in_field(field)
        }
        _ if text.starts_with("missing field") || text.starts_with("duplicate field") => {
            Problem::new(Code::Malformed, text)
        }
        _ => {
            let (line, column) = (error.line(), error.column());
            Problem::new(Code::Malformed, format!("The body is not valid JSON, at line {line} column {column}."))
        }
    }
}

/// The name of a type in words.
fn in_words(expected: &str) -> &str {
    match expected {
        "i64" | "u64" | "i32" | "u32" => "a whole number",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::requests::{CreateChatroom, PostChat, SignIn};

    fn detail<T: DeserializeOwned>(body: &str, unknown_keys: UnknownKeys) -> (Code, String) {
        match parse::<T>(body.as_bytes(), unknown_keys) {
            Ok(_) => panic!("{body} was taken"),
            Err(problem) => (problem.code, problem.detail),
        }
    }

    #[test]
    fn c8_a_body_that_is_an_array_is_refused() {
        for body in [r#"["user","password"]"#, r#" ["user","password"]"#] {
            let (code, detail) = detail::<SignIn>(body, UnknownKeys::Ignored);
            assert_eq!((code, detail.contains("object")), (Code::Malformed, true), "{detail}");
        }
    }

    #[test]
    fn e9_unknown_keys_are_refused_where_the_client_asks_for_it() {
        let body = r#"{"content": "a", "metadata": {"x": 1}, "reply_to": 7}"#;
        assert!(parse::<PostChat>(body.as_bytes(), UnknownKeys::Ignored).is_ok());
        let (code, detail) = detail::<PostChat>(body, UnknownKeys::Refused);
        assert_eq!(code, Code::UnknownKey);
        assert!(detail.contains("metadata, reply_to"), "{detail}");
    }

    #[test]
    fn e21_a_value_of_a_wrong_type_is_refused_with_its_key_and_the_type() {
        for (body, says) in [
            (r#"{"opponent_id": "secret, expected x"}"#, "opponent_id must be a whole number."),
            (r#"{"opponent_id": 1.5}"#, "opponent_id must be a whole number."),
        ] {
            assert_eq!(detail::<CreateChatroom>(body, UnknownKeys::Ignored), (Code::Malformed, says.to_owned()));
        }
        let (_, says) = detail::<PostChat>(r#"{"content": 7}"#, UnknownKeys::Ignored);
        assert_eq!(says, "content must be a text.");
        let (_, says) = detail::<PostChat>("{}", UnknownKeys::Ignored);
        assert!(says.starts_with("missing field `content`"), "{says}");
        let (_, says) = detail::<PostChat>("{", UnknownKeys::Ignored);
        assert!(says.starts_with("The body is not valid JSON"), "{says}");
    }
}
