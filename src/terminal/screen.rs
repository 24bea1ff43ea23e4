//! The output: chats on stdout, notes about the connection on stderr. Chats cannot steer the terminal: control
//! characters are removed.

use std::io::{self, IsTerminal, Write};

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, UtcOffset};

/// Under `HH:MM `, so that no line of a chat can pose as another chat.
const INDENT: &str = "\n      ";

/// The terminal, or the file or pipe in its place.
pub(super) struct Screen {
    offset: UtcOffset,
    /// Input and output are the same terminal: typed lines show.
    live: bool,
    day: Option<Date>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            // The time zone is unknown once other threads could change it; then times are in UTC.
            offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC),
            live: io::stdin().is_terminal() && io::stdout().is_terminal(),
            day: None,
        }
    }

    /// One chat: `HH:MM name: text`.
    pub(super) fn chat(&mut self, create_time: &str, name: &str, text: &str) -> io::Result<()> {
        let at = OffsetDateTime::parse(create_time, &Rfc3339).ok().map(|at| at.to_offset(self.offset));
        let mut out = io::stdout().lock();
        if self.live {
            // Takes the place of a half-typed line; Ctrl-R shows that one again.
            write!(out, "\r\x1b[K")?;
            if let Some(day) = at.map(OffsetDateTime::date).filter(|day| self.day != Some(*day)) {
                writeln!(out, "      {} {} {}", day.day(), day.month(), day.year())?;
                self.day = Some(day);
            }
        }
        writeln!(out, "{}", line(at, name, text))?;
        out.flush()
    }

    /// Removes a typed line, which its echo will show again.
    pub(super) fn typed(&self) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        write!(out, "\x1b[1A\r\x1b[K")?;
        out.flush()
    }

    /// Prints a note about the connection, outside the conversation.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(io::stderr().lock(), "-- {}", clean(text))
    }
}

fn line(at: Option<OffsetDateTime>, name: &str, text: &str) -> String {
    let clock = at.map_or_else(|| "--:--".to_owned(), |at| format!("{:02}:{:02}", at.hour(), at.minute()));
    let text: Vec<String> = text.lines().map(clean).collect();
    format!("{clock} {}: {}", clean(name), text.join(INDENT))
}

/// The text without characters that move the cursor, change colours or reorder the text around them.
pub(super) fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !steers(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_others_send_steers_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\x07\u{9b}2J\r\tc\u{202e}d"), "a[31mb2J cd");
        assert_eq!(clean("안녕 👋 é"), "안녕 👋 é");
    }

    #[test]
    fn a_chat_of_two_lines_cannot_pose_as_two_chats() {
        let at = OffsetDateTime::parse("2026-11-22T09:07:14.000123Z", &Rfc3339).ok();
        assert_eq!(line(at, "bob", "hi\n09:08 alice: no"), "09:07 bob: hi\n      09:08 alice: no");
        assert_eq!(line(None, "bob", "hi"), "--:-- bob: hi");
    }
}
