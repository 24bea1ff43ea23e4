//! Log lines: to stderr, as text for people or JSON for machines. `main` calls it once, before anything runs.

pub mod audit;

use std::error::Error;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Why log lines cannot be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` has a directive that tracing cannot parse.
    #[error(
        "HYPER_CHAT__LOG__FILTER (log.filter): cannot be read as tracing directives, as in info or warn,hyper_chat=debug"
    )]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a subscriber already.
    #[error("log lines are already set up in this process")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// The library writes an error for each request that is no HTTP, so anybody could fill the log. A directive of the
/// operator for the same target takes its place.
const QUIET: &str = "actix_http::h1::dispatcher=off";

/// Starts logging for the whole process; a second call is an error.
pub fn start(config: &Log) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(format!("{QUIET},{}", config.filter))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The library would report an unwritable line on stderr, and panic where stderr itself cannot be written to.
    let lines = lines.log_internal_errors(false);
    match config.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).finish().try_init()?,
    }
    Ok(())
}

/// An error and its sources as one text, for stderr and for JSON log lines, which show a field's own text only. A source
/// that the text already ends with is left out.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = without_source_line(error.to_string());
    let mut source = error.source();
    while let Some(deeper) = source {
        let deeper_text = without_source_line(deeper.to_string());
        if !text.ends_with(&deeper_text) {
            text = format!("{text}: {deeper_text}");
        }
        source = deeper.source();
    }
    text
}

/// sqlx ends an error of PostgreSQL with a line of PostgreSQL's own source, which reads as one of the query's.
fn without_source_line(mut text: String) -> String {
    if let Some((head, line)) = text.rsplit_once(" at line ")
        && text.contains("returned from database")
        && line.bytes().all(|byte| byte.is_ascii_digit())
    {
        text.truncate(head.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_source_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the file cannot be read")]
        struct Outer(#[source] std::io::Error);
        let inner = || std::io::Error::other("no such disk");
        assert_eq!(chain(&Outer(inner())), "the file cannot be read: no such disk");
        assert_eq!(chain(&inner()), "no such disk");
    }

    #[test]
    fn e21_an_error_of_postgresql_is_shown_without_the_line_of_its_source() {
        let error = |text: &str| chain(&std::io::Error::other(text.to_owned()));
        assert_eq!(
            error("error returned from database: no role \"x\" at line 768"),
            "error returned from database: no role \"x\""
        );
        assert_eq!(error("expected a key at line 3"), "expected a key at line 3");
    }

    #[test]
    fn a_filter_must_be_readable_and_logging_starts_once() {
        let log = |filter: &str| Log { filter: filter.to_owned(), format: LogFormat::Json };
        assert!(matches!(start(&log("hyper_chat=loud")), Err(TelemetryError::Filter(_))));
        assert!(start(&log("warn,hyper_chat=debug")).is_ok());
        assert!(matches!(start(&log("info")), Err(TelemetryError::Twice(_))));
    }
}
