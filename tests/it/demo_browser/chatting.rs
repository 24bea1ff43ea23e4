//! Two people find each other and chat: typing, unread counts, marks, edits, deletions, and a second device.

use serde_json::json;

use super::{MARKS, Scene, TEXTS, online, shows, sign_in};
use crate::support::browser::keys;
use crate::support::secrets::PASSWORD;

impl Scene {
    pub(super) async fn ann_signs_up_and_finds_bob(&self) {
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

    pub(super) async fn chats_show_typing_unread_counts_and_marks(&self) {
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

    pub(super) async fn enter_that_ends_a_composition_does_not_send(&self) {
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

    pub(super) async fn edits_and_deletions_are_seen(&self) {
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

    pub(super) async fn another_device_stays_in_sync(&self) {
        let phone = &self.phone;
        sign_in(phone, self.server.port, "ann").await;
        phone.until_text("#rooms .preview", "See you at three").await;
        self.ann.write("#text", &format!("From my desk{}", keys::ENTER)).await;
        phone.until_text("#rooms .preview", "From my desk").await;
        self.picture(phone, "phone-list").await;
        phone.click("#rooms a").await;
        phone.until(&format!("{TEXTS}.at(-1) === 'From my desk'")).await;
        // One pane at a time, and the address changes with it.
        assert_eq!(phone.value("getComputedStyle(document.querySelector('.sidebar')).display").await, "none");
        phone.write("#text", "And from my phone").await;
        phone.click("#send").await;
        self.ann.until(&format!("{TEXTS}.at(-1) === 'And from my phone'")).await;
        // Back in the list; a chat that one device reads is read on the other.
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
}
