//! `/`: the demo client, compiled in. It is a client of the public API like any other.

use actix_web::http::header::{self, ETag, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Nothing but this server's own files and API, and texts that never become markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file of the demo and where it is served.
pub struct File {
    pub path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// A file of the folder `demo`, at the same path below `/demo/`.
macro_rules! below_demo {
    ($type:expr, $name:literal) => {
        File { path: concat!("/demo/", $name), content_type: $type, text: include_str!(concat!("demo/", $name)) }
    };
}

/// Everything that the page loads.
pub const FILES: &[File] = &[
    File { path: "/", content_type: HTML, text: include_str!("demo/index.html") },
    below_demo!(SVG, "icon.svg"),
    below_demo!(CSS, "style.css"),
    below_demo!(JS, "app.js"),
    below_demo!(JS, "app/account.js"),
    below_demo!(JS, "app/bubbles.js"),
    below_demo!(JS, "app/chat-log.js"),
    below_demo!(JS, "app/chat-pane.js"),
    below_demo!(JS, "app/composer.js"),
    below_demo!(JS, "app/dom.js"),
    below_demo!(JS, "app/room-list.js"),
    below_demo!(JS, "app/room-search.js"),
    below_demo!(JS, "app/sign-in.js"),
    below_demo!(JS, "app/words.js"),
    below_demo!(JS, "chat-client.js"),
    below_demo!(JS, "client/connection.js"),
    below_demo!(JS, "client/outbox.js"),
    below_demo!(JS, "client/receipts.js"),
    below_demo!(JS, "client/rest.js"),
    below_demo!(JS, "client/room.js"),
    below_demo!(JS, "client/timers.js"),
];

/// Serves a file; a browser that has it is told so.
pub fn route(file: &'static File) -> Route {
    let digest = Sha256::digest(file.text);
    let tag = EntityTag::new_strong(URL_SAFE_NO_PAD.encode(&digest[..12]));
    web::to(move |request: HttpRequest| std::future::ready(answer(&request, file, &tag)))
}

fn answer(request: &HttpRequest, file: &File, tag: &EntityTag) -> HttpResponse {
    let held = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|held| held.weak_eq(tag)),
        Err(_) => false,
    };
    let mut response = if held { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header(ETag(tag.clone()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if held { response.finish() } else { response.content_type(file.content_type).body(file.text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let served = |path: &str| FILES.iter().any(|file| file.path == path);
        for file in FILES {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for quoted in file.text.split('"').skip(1).step_by(2) {
                let path = match quoted.strip_prefix("./").map(|name| format!("{folder}/{name}")) {
                    Some(path) => path,
                    None if quoted.starts_with("../") => quoted.replacen("..", "/demo", 1),
                    None if quoted.starts_with("/demo/") => quoted.to_owned(),
                    None => continue,
                };
                assert!(served(&path), "{} names {path}", file.path);
            }
        }
    }
}
