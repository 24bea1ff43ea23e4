//! The meaning of FCM's answers. Pure: status, header and body in, outcome out.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::push::{Outcome, Scope};

/// The longest `Retry-After` that is honoured; a push is worth nothing after a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The codes of an answer; empty where the body is not Google's.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The answer holds the message's name: FCM accepted it.
    accepted: bool,
    /// `google.rpc.Code`, such as `INVALID_ARGUMENT`.
    status: String,
    /// FCM's own code, such as `UNREGISTERED`.
    error_code: String,
    /// The fields of the request that are wrong.
    fields: Vec<String>,
    /// The text says that the token is invalid; FCM does not always name the field.
    blames_token: bool,
    /// The texts that say whose quota is used up, in lower case.
    quota: Vec<String>,
}

impl Answer {
    pub(super) fn parse(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let error = &body["error"];
        let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        let violations = details.iter().filter_map(|d| d["fieldViolations"].as_array()).flatten();
        let message = error["message"].as_str().unwrap_or_default();
        Self {
            accepted: body["name"].is_string(),
            status: code(&error["status"]),
            error_code: details.iter().map(|d| code(&d["errorCode"])).find(|c| !c.is_empty()).unwrap_or_default(),
            fields: violations.map(|v| code(&v["field"])).take(4).collect(),
            blames_token: message.contains("registration token"),
            quota: quota(details, message),
        }
    }

    /// A 401 that a new access token does not cure: Apple or a browser vendor refused the app's certificate.
    pub(super) fn is_third_party(&self) -> bool {
        self.error_code == "THIRD_PARTY_AUTH_ERROR"
    }

    /// `after` is the header, if there was one; `quota_pause` stands in for it in a 429.
    pub(super) fn outcome(&self, status: u16, after: Option<Duration>, quota_pause: Duration) -> Outcome {
        let reason = self.reason(status);
        match status {
            200..300 if self.accepted => Outcome::Accepted,
            404 if self.error_code == "UNREGISTERED" => Outcome::TokenGone,
            400 if self.names_token() => Outcome::TokenGone,
            400 => Outcome::Refused { reason },
            403 if self.error_code == "SENDER_ID_MISMATCH" => Outcome::OtherSender { reason },
            429 => Outcome::RetryLater { after: Some(after.unwrap_or(quota_pause)), scope: self.quota_scope(), reason },
            // The project is wrong or may not send: no send works until the operator has fixed it.
            403 | 404 => Outcome::RetryLater { after, scope: Scope::All, reason },
            _ => Outcome::RetryLater { after, scope: Scope::Push, reason },
        }
    }

    /// Whose quota a 429 is about. FCM limits the messages of a project and those to one device, both as
    /// `QUOTA_EXCEEDED`; the violations of `google.rpc.QuotaFailure` and the metadata of `google.rpc.ErrorInfo` say
    /// which, and else the text may.
    fn quota_scope(&self) -> Scope {
        let says = |word: &str| self.quota.iter().any(|text| text.contains(word));
        if says("device") {
            Scope::Device
        } else if says("project") || self.error_code != "QUOTA_EXCEEDED" {
            // Without FCM's own code something in front of it is overloaded.
            Scope::All
        } else {
            Scope::DeviceOrProject
        }
    }

    fn names_token(&self) -> bool {
        self.status == "INVALID_ARGUMENT"
            && (self.fields.iter().any(|f| f == "message.token") || (self.fields.is_empty() && self.blames_token))
    }

    fn reason(&self, status: u16) -> String {
        let codes =
            [self.status.as_str(), self.error_code.as_str()].into_iter().chain(self.fields.iter().map(String::as_str));
        codes.filter(|c| !c.is_empty()).fold(status.to_string(), |line, code| line + " " + code)
    }
}

/// The texts of an answer that may name the subject of a quota.
fn quota(details: &[Value], message: &str) -> Vec<String> {
    let violations = details.iter().filter_map(|d| d["violations"].as_array()).flatten();
    let violations = violations.filter_map(Value::as_object).flat_map(|violation| violation.values());
    let metadata = details.iter().filter_map(|d| d["metadata"].as_object()).flat_map(|metadata| metadata.values());
    let texts = violations.chain(metadata).filter_map(Value::as_str).chain([message]);
    texts.map(str::to_ascii_lowercase).take(16).collect()
}

/// A code or the name of a field: short and plain, so that it can be logged. Anything else is left out.
fn code(value: &Value) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_.[]".contains(&c);
    match value.as_str() {
        Some(text) if text.len() <= 64 && text.bytes().all(plain) => text.to_owned(),
        _ => String::new(),
    }
}

/// `Retry-After` as seconds or as an HTTP date, at most an hour; none for a date in the past.
pub(super) fn retry_after(header: &str) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<u64>() {
        Ok(s) => Duration::from_secs(s),
        Err(_) => httpdate::parse_http_date(header).ok()?.duration_since(SystemTime::now()).ok()?,
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn outcome(status: u16, body: &Value) -> Outcome {
        Answer::parse(body.to_string().as_bytes()).outcome(status, None, MINUTE)
    }

    fn error(status: &str, code: &str, field: Option<&str>) -> Value {
        let mut details =
            vec![json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})];
        details.extend(field.map(|f| json!({"fieldViolations": [{"field": f, "description": "secret"}]})));
        json!({"error": {"status": status, "message": "text", "details": details}})
    }

    #[test]
    fn only_an_answer_with_the_name_of_the_message_counts_as_accepted() {
        assert_eq!(outcome(200, &json!({"name": "projects/p/messages/1"})), Outcome::Accepted);
        assert!(matches!(outcome(200, &json!("<html>")), Outcome::RetryLater { scope: Scope::Push, .. }));
    }

    #[test]
    fn a_token_is_gone_only_where_fcm_says_so() {
        assert_eq!(outcome(404, &error("NOT_FOUND", "UNREGISTERED", None)), Outcome::TokenGone);
        let invalid = error("INVALID_ARGUMENT", "INVALID_ARGUMENT", Some("message.token"));
        assert_eq!(outcome(400, &invalid), Outcome::TokenGone);
        let by_text = json!({"error": {"status": "INVALID_ARGUMENT",
            "message": "The registration token is not a valid FCM registration token"}});
        assert_eq!(outcome(400, &by_text), Outcome::TokenGone);
        assert!(matches!(outcome(404, &json!({})), Outcome::RetryLater { scope: Scope::All, .. }));
    }

    #[test]
    fn a_message_that_can_never_succeed_is_refused_with_its_codes_alone() {
        let field = error("INVALID_ARGUMENT", "INVALID_ARGUMENT", Some("message.data"));
        let reason = "400 INVALID_ARGUMENT INVALID_ARGUMENT message.data".to_owned();
        assert_eq!(outcome(400, &field), Outcome::Refused { reason });
        let sender = error("PERMISSION_DENIED", "SENDER_ID_MISMATCH", None);
        assert!(matches!(outcome(403, &sender), Outcome::OtherSender { .. }));
        assert!(matches!(outcome(403, &json!({})), Outcome::RetryLater { scope: Scope::All, .. }));
        assert_eq!(code(&json!("a b\n")), "");
    }

    /// A 429 of FCM, with one more of the details that say whose quota is used up.
    fn quota_answer(detail: Option<Value>, message: &str) -> Answer {
        let mut body = error("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", None);
        body["error"]["message"] = message.into();
        let details = body["error"]["details"].as_array_mut().unwrap();
        details.extend(detail);
        Answer::parse(body.to_string().as_bytes())
    }

    #[test]
    fn a9_a_429_says_whose_quota_it_is_about() {
        let violation = |subject: &str, description: &str| {
            json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"subject": subject, "description": description}]})
        };
        let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com", "metadata": {"consumer": "projects/7", "quota_limit": "SendPerMinute"}});
        let plain = "Resource has been exhausted (e.g. check quota).";
        for (answer, scope) in [
            (quota_answer(Some(violation("device:abc", "Messages to a device")), plain), Scope::Device),
            (quota_answer(Some(violation("x", "Device message rate exceeded")), plain), Scope::Device),
            (quota_answer(None, "Device message rate exceeded"), Scope::Device),
            (quota_answer(Some(violation("project:7", "Messages per minute")), plain), Scope::All),
            (quota_answer(Some(info), plain), Scope::All),
            (quota_answer(None, plain), Scope::DeviceOrProject),
            (Answer::parse(b"<html>429</html>"), Scope::All),
        ] {
            for (header, wait) in [(None, MINUTE), (Some(Duration::from_secs(7)), Duration::from_secs(7))] {
                let outcome = answer.outcome(429, header, MINUTE);
                let is_right = matches!(&outcome, Outcome::RetryLater { after, scope: found, .. }
                    if *after == Some(wait) && *found == scope);
                assert!(is_right, "{answer:?}: {outcome:?}");
            }
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        assert_eq!(retry_after(" 12 "), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("99999999"), Some(RETRY_AFTER_MAX));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        assert!(retry_after(&date).is_some_and(|w| w.as_secs() >= 28 && w.as_secs() <= 30));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(retry_after("soon"), None);
    }
}
