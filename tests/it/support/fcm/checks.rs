//! What Google checks: the assertion for an access token, and each message against FCM's discovery document.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{EMAIL, PROJECT};

const PUBLIC_KEY: &str = include_str!("fcm_test_key.pub.pem");
const DISCOVERY: &str = include_str!("../../../fcm-v1.discovery.json");
const PAYLOAD_BYTES_MAX: usize = 4_096;

pub fn check_assertion(form: &HashMap<String, String>, token_uri: &str) -> Result<(), String> {
    if form.get("grant_type").map(String::as_str) != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return Err("grant_type".to_owned());
    }
    let assertion = form.get("assertion").ok_or("no assertion")?;
    let key = DecodingKey::from_rsa_pem(PUBLIC_KEY.as_bytes()).map_err(|e| e.to_string())?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[token_uri]);
    validation.set_issuer(&[EMAIL]);
    validation.set_required_spec_claims(&["exp", "aud", "iss"]);
    let claims = jsonwebtoken::decode::<Value>(assertion, &key, &validation).map_err(|e| e.to_string())?.claims;
    let (iat, exp) = (claims["iat"].as_i64().ok_or("no iat")?, claims["exp"].as_i64().ok_or("no exp")?);
    if exp - iat > 3_600 || exp <= iat {
        return Err(format!("the assertion holds {} s", exp - iat));
    }
    if claims["scope"] != "https://www.googleapis.com/auth/firebase.messaging" {
        return Err("scope".to_owned());
    }
    Ok(())
}

/// Checks a request against the discovery document and the limit of its size.
pub fn check_request(project: &str, body: &Value, bytes: usize) -> Result<(), String> {
    if project != PROJECT {
        return Err("another project".to_owned());
    }
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(format!("{bytes} bytes"));
    }
    let discovery: Value = serde_json::from_str(DISCOVERY).map_err(|e| e.to_string())?;
    let method = &discovery["resources"]["projects"]["resources"]["messages"]["methods"]["send"];
    check_value(body, &method["request"], &discovery["schemas"], "")?;
    let message = &body["message"];
    if ["token", "topic", "condition", "fid"].iter().filter(|t| !message[**t].is_null()).count() != 1 {
        return Err("exactly one target".to_owned());
    }
    Ok(())
}

fn check_value(value: &Value, schema: &Value, schemas: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return check_value(value, &schemas[name], schemas, at);
    }
    let fits = match schema["type"].as_str() {
        Some("object") => return check_object(value, schema, schemas, at),
        Some("array") => {
            let items = value.as_array().ok_or_else(|| format!("{at} is no array"))?;
            return items.iter().try_for_each(|item| check_value(item, &schema["items"], schemas, at));
        }
        Some("string") => {
            let text = value.as_str().ok_or_else(|| format!("{at} is no string"))?;
            let listed = schema["enum"].as_array().is_none_or(|names| names.iter().any(|n| n == text));
            listed && (schema["format"] != "google-duration" || text.ends_with('s'))
        }
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("any") => true,
        other => return Err(format!("{at}: the schema has {other:?}")),
    };
    if fits { Ok(()) } else { Err(format!("{at} does not fit")) }
}

fn check_object(value: &Value, schema: &Value, schemas: &Value, at: &str) -> Result<(), String> {
    let fields = value.as_object().ok_or_else(|| format!("{at} is no object"))?;
    for (name, value) in fields {
        let at = format!("{at}.{name}");
        let known = &schema["properties"][name];
        let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
        if schema.is_null() {
            return Err(format!("{at} is unknown"));
        }
        check_value(value, schema, schemas, &at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spoil: impl Fn(&mut Value)) -> Result<(), String> {
        let mut request = json!({"message": {"token": "t", "data": {"a": "1"}, "android": {"priority": "HIGH"}}});
        spoil(&mut request);
        check_request(PROJECT, &request, request.to_string().len())
    }

    #[test]
    fn the_stand_in_refuses_what_the_discovery_document_does_not_know() {
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(
            check(|r| r["message"]["android"]["collapse_key"] = "a".into()),
            Err(".message.android.collapse_key is unknown".into())
        );
        assert!(check(|r| r["message"]["data"]["a"] = 1.into()).is_err(), "data are strings");
        assert!(check(|r| r["message"]["android"]["priority"] = "high".into()).is_err(), "an enum");
        assert!(check(|r| r["message"]["topic"] = "a".into()).is_err(), "two targets");
        assert!(check(|r| r["message"]["notification"] = json!({"body": "a".repeat(4_096)})).is_err(), "too long");
        assert!(check(|r| r["message"]["android"]["ttl"] = 3.into()).is_err(), "a duration is a string");
    }
}
