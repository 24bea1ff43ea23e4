//! Finds by which name a client calls a frame that is not valid JSON, so that the refusal can repeat the name.

/// The JSON text or number of this key in an object that may be broken elsewhere; of a repeated key the last one counts.
/// Only keys of the object itself are found, and the key must be written without escapes.
pub(super) fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (mut depth, mut found, mut at) = (0_usize, None, 0);
    let bytes = text.as_bytes();
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let string = string_at(text, at);
                at += string.len();
                let name = string.get(1..string.len().max(2) - 1);
                if let Some(value) = value_behind(text, at).filter(|_| depth == 1 && name == Some(key)) {
                    found = Some(value);
                    at += text[at..].find(value).unwrap_or_default() + value.len();
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The text of the string that begins here, with its quotes; the rest where the last quote is missing.
fn string_at(text: &str, start: usize) -> &str {
    let mut is_escaped = false;
    let end = text[start + 1..].bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    &text[start..end.map_or(text.len(), |end| start + end + 2)]
}

/// The text or number behind the colon that follows here.
fn value_behind(text: &str, end_of_key: usize) -> Option<&str> {
    let value = text[end_of_key..].trim_start().strip_prefix(':')?.trim_start();
    if value.starts_with('"') {
        return Some(string_at(value, 0));
    }
    let end = value.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(value.len());
    Some(&value[..end]).filter(|number| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c7_the_name_is_found_before_and_behind_what_is_broken() {
        for (text, expected) in [
            (r#"{"ref":7,"content":"half"#, Some("7")),
            (r#"{"content":tru,"ref":"a\"b"}"#, Some(r#""a\"b""#)),
            (r#" {"x":{"ref":1},"y":[{"ref":2}],"ref" : -3 ,}"#, Some("-3")),
            (r#"{"ref":1,"ref":2,,"#, Some("2")),
            (r#"{"content":"\"ref\":5","#, None),
            (r#"{"content":"ref","x":"#, None),
            (r#"[{"ref":1}]"#, None),
            (r#"{"ref"#, None),
            (r#"{"ref":"#, None),
            (r#"{"ref":""#, Some("\"")),
            (r#"{"ref":nul"#, None),
            ("{\"\u{d55c}\":\u{ae00},\"ref\":\"\u{ae00}\"", Some("\"\u{ae00}\"")),
            ("", None),
            ("\"", None),
            ("{\"", None),
        ] {
            assert_eq!(value_of(text, "ref"), expected, "{text}");
        }
    }
}
