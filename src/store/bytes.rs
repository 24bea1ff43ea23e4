//! Pages that are bounded in bytes: a query reads the lengths of its rows first, and then only the rows that fit.

use sea_orm::{DbErr, QueryResult};

use crate::domain::json::json_bytes;

/// The bytes of one page: a page ends with the row that reaches them.
pub(super) const PAGE_BYTES: usize = 262_144;
/// The bytes of a chat beside its content.
pub(super) const CHAT_BYTES: usize = 256;
/// A character in JSON has at most so many times its bytes.
const JSON_GROWTH_MAX: usize = 6;

/// A row that a page may have: what finds it, and the bytes of its content.
pub(super) struct Length {
    pub(super) key: i64,
    pub(super) bytes: usize,
}

/// The first two columns of each row as its key and its bytes.
pub(super) fn lengths_of(rows: &[QueryResult]) -> Result<Vec<Length>, DbErr> {
    let length = |row: &QueryResult| {
        let bytes: Option<i64> = row.try_get_by_index(1)?;
        Ok(Length { key: row.try_get_by_index(0)?, bytes: usize::try_from(bytes.unwrap_or(0)).unwrap_or(0) })
    };
    rows.iter().map(length).collect()
}

/// The bytes of `content`, as SQL. Neither database reads the content itself for it.
pub(super) const CONTENT_BYTES: &str = "CAST(octet_length(content) AS BIGINT)";

/// How many of these rows fit into so many bytes: at least one, if there is one.
pub(super) fn fitting(bytes_max: usize, rows: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let begins_in_bounds = |row: &usize| {
        let fits = bytes < bytes_max;
        bytes += row;
        fits
    };
    rows.take_while(begins_in_bounds).count()
}

/// The bytes of a chat with this content as JSON.
pub(super) fn chat_json_bytes(content: &str) -> usize {
    content.chars().map(json_bytes).sum::<usize>() + CHAT_BYTES
}

/// Whether contents of so many bytes may take more than a page as JSON.
pub(super) fn may_grow_beyond(bytes_max: usize, bytes: usize) -> bool {
    bytes * JSON_GROWTH_MAX > bytes_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_the_row_that_reaches_its_bytes() {
        assert_eq!(fitting(100, [].into_iter()), 0);
        assert_eq!(fitting(100, [500, 1].into_iter()), 1, "one row always fits");
        assert_eq!(fitting(100, [40, 40, 40, 40].into_iter()), 3);
        assert_eq!(fitting(100, [1, 2, 3].into_iter()), 3);
    }

    #[test]
    fn only_contents_that_may_be_escaped_to_more_than_a_page_are_measured() {
        assert!(!may_grow_beyond(600, 100));
        assert!(may_grow_beyond(600, 101));
        assert_eq!(chat_json_bytes("\u{1}a"), CHAT_BYTES + 7);
    }
}
