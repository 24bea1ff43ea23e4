//! The length of texts as JSON (RFC 8259 section 7), for frames and pushes with a limit in bytes.

/// How many bytes this character takes inside a JSON string.
#[must_use]
pub fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_encoder() {
        for c in (0..=0x7f).filter_map(char::from_u32).chain(['é', '가', '👋']) {
            let encoded = serde_json::to_string(&c).unwrap();
            assert_eq!(json_bytes(c), encoded.len() - 2, "{c:?}");
        }
    }
}
