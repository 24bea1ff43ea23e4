//! The account dialog: devices that are signed in, the password, deletion; and a page whose tokens are refreshed.

use serde_json::json;

use super::{online, sign_in};
use crate::support::browser::{Browser, Driver};
use crate::support::secrets::PASSWORD;
use crate::support::{Db, TestServer, heavy};

const KEPT: &str = "JSON.parse((sessionStorage['hyper-chat:session'] ?? localStorage['hyper-chat:session']))";
const SESSIONS: &str = "[...document.querySelectorAll('#sessions li')]";

async fn opens(browser: &Browser, part: &str) {
    browser.until("document.body.dataset.connection === 'online'").await;
    browser.run("document.getElementById('account').close()").await;
    browser.click("#account-button").await;
    browser.click(&format!("#{part} summary")).await;
}

async fn is_signed_out(browser: &Browser) {
    browser.until("document.getElementById('app').hidden && !document.getElementById('welcome').hidden").await;
}

#[tokio::test]
async fn b3_the_account_dialog_ends_sessions_changes_the_password_and_deletes_the_account() {
    let _turn = heavy().await;
    let server = TestServer::with(Db::Sqlite).set("AUTH__TOKEN_TTL_S", 12).start().await;
    let api = server.api();
    api.sign_up("ann").await.expect(201);
    let driver = Driver::start().await;
    let (here, other) = (driver.browser("ann").await, driver.browser("bob").await);
    for browser in [&here, &other] {
        sign_in(browser, server.port, "ann").await;
    }
    here.run(&format!("window.first = {KEPT}")).await;

    opens(&here, "sessions-part").await;
    here.until(&format!("{SESSIONS}.length === 2 && {SESSIONS}.some(one => /This device/.test(one.textContent))"))
        .await;
    here.until(&format!("{SESSIONS}.every(one => /Chrome on/.test(one.textContent))")).await;
    here.click("#sessions button").await;
    here.until(&format!("{SESSIONS}.length === 1")).await;
    is_signed_out(&other).await;

    // The page goes on with fresh tokens, and so it does after a reload.
    here.until(&format!("{KEPT}.token !== window.first.token")).await;
    here.until(&format!("{KEPT}.refresh_token !== window.first.refresh_token")).await;
    online(&here).await;
    super::reload(&here).await;

    sign_in(&other, server.port, "ann").await;
    let new = "battery-staple-0818";
    api.secrets.remember(new);
    opens(&here, "password-part").await;
    here.write("#current-password", "wrong-horse-4711").await;
    here.write("#new-password", new).await;
    here.click("#password-save").await;
    here.until("/current password/.test(document.getElementById('password-problem').textContent)").await;
    here.run("document.getElementById('current-password').value = ''").await;
    here.write("#current-password", PASSWORD).await;
    here.click("#password-save").await;
    here.until("!document.getElementById('account').open").await;
    is_signed_out(&other).await;
    api.sign_in("ann", PASSWORD).await.problem(401, "credentials_wrong");
    api.sign_in("ann", new).await.expect(200);

    opens(&here, "delete-part").await;
    here.click("#delete-account").await;
    here.click("#confirm-yes").await;
    is_signed_out(&here).await;
    assert_eq!(here.value("localStorage.length + sessionStorage.length").await, json!(0));
    api.sign_in("ann", new).await.problem(401, "credentials_wrong");
}
