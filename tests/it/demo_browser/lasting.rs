//! A broken line, a long history, what the page looks like, and signing out.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{MARKS, Scene, TEXTS, online, reload};
use crate::support::browser::keys;
use crate::support::secrets::PASSWORD;

impl Scene {
    pub(super) async fn a_broken_connection_loses_and_doubles_no_chat(&self) {
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
        // The page is reloaded: the outbox survives.
        self.line.heal();
        reload(ann).await;
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

    pub(super) async fn c9_a_refused_chat_is_shown_as_failed_and_the_next_one_is_sent(&self) {
        let (ann, bob) = (&self.ann, &self.bob);
        // The page does not know that this letter shows nothing.
        ann.write("#text", &format!("\u{3164}{}", keys::ENTER)).await;
        ann.until(&format!("{MARKS}.includes('failed')")).await;
        ann.write("#text", &format!("After the refused one{}", keys::ENTER)).await;
        bob.until(&format!("{TEXTS}.at(-1) === 'After the refused one'")).await;
        let buttons = "[...document.querySelectorAll('.trouble button')]";
        let labels = json!(json!(["Try again", "Discard"]).to_string());
        ann.until(&format!("JSON.stringify({buttons}.map(button => button.textContent)) === {labels}")).await;
        ann.run(&format!("{buttons}[1].click()")).await;
        ann.until(&format!("!{MARKS}.includes('failed')")).await;
        let texts = bob.value(TEXTS).await;
        ann.until(&format!("JSON.stringify({TEXTS}) === {}", json!(texts.to_string()))).await;
    }

    pub(super) async fn history_is_read_upwards_and_searched(&self) {
        let ann = &self.ann;
        ann.run("location.hash = ''").await;
        let api = self.server.api();
        let signed_in = api.sign_in("bob", PASSWORD).await.expect(200);
        let token = signed_in["token"].as_str().expect("a token");
        let say = async |content: String| {
            let chat = json!({"content": content});
            api.request(Method::POST, "/api/chatrooms/1/chats", Some(token), Some(&chat)).await.expect(201);
        };
        join_all((0..20).map(|n| say(format!("Line {n} of a long story")))).await;
        say("The Needle of this story".to_owned()).await;
        join_all((21..149).map(|n| say(format!("Line {n} of a long story")))).await;
        say("Line 149 of a long story".to_owned()).await;
        ann.until("document.title === '(150) Hyper Chat'").await;
        // The room opens at the first new chat; chats below the screen are not read yet.
        ann.click("#rooms a").await;
        ann.until("document.querySelector('.new-line')").await;
        let unread = "Number(/[0-9]+/.exec(document.title))";
        ann.until(&format!("{unread} > 0 && {unread} < 150")).await;
        self.picture(ann, "many-unread").await;
        ann.click("#to-newest").await;
        ann.until(&format!("{TEXTS}.at(-1) === 'Line 149 of a long story' && document.title === 'Hyper Chat'")).await;
        // After a reload the page has the newest chats and reads the rest again.
        reload(ann).await;
        let held = ann.value(&format!("{TEXTS}.length")).await.as_u64().expect("a number");
        ann.until("document.getElementById('log').scrollTop > 500").await;
        // At the upper edge older chats are inserted above, and the chats on the screen stay in place.
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

    /// Screenshots, light and dark, wide and narrow.
    pub(super) async fn pictures(&self) {
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

    pub(super) async fn signing_out_leaves_nothing_behind(&self) {
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
