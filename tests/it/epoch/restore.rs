//! A SQLite file is put back from a backup, by `hyper-chat restore` or by hand with `hyper-chat epoch --new`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::account::contents;
use crate::support::database::sqlite_url;
use crate::support::device_socket::cursors;
use crate::support::token::{claims, mint};
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, Person, TestServer};

/// How the backup comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Restore,
    ByHand,
}

/// What there was before the backup, and what is lost with it.
struct Lost {
    server: TestServer,
    ann: Person,
    room: i64,
    /// Signed up after the backup.
    xavier: Person,
    /// A token of the team's backend for xavier, without a sign-in.
    minted: String,
    /// The epoch and the room's version at the end of the lost time.
    epoch: String,
    version: i64,
}

fn file(server: &TestServer) -> PathBuf {
    server.folder.path().join("hyper_chat.db")
}

/// The file and its write-ahead log, which is all that a stopped server leaves.
fn copy(from: &Path, to: &Path) {
    let with = |path: &Path, end: &str| PathBuf::from(format!("{}{end}", path.display()));
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(with(to, end)).ok();
        if with(from, end).exists() && end != "-shm" {
            std::fs::copy(with(from, end), with(to, end)).expect("copies");
        }
    }
}

/// Two chats before the backup, four chats and an account after it, and then the backup is put back.
async fn set_back(way: Way) -> Lost {
    let mut server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    for text in ["kept 1", "kept 2"] {
        ann.says(room, text).await;
    }
    server.kill9();
    let backup = server.folder.path().join("backup.db");
    copy(&file(&server), &backup);
    server.restart().await;
    let xavier = server.api().person("xavier").await;
    xavier.room_with(&ann).await;
    let minted = mint(&claims(xavier.id));
    assert_eq!(xavier.with_token(&minted).get("/api/chatters/me").await.status, 200);
    for text in ["lost 3", "lost 4", "lost 5", "lost 6"] {
        bob.says(room, text).await;
    }
    let device = ann.device().await;
    let (epoch, version) = (text(&device.ready["epoch"]), device.listed(room)["version"].as_i64().expect("a version"));
    assert_eq!(version, 6);
    // A token has whole seconds: the next epoch begins in a later one than the minted token.
    tokio::time::sleep(s(1)).await;
    server.kill9();
    let with = TestServer::with(Db::Sqlite).database_url(sqlite_url(&file(&server)));
    let (status, out, log) = match way {
        Way::Restore => with.run(&["restore", &backup.display().to_string()]).await,
        Way::ByHand => {
            copy(&backup, &file(&server));
            with.run(&["epoch", "--new"]).await
        }
    };
    assert!(status.success(), "{out}{log}");
    if way == Way::Restore {
        former_is_whole_without_its_log(&server);
    }
    server.restart().await;
    Lost { server, ann, room, xavier, minted, epoch, version }
}

/// The restore has written the log into the former file before it moved either: a death in between loses nothing.
fn former_is_whole_without_its_log(server: &TestServer) {
    let names = std::fs::read_dir(server.folder.path()).expect("reads").flatten().map(|entry| entry.path());
    let kept: Vec<_> = names.filter(|name| name.display().to_string().contains("before-restore")).collect();
    let [former, rest @ ..] = &kept[..] else { panic!("nothing is kept") };
    assert!(rest.is_empty(), "{kept:?}");
    let bytes = std::fs::read(former).expect("reads");
    assert!(bytes.windows(6).any(|six| six == b"lost 6"), "the newest chat is in the file itself");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

async fn no_token_of_the_lost_time_counts(way: Way) {
    let Lost { server, ann, xavier, minted, .. } = set_back(way).await;
    // Yolanda gets the id that was xavier's, and a room of her own.
    let yolanda = server.api().person("yolanda").await;
    assert_eq!(yolanda.id, xavier.id, "ids begin anew, which is why epochs are needed");
    let ann_again = ann.signed_in_again().await;
    let room = yolanda.room_with(&ann_again).await;
    yolanda.says(room, "for ann only").await;
    for token in [&xavier.token, &minted, &ann.token] {
        let old = xavier.with_token(token);
        old.get(&format!("/api/chatrooms/{room}/chats")).await.problem(401, "token_revoked");
        assert!(DeviceSocket::connect_with(server.port, &format!("/ws?jwt={token}"), &[]).await.is_err());
    }
    let new = yolanda.with_token(&mint(&claims(yolanda.id)));
    assert_eq!(contents(&new.history(room).await), ["for ann only"], "a token of the new epoch counts");
    let mut undated = claims(yolanda.id);
    undated.as_object_mut().expect("claims").remove("iat");
    let undated = yolanda.with_token(&mint(&undated));
    undated.get("/api/chatters/me").await.problem(401, "token_revoked");
}

async fn cursors_of_the_lost_time_are_reset(way: Way) {
    let Lost { server: _server, ann, room, epoch, version, .. } = set_back(way).await;
    let ann = ann.signed_in_again().await;
    let mut device = ann.device().await;
    let now = text(&device.ready["epoch"]);
    assert_ne!(now, epoch);
    let changes = |query: String| {
        let ann = ann.clone();
        async move { ann.get(&format!("/api/chatrooms/{room}/changes?{query}")).await }
    };
    // Ahead of the room, with and without an epoch: a reset to what is stored.
    for frame in [
        json!({"type": "resume", "chatrooms": cursors(&[(room, version)])}),
        json!({"type": "resume", "chatrooms": cursors(&[(room, version)]), "epoch": epoch}),
    ] {
        assert_eq!(reset_by(&mut device, frame, room).await, ["kept 1", "kept 2"]);
    }
    changes(format!("since={version}")).await.problem(410, "epoch_changed");
    // The versions pass those of the lost time: only the epoch can say that the chats are others.
    for n in 3..=8 {
        ann.says(room, &format!("new {n}")).await;
    }
    let stored = ["kept 1", "kept 2", "new 3", "new 4", "new 5", "new 6", "new 7", "new 8"];
    for since in [2, version, 8] {
        let frame = json!({"type": "resume", "chatrooms": cursors(&[(room, since)]), "epoch": epoch});
        assert_eq!(reset_by(&mut device, frame, room).await, stored, "since {since}");
        changes(format!("since={since}&epoch={epoch}")).await.problem(410, "epoch_changed");
    }
    let page = changes(format!("since={version}&epoch={now}")).await.expect(200);
    assert_eq!(page["epoch"], now);
    assert_eq!(contents(page["changes"].as_array().expect("changes")), stored[6..]);
    let frame = json!({"type": "resume", "chatrooms": cursors(&[(room, version)]), "epoch": now});
    device.until_pong().await;
    let resumed = device.ask(frame).await;
    assert_eq!(resumed["type"], "resumed");
    assert_eq!(device.drain()[0]["type"], "changes", "cursors of this epoch go on");
}

/// The chats of the one `reset` with which this `resume` is answered.
async fn reset_by(device: &mut DeviceSocket, frame: Value, room: i64) -> Vec<String> {
    device.until_pong().await;
    let resumed = device.ask(frame).await;
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    let received = device.drain();
    let resets: Vec<_> = received.iter().filter(|frame| frame["type"] == "reset").collect();
    assert!(resets.len() == 1 && resets[0]["chatroom_id"] == room, "{received:?}");
    let chats = resets[0]["chats"].as_array().expect("chats");
    chats.iter().map(|chat| text(&chat["content"])).collect()
}

macro_rules! both_ways {
    ($($test:ident = $run:ident;)*) => {
        mod restored {
            $(#[tokio::test] async fn $test() { super::$run(super::Way::Restore).await; })*
        }
        mod by_hand {
            $(#[tokio::test] async fn $test() { super::$run(super::Way::ByHand).await; })*
        }
    };
}

both_ways! {
    b4_no_token_of_the_lost_time_counts = no_token_of_the_lost_time_counts;
    b4_cursors_of_the_lost_time_are_reset = cursors_of_the_lost_time_are_reset;
}
