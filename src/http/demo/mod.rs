//! `/`: the demo client, compiled in. It is a client of the public API like any other.

use std::future::ready;
use std::sync::Arc;

use actix_web::{HttpRequest, Route, web};

use super::static_text::StaticText;

/// Nothing but this server's own files and API, and texts that never become markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file of the demo and its path.
pub(super) struct File {
    pub path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// A file of the folder `demo`, at the same path below `/demo/`.
macro_rules! below_demo {
    ($type:expr, $name:literal) => {
        File { path: concat!("/demo/", $name), content_type: $type, text: include_str!($name) }
    };
}

/// A module of the client package, below `/demo/sdk/`.
macro_rules! sdk {
    ($name:literal) => {
        File {
            path: concat!("/demo/sdk/", $name),
            content_type: JS,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/sdk/", $name)),
        }
    };
}

/// The files that the page loads.
pub(super) const FILES: &[File] = &[
    File { path: "/", content_type: HTML, text: include_str!("index.html") },
    below_demo!(SVG, "icon.svg"),
    below_demo!(CSS, "style.css"),
    below_demo!(CSS, "style/controls.css"),
    below_demo!(CSS, "style/rooms.css"),
    below_demo!(CSS, "style/chat.css"),
    below_demo!(CSS, "style/bubbles.css"),
    below_demo!(CSS, "style/overlays.css"),
    below_demo!(JS, "app.js"),
    below_demo!(JS, "app/account.js"),
    below_demo!(JS, "app/bubbles.js"),
    below_demo!(JS, "app/chat-log.js"),
    below_demo!(JS, "app/chat-pane.js"),
    below_demo!(JS, "app/composer.js"),
    below_demo!(JS, "app/dom.js"),
    below_demo!(JS, "app/log-items.js"),
    below_demo!(JS, "app/log-keys.js"),
    below_demo!(JS, "app/room-list.js"),
    below_demo!(JS, "app/room-search.js"),
    below_demo!(JS, "app/sessions.js"),
    below_demo!(JS, "app/sign-in.js"),
    below_demo!(JS, "app/words.js"),
    below_demo!(JS, "chat-client.js"),
    sdk!("api.js"),
    sdk!("client.js"),
    sdk!("connection.js"),
    sdk!("core.js"),
    sdk!("events.js"),
    sdk!("index.js"),
    sdk!("options.js"),
    sdk!("outbox.js"),
    sdk!("protocol.js"),
    sdk!("receipts.js"),
    sdk!("rest.js"),
    sdk!("room.js"),
    sdk!("rooms.js"),
    sdk!("sender.js"),
    sdk!("session.js"),
    sdk!("snapshot.js"),
    sdk!("storage.js"),
    sdk!("sync.js"),
    sdk!("timers.js"),
    sdk!("token.js"),
    sdk!("typing.js"),
    sdk!("unread.js"),
    sdk!("window.js"),
];

/// Serves a file.
pub(super) fn route(file: &'static File) -> Route {
    let text = Arc::new(StaticText::new(file.text, file.content_type, POLICY));
    web::to(move |request: HttpRequest| ready(text.answer(&request)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let served = |path: &str| FILES.iter().any(|file| file.path == path);
        for file in FILES {
            assert!(!file.text.contains("\"/demo/"), "{} names a file from the root", file.path);
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for quoted in file.text.split('"').skip(1).step_by(2) {
                let path = match quoted.strip_prefix("./").map(|name| format!("{folder}/{name}")) {
                    Some(path) => path,
                    None if quoted.starts_with("../") => quoted.replacen("..", "/demo", 1),
                    // Relative, since the page may be shown below another path.
                    None if quoted.starts_with("demo/") => format!("/{quoted}"),
                    None => continue,
                };
                assert!(served(&path), "{} names {path}", file.path);
            }
        }
    }
}
