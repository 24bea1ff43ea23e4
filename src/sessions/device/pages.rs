//! How rows of chats are divided into frames of bounded size. Pure.

use crate::domain::Version;
use crate::domain::chat::Chat;
use crate::domain::json::json_bytes;

/// A frame ends with the chat that reaches so many bytes of JSON.
const PAGE_BYTES: usize = 49_152;
/// The bytes of a chat in JSON without its content.
const CHAT_BYTES: usize = 256;

/// The changes of one `changes` frame.
#[derive(Debug, PartialEq)]
pub(super) struct Page<'a> {
    pub chats: &'a [Chat],
    pub since: Version,
    pub version: Version,
    /// Whether a further page follows, of these rows or of the next ones.
    pub has_more: bool,
}

/// Divides rows that were read into pages; there is at least one page.
pub(super) struct Pages<'a> {
    /// The rows that are left; none after the last page.
    rest: Option<&'a [Chat]>,
    since: Version,
    /// The version up to which the rows were read.
    end: Version,
    has_more_rows: bool,
}

impl<'a> Pages<'a> {
    /// The pages of these rows, which are all changes from `since` to `end`.
    pub(super) fn new(rows: &'a [Chat], since: Version, end: Version, has_more_rows: bool) -> Self {
        Self { rest: Some(rows), since, end, has_more_rows }
    }
}

impl<'a> Iterator for Pages<'a> {
    type Item = Page<'a>;

    fn next(&mut self) -> Option<Page<'a>> {
        let rest = self.rest.take()?;
        let (chats, more) = rest.split_at(fitting(rest.iter()));
        let is_last = more.is_empty();
        let version = if is_last { self.end } else { chats.last().map_or(self.since, |chat| chat.version) };
        let page = Page { chats, since: self.since, version, has_more: self.has_more_rows || !is_last };
        self.since = version;
        self.rest = (!is_last).then_some(more);
        Some(page)
    }
}

/// How many of these chats go into one frame: at least one, if there is one.
pub(super) fn fitting<'a>(chats: impl Iterator<Item = &'a Chat>) -> usize {
    let mut bytes = 0;
    chats
        .take_while(|chat| {
            let fits = bytes < PAGE_BYTES;
            bytes += chat.content.chars().map(json_bytes).sum::<usize>() + CHAT_BYTES;
            fits
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(version: i64, bytes: usize) -> Chat {
        Chat { content: "x".repeat(bytes), ..Chat::example(version.into(), version.into()) }
    }

    /// The versions from and to, and whether more follows, of each page.
    fn pages(rows: &[Chat], since: i64, end: i64, has_more_rows: bool) -> Vec<(i64, i64, bool)> {
        Pages::new(rows, since.into(), end.into(), has_more_rows)
            .map(|page| (page.since.get(), page.version.get(), page.has_more))
            .collect()
    }

    #[test]
    fn small_rows_are_one_page_that_ends_where_the_read_ended() {
        assert_eq!(pages(&[chat(5, 1), chat(7, 1)], 4, 9, false), [(4, 9, false)]);
        assert_eq!(pages(&[chat(5, 1), chat(7, 1)], 4, 7, true), [(4, 7, true)]);
        assert_eq!(pages(&[], 4, 4, false), [(4, 4, false)]);
    }

    #[test]
    fn large_rows_are_divided_and_each_page_follows_the_one_before() {
        let rows = [chat(5, PAGE_BYTES), chat(6, 1), chat(7, PAGE_BYTES), chat(8, 1)];
        assert_eq!(pages(&rows, 4, 9, false), [(4, 5, true), (5, 7, true), (7, 9, false)]);
    }
}
