//! The demo and the documents in a browser where the server is shown below a path.

use serde_json::json;

use super::{online, shows};
use crate::support::browser::{Driver, keys};
use crate::support::secrets::PASSWORD;
use crate::support::{Db, TestServer, heavy};

#[tokio::test]
async fn d6_the_demo_and_the_documents_work_below_a_base_path() {
    let _turn = heavy().await;
    let server = TestServer::with(Db::Sqlite).set("SERVER__BASE_PATH", "/chat").start().await;
    let bob = server.api().sign_up("bob").await.expect(201);
    let driver = Driver::start().await;
    let ann = driver.browser("ann").await;
    ann.go(&format!("http://127.0.0.1:{}/chat", server.port)).await;
    assert_eq!(ann.value("location.pathname").await, "/chat/");
    ann.click("#swap").await;
    ann.write("#username", "ann").await;
    ann.write("#password", &format!("{PASSWORD}{}", keys::ENTER)).await;
    online(&ann).await;
    ann.write("#find", "bo").await;
    ann.until("document.querySelectorAll('#people button').length === 1").await;
    ann.press(&format!("{}{}", keys::DOWN, keys::ENTER)).await;
    ann.until_text("#other-name", bob["nickname"].as_str().expect("a name")).await;
    ann.until("document.activeElement.id === 'text'").await;
    ann.write("#text", &format!("below a path{}", keys::ENTER)).await;
    shows(&ann, &["below a path"]).await;
    ann.until("document.querySelector('.chat.mine').dataset.mark === 'sent'").await;
    let loads = "performance.getEntriesByType('resource').map(load => new URL(load.name).pathname)";
    let outside = format!("{loads}.filter(path => !path.startsWith('/chat/'))");
    assert_eq!(ann.value(&outside).await, json!([]), "everything is loaded from below the path");
    assert_eq!(ann.complaints().await, Vec::<String>::new());
    for (page, text) in [("docs", "POST"), ("docs/socket", "ready")] {
        ann.go(&format!("http://127.0.0.1:{}/chat/{page}", server.port)).await;
        ann.until_text("#main", text).await;
        assert_eq!(ann.value(&outside).await, json!([]), "{page}");
    }
}
