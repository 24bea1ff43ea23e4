//! `server.host = "unix:PATH"`: REST and WebSocket over a socket file, its permissions, and who may have its name.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use futures_util::{SinkExt, StreamExt};

use crate::support::instance::Instance;
use crate::support::secrets::{JWT_SECRET, PASSWORD, Secrets};
use crate::support::wait::{eventually, s};

/// A folder with an instance that listens on a socket file in it.
struct OnSocket {
    instance: Instance,
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl OnSocket {
    fn new(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("hyper-chat-it-").tempdir().expect("a folder");
        let file = folder.path().join("socket");
        let instance = instance_on(folder.path(), &file, "chat.db", 0, settings);
        Self { instance, file, folder }
    }

    async fn started(settings: &[(&str, &str)]) -> Self {
        let mut it = Self::new(settings);
        it.start().await;
        it
    }

    async fn start(&mut self) {
        self.instance.launch();
        eventually("it is ready", s(20), || async {
            let stream = UnixStream::connect(&self.file).await.ok()?;
            (request_on(stream, "GET", "/readyz", "", None).await?.0 == 200).then_some(())
        })
        .await;
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: Option<Value>) -> (u16, Value) {
        let stream = UnixStream::connect(&self.file).await.expect("the server listens");
        request_on(stream, method, path, headers, body).await.expect("an answer")
    }

    async fn token(&self, name: &str) -> (String, i64) {
        let account = json!({"username": name, "password": PASSWORD, "nickname": name});
        let (status, chatter) = self.ask("POST", "/api/chatters", "", Some(account.clone())).await;
        assert_eq!(status, 201, "{chatter}");
        let (status, session) = self.ask("POST", "/api/auth", "", Some(account)).await;
        assert_eq!(status, 200, "{session}");
        (session["token"].as_str().expect("a token").to_owned(), chatter["id"].as_i64().expect("an id"))
    }
}

fn instance_on(folder: &Path, file: &Path, db: &str, number: usize, settings: &[(&str, &str)]) -> Instance {
    let url = format!("sqlite://{}?mode=rwc", folder.join(db).display());
    let env = [("DATABASE_URL".to_owned(), url)].into();
    let mut instance = Instance::new(number, folder.to_owned(), env, Secrets::default());
    instance.set("SERVER__HOST", format!("unix:{}", file.display()));
    instance.set("SERVER__WORKERS", 2);
    instance.set("AUTH__JWT_SECRET", JWT_SECRET);
    instance.set("AUTH__ARGON2_MEMORY_KIB", 8);
    instance.set("ACCOUNTS__PUBLIC_DIRECTORY", true);
    for (key, value) in settings {
        instance.set(key, value);
    }
    instance
}

/// One request on a connection of its own; none if the server closed without an answer.
async fn request_on(
    stream: UnixStream,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<Value>,
) -> Option<(u16, Value)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = stream;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

async fn next(socket: &mut WebSocketStream<UnixStream>) -> Message {
    tokio::time::timeout(s(20), socket.next()).await.expect("in time").expect("open").expect("a frame")
}

#[tokio::test]
async fn d8_rest_and_websocket_work_over_a_unix_socket_until_the_drain() {
    let mut it = OnSocket::started(&[]).await;
    let ((ann, _), (_, bob)) = (it.token("ann").await, it.token("bob").await);
    let bearer = format!("Authorization: Bearer {ann}\r\n");
    let (status, room) = it.ask("POST", "/api/chatrooms", &bearer, Some(json!({"opponent_id": bob}))).await;
    assert_eq!(status, 201, "{room}");
    let stream = UnixStream::connect(&it.file).await.expect("connected");
    let url = format!("ws://chat.example/ws/chatrooms/{}/?jwt={ann}", room["id"]);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("upgraded");
    socket.send(Message::text(json!({"message": "over a file"}).to_string())).await.expect("sent");
    let echo = next(&mut socket).await.into_text().expect("a text");
    assert!(echo.contains("over a file"), "{echo}");
    assert!(it.instance.log().contains(&format!("listens on unix:{}", it.file.display())));
    it.instance.term();
    let Message::Close(Some(close)) = next(&mut socket).await else { panic!("the drain closes the socket") };
    assert_eq!(u16::from(close.code), 1001);
    socket.flush().await.ok();
    drop(socket);
    assert!(it.instance.wait_end(s(20)).await.success(), "{}", it.instance.log());
    assert!(!it.file.exists(), "the file ends with the server");
}

#[tokio::test]
async fn d8_the_mode_is_the_configured_one() {
    let mode = |it: &OnSocket| std::fs::metadata(&it.file).expect("the file").permissions().mode() & 0o777;
    assert_eq!(mode(&OnSocket::started(&[]).await), 0o660);
    assert_eq!(mode(&OnSocket::started(&[("SERVER__SOCKET_MODE", "0606")]).await), 0o606);
}

#[tokio::test]
async fn d8_a_stale_file_is_replaced_and_that_of_a_living_server_is_refused() {
    let mut it = OnSocket::started(&[]).await;
    let mut other = instance_on(it.folder.path(), &it.file, "other.db", 1, &[]);
    other.launch();
    assert_eq!(other.wait_end(s(20)).await.code(), Some(1));
    let log = other.log();
    let wanted = format!("cannot listen on unix:{}; another server listens there", it.file.display());
    assert!(log.contains(&wanted), "{log}");
    assert_eq!(it.ask("GET", "/readyz", "", None).await.0, 200, "the first one serves on");
    it.instance.kill9();
    assert!(std::fs::symlink_metadata(&it.file).expect("left").file_type().is_socket());
    it.start().await;
    it.instance.kill9();
    std::fs::remove_file(&it.file).expect("removed");
    std::fs::write(&it.file, "precious").expect("written");
    let status = it.instance.command(&["serve"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&status.stderr).contains("a file is there that is no socket"));
    assert_eq!(std::fs::read_to_string(&it.file).expect("kept"), "precious");
    // Anybody who may read the folder can lock it.
    let folder = std::fs::File::open(it.folder.path()).expect("opens");
    folder.lock().expect("locks");
    let refused = it.instance.command(&["serve"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another process has locked its folder"));
}

#[tokio::test]
async fn d8_rates_by_address_go_by_the_forwarded_one_on_a_unix_socket() {
    let limits = [("LIMITS__SIGN_UP_PER_MIN", "1"), ("SERVER__PROXY_HOPS", "1")];
    let it = OnSocket::started(&limits).await;
    let sign_up = async |name: &str, from: &str| {
        let account = json!({"username": name, "password": PASSWORD, "nickname": name});
        it.ask("POST", "/api/chatters", &format!("X-Forwarded-For: {from}\r\n"), Some(account)).await.0
    };
    assert_eq!(sign_up("one", "203.0.113.1").await, 201);
    assert_eq!(sign_up("two", "203.0.113.1").await, 429);
    assert_eq!(sign_up("three", "203.0.113.2").await, 201, "another client of the same proxy");
    let without = OnSocket::started(&[]).await;
    assert!(without.instance.log().contains("set server.proxy_hops"));
    assert!(!it.instance.log().contains("set server.proxy_hops"));
}
