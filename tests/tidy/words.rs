//! The field's words: names of the dialect that the code once spoke do not come back.

use super::size::function_name;
use super::source::{is_tests_only, none, sources, without_comments, without_tests};

/// A retired word and what stands for it. A word counts wherever it is a part of a name: `tell` in `tell_again` and `TellOfRoom`.
const RETIRED: &[(&str, &str)] = &[
    ("relay", "broker"),
    ("told", "ClusterMessage, announced"),
    ("tell", "publish, send, announce"),
    ("hear", "on_message, receive"),
    ("heard", "received"),
    ("hearing", "inbound"),
    ("unlisten", "unsubscribe"),
    ("wanted", "subscriptions, DeviceRequest"),
    ("mention", "send_ephemeral"),
    ("roster", "presence directory"),
    ("came", "join"),
    ("went", "leave"),
    ("link", "Connection"),
    ("held", "InFlightGuard, Buffered"),
    ("asker", "ReplyTo"),
    ("asked", "RoomMessage, query"),
    ("settle", "complete, release, acknowledge"),
    ("settled", "committed, complete, released, acknowledged"),
    ("verdict", "Attempt"),
    ("moves", "watermarks"),
    ("alter", "Mutation"),
    ("wish", "PendingEdit"),
    ("doubt", "needs_requery, recheck"),
    ("doubtful", "needs_requery, recheck"),
    ("look", "poll, check_version"),
    ("looked", "polled, checked"),
    ("keeper", "supervisor"),
    ("teller", "outage log"),
    ("tally", "metrics"),
    ("owed", "pending push"),
    ("nudge", "push hint"),
    ("hurried", "due now"),
    ("unreached", "PushHint"),
    ("made", "created"),
    ("gone", "deleted"),
    ("seed", "chatroom socket"),
    ("others", "cluster"),
    ("opening", "open"),
    ("prepared", "static text"),
];

/// Names that hold a retired word and are right all the same, each for a reason of its own.
const KEPT: &[(&str, &str)] = &[];

/// `TellOfRoom` and `tell_of_room` are both `tell`, `of`, `room`.
fn parts_of(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && parts.last().is_some_and(|last| !last.is_empty())) {
            parts.push(String::new());
        }
        if c != '_'
            && let Some(last) = parts.last_mut()
        {
            last.extend(c.to_lowercase());
        }
    }
    parts
}

/// What to call it instead, if the name holds a retired word.
fn retired(name: &str) -> Option<&'static str> {
    if KEPT.iter().any(|(kept, _)| *kept == name) {
        return None;
    }
    let parts = parts_of(name);
    RETIRED.iter().find(|(word, _)| parts.iter().any(|part| part == word)).map(|(_, instead)| *instead)
}

fn type_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    for word in ["pub ", "pub(crate) ", "pub(super) "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| rest.strip_prefix(kind))?;
    let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn types_functions_and_files_are_called_by_the_fields_words() {
    let mut broken = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !is_tests_only(&source.path)) {
        let file = source.path.trim_end_matches(".rs").trim_end_matches("/mod").rsplit('/').next().unwrap_or_default();
        if let Some(instead) = retired(file) {
            broken.push(format!("{}: the file ({instead})", source.path));
        }
        let code = without_comments(without_tests(&source.text));
        for (n, line) in code.lines().enumerate() {
            let name = function_name(line).or_else(|| type_name(line));
            if let Some((name, instead)) = name.and_then(|name| retired(&name).map(|instead| (name, instead))) {
                broken.push(format!("{}:{} {name} ({instead})", source.path, n + 1));
            }
        }
    }
    none("names are the field's words", &broken);
}

#[test]
fn a_retired_word_is_seen_in_any_case_and_only_as_a_whole_part() {
    assert!(retired("TellOfRoom").is_some() && retired("tell_again").is_some() && retired("Told").is_some());
    assert!(retired("teller_of").is_some() && retired("intelligible").is_none() && retired("blinking").is_none());
}
