//! The demo client in real browsers: two people chat, on three devices, through a line that breaks.
//!
//! Pictures of what they see are kept in `target/demo-screenshots/`.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::{Browser, Driver, keys};
use crate::support::http::send_bytes;
use crate::support::proxy::Proxy;
use crate::support::secrets::PASSWORD;
use crate::support::wait::s;
use crate::support::{Db, TestServer, heavy};

/// The texts of the chats that are shown, in order.
const TEXTS: &str = "[...document.querySelectorAll('.chat .text')].map(node => node.textContent)";
/// How far each of one's own chats got.
const MARKS: &str = "[...document.querySelectorAll('.chat.mine')].map(node => node.dataset.mark)";

#[tokio::test]
async fn two_people_chat_in_the_demo() {
    let _turn = heavy().await;
    let scene = Scene::set().await;
    scene.ann_signs_up_and_finds_bob().await;
    scene.what_is_said_is_seen_with_typing_unread_and_marks().await;
    scene.enter_that_ends_a_composition_does_not_send().await;
    scene.edits_and_deletions_are_seen().await;
    scene.another_device_is_in_step().await;
    scene.a_broken_line_loses_and_doubles_nothing().await;
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
    // By hand: these are no operations of the documents, to which the other client holds every answer.
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
    /// Ann's line.
    line: Proxy,
    ann: Browser,
    bob: Browser,
    /// Another device of Ann's.
    phone: Browser,
    pictures: PathBuf,
    // Ends the browsers when all is over.
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

    async fn ann_signs_up_and_finds_bob(&self) {
        self.server.api().sign_up("bob").await.expect(201);
        sign_in(&self.bob, self.server.port, "bob").await;
        self.picture(&self.bob, "nobody-yet").await;
        self.ann.go(&format!("http://127.0.0.1:{}/", self.line.port)).await;
        self.ann.click("#swap").await;
        self.ann.write("#username", "ann").await;
        self.ann.write("#nickname", "Ann Lindqvist").await;
        self.ann.write("#password", "short").await;
        self.ann.write("#password", keys::ENTER).await;
        self.ann.until_text("#sign-in-problem", "Password must have 8 to 128 characters").await;
        self.picture(&self.ann, "sign-up-refused").await;
        self.ann.run("document.getElementById('password').value = ''").await;
        self.ann.write("#password", &format!("{PASSWORD}{}", keys::ENTER)).await;
        online(&self.ann).await;
        // The keyboard alone: find, down to the first person, Enter.
        self.ann.write("#find", "bo").await;
        self.ann.until("document.querySelectorAll('#people button').length === 1").await;
        self.picture(&self.ann, "people").await;
        self.ann.press(&format!("{}{}", keys::DOWN, keys::ENTER)).await;
        self.ann.until_text("#other-name", "bob").await;
        self.ann.until_text(".head", "Say hello to bob").await;
        self.picture(&self.ann, "empty-chat").await;
        self.bob.until_text("#rooms", "Ann Lindqvist").await;
    }

    async fn what_is_said_is_seen_with_typing_unread_and_marks(&self) {
        let greeting = "안녕하세요 Bob! 👋 <b>not bold</b>";
        self.ann.until("document.activeElement.id === 'text'").await;
        self.ann.write("#text", greeting).await;
        self.bob.until_text("#rooms .preview", "typing…").await;
        self.picture(&self.bob, "typing").await;
        self.ann.press(keys::ENTER).await;
        self.bob.until_text("#rooms .preview", greeting).await;
        self.bob.until("document.title === '(1) Hyper Chat'").await;
        self.bob.until_text(".badge", "1").await;
        self.ann.until(&format!("{MARKS}.at(-1) === 'delivered'")).await;
        self.picture(&self.bob, "unread").await;
        self.bob.click("#rooms a").await;
        shows(&self.bob, &[greeting]).await;
        self.bob.until("document.title === 'Hyper Chat' && !document.querySelector('.badge')").await;
        self.ann.until(&format!("{MARKS}.at(-1) === 'read'")).await;
        self.ann.until("document.getElementById('other-state').textContent === 'online'").await;
        assert_eq!(self.bob.value("document.querySelectorAll('.chat b').length").await, 0, "a text is a text");
    }

    async fn enter_that_ends_a_composition_does_not_send(&self) {
        let bob = &self.bob;
        bob.click("#text").await;
        bob.devtools("Input.imeSetComposition", &json!({"text": "네", "selectionStart": 1, "selectionEnd": 1})).await;
        let enter = json!({"type": "rawKeyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229});
        bob.devtools("Input.dispatchKeyEvent", &enter).await;
        bob.until("document.getElementById('text').value === '네'").await;
        bob.devtools("Input.insertText", &json!({"text": "네, 안녕하세요"})).await;
        bob.until("document.getElementById('text').value === '네, 안녕하세요'").await;
        bob.press(keys::ENTER).await;
        self.ann.until(&format!("{TEXTS}.at(-1) === '네, 안녕하세요' && {TEXTS}.length === 2")).await;
    }

    async fn edits_and_deletions_are_seen(&self) {
        let (ann, bob) = (&self.ann, &self.bob);
        for text in ["See you at thre", "oops"] {
            bob.write("#text", &format!("{text}{}", keys::ENTER)).await;
            ann.until(&format!("{TEXTS}.at(-1) === {}", json!(text))).await;
        }
        bob.until(&format!("{MARKS}.every(mark => mark === 'read')")).await;
        // Up in the empty field reaches the newest; in the log the arrows go on, Delete and Enter act.
        bob.run("[...document.querySelectorAll('.chat')].at(-1).focus()").await;
        bob.press("\u{E017}").await;
        bob.until("document.getElementById('confirm').open").await;
        self.picture(bob, "confirm").await;
        bob.click("#confirm-yes").await;
        ann.until(&format!("{TEXTS}.at(-1) === 'See you at thre'")).await;
        bob.until(&format!("{TEXTS}.at(-1) === 'See you at thre'")).await;
        bob.until("document.activeElement.id === 'text'").await;
        bob.press(keys::UP).await;
        bob.until("document.getElementById('text').value === 'See you at thre'").await;
        self.picture(bob, "editing").await;
        bob.write("#text", &format!("e{}", keys::ENTER)).await;
        ann.until(&format!("{TEXTS}.at(-1) === 'See you at three'")).await;
        ann.until_text(".chat:last-child .meta", "edited").await;
        ann.until_text("#rooms .preview", "See you at three").await;
    }

    async fn another_device_is_in_step(&self) {
        let phone = &self.phone;
        sign_in(phone, self.server.port, "ann").await;
        phone.until_text("#rooms .preview", "See you at three").await;
        self.ann.write("#text", &format!("From my desk{}", keys::ENTER)).await;
        phone.until_text("#rooms .preview", "From my desk").await;
        self.picture(phone, "phone-list").await;
        phone.click("#rooms a").await;
        phone.until(&format!("{TEXTS}.at(-1) === 'From my desk'")).await;
        // One pane at a time, and the address follows.
        assert_eq!(phone.value("getComputedStyle(document.querySelector('.sidebar')).display").await, "none");
        phone.write("#text", "And from my phone").await;
        phone.click("#send").await;
        self.ann.until(&format!("{TEXTS}.at(-1) === 'And from my phone'")).await;
        // Back in the list; what one device reads is read on the other.
        phone.click("#back").await;
        phone.until("location.hash === ''").await;
        self.ann.run("location.hash = ''").await;
        self.bob.write("#text", &format!("Where are you now?{}", keys::ENTER)).await;
        for device in [phone, &self.ann] {
            device.until("document.title === '(1) Hyper Chat'").await;
        }
        self.ann.click("#rooms a").await;
        phone.until("document.title === 'Hyper Chat'").await;
    }

    async fn a_broken_line_loses_and_doubles_nothing(&self) {
        let (ann, bob) = (&self.ann, &self.bob);
        self.line.cut();
        ann.until_text("#connection", "No connection.").await;
        for text in ["Said in a tunnel", "and still there"] {
            ann.write("#text", &format!("{text}{}", keys::ENTER)).await;
        }
        ann.until(&format!("{MARKS}.slice(-2).every(mark => mark === 'waiting')")).await;
        self.picture(ann, "no-connection").await;
        bob.write("#text", &format!("Hello? Are you there?{}", keys::ENTER)).await;
        bob.until(&format!("{MARKS}.at(-1) === 'delivered'")).await;
        // The page is left and comes back: the outbox outlives it.
        self.line.heal();
        ann.run("location.reload()").await;
        online(ann).await;
        let expected = ["Where are you now?", "Hello? Are you there?", "Said in a tunnel", "and still there"];
        for browser in [ann, bob] {
            browser
                .until(&format!("JSON.stringify({TEXTS}.slice(-4)) === {}", json!(json!(expected).to_string())))
                .await;
        }
        ann.until(&format!("{MARKS}.at(-1) === 'read'")).await;
        // Without a reload too.
        self.line.cut();
        ann.until_text("#connection", "No connection.").await;
        bob.write("#text", &format!("Missed{}", keys::ENTER)).await;
        self.line.heal();
        online(ann).await;
        ann.until(&format!("{TEXTS}.at(-1) === 'Missed'")).await;
        assert_eq!(ann.value(TEXTS).await, bob.value(TEXTS).await);
    }

    async fn history_is_read_upwards_and_searched(&self) {
        let bob = self.server.api().sign_in("bob", PASSWORD).await.expect(200);
        let token = bob["token"].as_str().expect("a token");
        for n in 0..150 {
            let content =
                if n == 20 { "The Needle of this story".to_owned() } else { format!("Line {n} of a long story") };
            let chat = json!({"content": content});
            self.server
                .api()
                .request(Method::POST, "/api/chatrooms/1/chats", Some(token), Some(&chat))
                .await
                .expect(201);
        }
        let ann = &self.ann;
        ann.until(&format!("{TEXTS}.at(-1) === 'Line 149 of a long story'")).await;
        ann.run("location.reload()").await;
        online(ann).await;
        let held = ann.value(&format!("{TEXTS}.length")).await.as_u64().expect("a number");
        ann.until("document.getElementById('log').scrollTop > 500").await;
        // Up to the page's edge: what was on the screen stays where it was while older ones come above it.
        let top = "(() => { const log = document.getElementById('log'); log.scrollTop = 150; \
                   const node = [...document.querySelectorAll('.chat')].find(n => n.getBoundingClientRect().top > 100); \
                   window.kept = [node, node.getBoundingClientRect().top]; return true })()";
        ann.value(top).await;
        ann.until(&format!("{TEXTS}.length > {held}")).await;
        ann.until("Math.abs(kept[0].getBoundingClientRect().top - kept[1]) < 2").await;
        ann.click("#search-button").await;
        ann.write("#search-text", "NEEDLE").await;
        ann.until("document.querySelectorAll('#hits button').length === 1").await;
        self.picture(ann, "search").await;
        ann.press(&format!("{}{}", keys::DOWN, keys::ENTER)).await;
        ann.until("document.activeElement.querySelector('.text')?.textContent === 'The Needle of this story'").await;
        self.picture(ann, "search-jump").await;
        ann.click("#search-close").await;
        ann.click("#to-newest").await;
        ann.until(&format!("{TEXTS}.at(-1) === 'Line 149 of a long story'")).await;
    }

    /// What a person looks at, light and dark, wide and narrow.
    async fn pictures(&self) {
        let (ann, phone) = (&self.ann, &self.phone);
        ann.write("#text", &format!("{}{}", "longwordwithoutaplacetobreak".repeat(12), keys::ENTER)).await;
        ann.write("#text", &format!("🎉{}", keys::ENTER)).await;
        self.bob.until(&format!("{TEXTS}.at(-1) === '🎉'")).await;
        ann.until(&format!("{MARKS}.at(-1) === 'read'")).await;
        phone.click("#rooms a").await;
        phone.until(&format!("{TEXTS}.at(-1) === '🎉'")).await;
        for (dark, name) in [(false, "light"), (true, "dark")] {
            for (browser, width) in [(ann, "wide"), (phone, "phone")] {
                browser.dark(dark).await;
                self.picture(browser, &format!("{width}-{name}")).await;
                let overflow = "document.documentElement.scrollWidth > innerWidth || \
                                document.getElementById('log').scrollWidth > document.getElementById('log').clientWidth";
                assert_eq!(browser.value(overflow).await, false, "nothing sticks out: {width}");
            }
        }
        ann.click("#account-button").await;
        ann.until("document.getElementById('account').open").await;
        self.picture(ann, "account-dark").await;
    }

    async fn signing_out_leaves_nothing_behind(&self) {
        let ann = &self.ann;
        assert_ne!(ann.value("localStorage.length").await, 0);
        ann.click("#sign-out").await;
        ann.until("document.activeElement.id === 'username'").await;
        assert_eq!(ann.value("localStorage.length + sessionStorage.length").await, 0);
        assert_eq!(ann.value("document.title").await, "Hyper Chat");
        self.picture(ann, "sign-in-dark").await;
        let state = "document.getElementById('other-state').textContent";
        // Her other device is still there.
        assert_eq!(self.bob.value(state).await, "online");
        self.phone.run("location.href = 'about:blank'").await;
        self.bob.until(&format!("{state}.startsWith('last seen')")).await;
        self.picture(&self.bob, "last-seen").await;
    }
}

async fn sign_in(browser: &Browser, port: u16, name: &str) {
    browser.go(&format!("http://127.0.0.1:{port}/")).await;
    browser.write("#username", name).await;
    browser.write("#password", &format!("{PASSWORD}{}", keys::ENTER)).await;
    online(browser).await;
}

async fn online(browser: &Browser) {
    browser.until("document.body.dataset.connection === 'online'").await;
}

/// Waits until these chats, and no others, are shown.
async fn shows(browser: &Browser, texts: &[&str]) {
    let texts: Value = json!(json!(texts).to_string());
    browser.until(&format!("JSON.stringify({TEXTS}) === {texts}")).await;
}
