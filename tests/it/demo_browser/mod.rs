//! The demo client in real browsers: two people chat on three devices, over a connection that breaks.
//!
//! Screenshots are kept in `target/demo-screenshots/`.

mod account;
mod below_a_path;
mod chatting;
mod lasting;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::browser::{Browser, Driver, keys};
use crate::support::http::send_bytes;
use crate::support::proxy::Proxy;
use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, TestServer, heavy};

/// The texts of the chats that are shown, in order.
const TEXTS: &str = "[...document.querySelectorAll('.chat .text')].map(node => node.textContent)";
/// The state of each own chat: waiting, sent, delivered or read.
const MARKS: &str = "[...document.querySelectorAll('.chat.mine')].map(node => node.dataset.mark)";

#[tokio::test]
async fn two_people_chat_in_the_demo() {
    let _turn = heavy().await;
    let scene = Scene::set().await;
    scene.ann_signs_up_and_finds_bob().await;
    scene.chats_show_typing_unread_counts_and_marks().await;
    scene.enter_that_ends_a_composition_does_not_send().await;
    scene.edits_and_deletions_are_seen().await;
    scene.another_device_stays_in_sync().await;
    scene.a_broken_connection_loses_and_doubles_no_chat().await;
    scene.c9_a_refused_chat_is_shown_as_failed_and_the_next_one_is_sent().await;
    scene.history_is_read_upwards_and_searched().await;
    scene.pictures().await;
    scene.signing_out_leaves_nothing_behind().await;
    for browser in [&scene.ann, &scene.bob, &scene.phone] {
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_files_of_the_demo_are_guarded_and_sent_again_only_when_they_changed() {
    let server = TestServer::spawn(Db::Sqlite).await;
    // By hand, because `Api` checks every answer against the documents, which do not name these files.
    let ask = async |method: &str, path: &str, header: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Connection: close\r\n\r\n");
        send_bytes(server.port, request.as_bytes(), s(10)).await
    };
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/demo/style.css", "text/css; charset=utf-8"),
        ("/demo/chat-client.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = ask("GET", path, "").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        let tag = answer.header("etag").expect("an ETag");
        let again = ask("GET", path, &format!("If-None-Match: {tag}\r\n")).await;
        assert_eq!((again.status, again.header("etag"), again.body.len()), (304, Some(tag), 0));
        let other = ask("GET", path, "If-None-Match: \"other\"\r\n").await;
        assert_eq!((other.status, &other.body), (200, &answer.body));
    }
    assert_eq!(ask("GET", "/demo/nothing.js", "").await.json()["code"], "not_found");
    assert_eq!(ask("POST", "/", "").await.json()["code"], "method_not_allowed");
}

struct Scene {
    server: TestServer,
    /// Ann's connection.
    line: Proxy,
    ann: Browser,
    bob: Browser,
    /// Another device of Ann's.
    phone: Browser,
    pictures: PathBuf,
    // Ends the browsers when it is dropped.
    _driver: Driver,
}

impl Scene {
    async fn set() -> Self {
        let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("demo-screenshots");
        std::fs::remove_dir_all(&pictures).ok();
        std::fs::create_dir_all(&pictures).expect("a folder for the pictures");
        let server = TestServer::spawn(Db::Sqlite).await;
        let line = Proxy::before(server.port).await;
        let driver = Driver::start().await;
        let (ann, bob) = (driver.browser("ann").await, driver.browser("bob").await);
        let phone = driver.browser("phone").await;
        phone.size(390, 844).await;
        Self { server, line, ann, bob, phone, pictures, _driver: driver }
    }

    async fn picture(&self, browser: &Browser, name: &str) {
        browser.screenshot(&self.pictures.join(format!("{name}.png"))).await;
    }
}

async fn sign_in(browser: &Browser, port: u16, name: &str) {
    browser.go(&format!("http://127.0.0.1:{port}/")).await;
    browser.write("#username", name).await;
    browser.write("#password", &format!("{PASSWORD}{}", keys::ENTER)).await;
    online(browser).await;
}

async fn reload(browser: &Browser) {
    browser.run("window.old = true; location.reload()").await;
    browser.until("!window.old && document.body.dataset.connection === 'online'").await;
}

async fn online(browser: &Browser) {
    browser.until("document.body.dataset.connection === 'online'").await;
}

/// Waits until these chats, and no others, are shown.
async fn shows(browser: &Browser, texts: &[&str]) {
    let texts: Value = json!(json!(texts).to_string());
    browser.until(&format!("JSON.stringify({TEXTS}) === {texts}")).await;
}
