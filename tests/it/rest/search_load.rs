//! Searching much: a search is bounded in work, and beside any number of them everything else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::account::{contents, list};
use crate::support::rest::next_link;
use crate::support::secrets::PASSWORD;
use crate::support::wait::{SLACK, s};
use crate::support::{Answer, Api, Db, Person, TestServer, alone, eventually, heavy, on_all};

on_all![
    a1_searches_that_compare_much_stop_nobody;
    but_single: a12_a_page_of_a_search_ends_after_bounded_work, a1_a_chatter_searches_at_a_rate
];

/// The most places of a room that one page of an answer examines: 50,000, and what a page of the database is more.
const PLACES_MAX: i64 = 54_096;

fn path(room: i64) -> String {
    format!("/api/chatrooms/{room}/chats/search")
}

/// Times of a pair that signs in, reads and writes; every request of theirs is answered.
async fn pair_goes_on(api: &Api, pair: [&Person; 2], room: i64, rounds: usize, sign_ins: usize) -> Duration {
    let mut times = Vec::new();
    for round in 0..rounds {
        let start = Instant::now();
        let person = pair[round % 2];
        if round < sign_ins {
            api.sign_in(&person.name, PASSWORD).await.expect(200);
        }
        person.says(room, "a word between the two").await;
        assert!(!list(person.get(&format!("/api/chatrooms/{room}/chats?limit=20")).await).is_empty());
        api.get("/readyz").await.expect(200);
        times.push(start.elapsed());
    }
    times.sort();
    times[rounds * 9 / 10]
}

async fn a1_searches_that_compare_much_stop_nobody(db: Db) {
    let _turn = alone().await;
    let limits =
        ["LIMITS__SEND_PER_S", "LIMITS__SIGN_IN_PER_MIN", "LIMITS__SIGN_UP_PER_MIN", "LIMITS__SEARCHES_PER_MIN"];
    let server = limits.iter().fold(TestServer::with(db), |builder, key| builder.unset(key)).start().await;
    let api = server.api();
    let (ann, bob, room) = api.pair().await;
    let mallory = api.person("mallory").await;
    let notes = mallory.room_with(&mallory).await;
    server.dump().await.add_copies(notes, mallory.id, 400, &"a".repeat(8_000)).await;
    let calm = pair_goes_on(&api, [&ann, &bob], room, 20, 2).await;

    let (stop, answered, refused) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let attack: Vec<_> = (0..5)
        .map(|_| {
            let (mallory, stop) = (mallory.clone(), stop.clone());
            let (answered, refused) = (answered.clone(), refused.clone());
            tokio::spawn(async move {
                let query = json!({"query": format!("b{}", "a".repeat(1_023))});
                while !stop.load(Ordering::Relaxed) {
                    let answer = mallory.post(&path(notes), &query).await;
                    match answer.status {
                        200 => answered.fetch_add(1, Ordering::Relaxed),
                        _ => {
                            answer.problem(429, "rate_limited");
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect();
    eventually("searches run", s(20), || async { (answered.load(Ordering::Relaxed) > 0).then_some(()) }).await;
    let attacked = pair_goes_on(&api, [&ann, &bob], room, 30, 6).await;
    eventually("searches beside each other are refused", s(20), || async {
        (refused.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for one in attack {
        one.await.expect("the attack was answered");
    }
    assert!(attacked <= calm * 3 + SLACK, "{calm:?} in peace, {attacked:?} beside searches");
    assert!(!server.log().contains("its connections are replaced"), "no pool was given up");
}

async fn a1_a_chatter_searches_at_a_rate(db: Db) {
    let server = TestServer::with(db).set("LIMITS__SEARCHES_PER_MIN", 3).start().await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "what both can find").await;
    for _ in 0..3 {
        assert_eq!(ann.finds(room, "find").await.len(), 1);
    }
    let refused = ann.search(room, "find").await;
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    refused.problem(429, "rate_limited");
    assert_eq!(bob.finds(room, "find").await.len(), 1, "another chatter has a rate of their own");
    ann.search(room, "").await.invalid("query");
}

async fn a12_a_page_of_a_search_ends_after_bounded_work(db: Db) {
    let _turn = heavy().await;
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let dump = server.dump().await;
    dump.add_copies(room, ann.id, 120_000, "one of many chats").await;
    dump.run(&format!("UPDATE chats SET content = 'Needle' WHERE chatroom_id = {room} AND seq = 7")).await;
    let (mut below, mut next, mut found) = (120_001, Some(format!("{}?limit=10", path(room))), Vec::new());
    while let Some(page) = next {
        let answer: Answer = ann.post(&page, &json!({"query": "needle"})).await;
        next = next_link(&answer);
        if let Some(next) = &next {
            let before: i64 = next.split_once("before=").expect("a place").1.parse().expect("a seq");
            assert!(before < below && below - before <= PLACES_MAX, "from {below} to {before}");
            below = before;
        }
        found.extend(contents(&list(answer)));
    }
    assert_eq!(found, ["Needle"]);
    assert!(below <= 2 * PLACES_MAX, "several pages: {below}");
    assert_eq!(ann.finds(room, "NEEDLE").await, ["Needle"], "a stream goes through the whole room");
    assert_eq!(list(ann.post(&format!("{}?limit=3", path(room)), &json!({"query": "many"})).await).len(), 3);

    let notes = ann.room_with(&ann).await;
    dump.add_copies(notes, ann.id, 400, &"𝄞".repeat(8_000)).await;
    let answer = ann.post(&format!("{}?limit=10", path(notes)), &json!({"query": "needle"})).await;
    let next = next_link(&answer).expect("more than 4 MiB are two pages");
    let before: i64 = next.split_once("before=").expect("a place").1.parse().expect("a seq");
    assert!((401 - before) * 32_000 <= 4_718_592, "{before}");
    assert!(list(answer).is_empty());
}

#[tokio::test]
async fn a1_reads_that_wait_in_the_database_keep_nobody_from_signing_in() {
    let _turn = heavy().await;
    let server = TestServer::spawn(Db::Postgres).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "what nobody can read now").await;
    let dump = server.dump().await;
    let lock = crate::support::database::Dump::open_single(&server.database_url).await;
    lock.run("BEGIN; LOCK TABLE chats IN ACCESS EXCLUSIVE MODE").await;
    let reads: Vec<_> = (0..40)
        .map(|_| {
            let (ann, path) = (ann.clone(), format!("/api/chatrooms/{room}/chats?limit=20"));
            tokio::spawn(async move { ann.get(&path).await.status })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'chats'::regclass";
    eventually("reads wait", s(10), || async { (dump.number(waiting).await > 0).then_some(()) }).await;
    let start = Instant::now();
    for _ in 0..10 {
        ann.signed_in_again().await;
        server.api().get("/readyz").await.expect(200);
        ann.get("/api/chatters/me").await.expect(200);
    }
    let took = start.elapsed();
    for read in reads {
        assert_eq!(read.await.expect("an answer"), 503);
    }
    lock.run("ROLLBACK").await;
    assert!(took < SLACK * 2, "{took:?}");
    assert!(!server.log().contains("its connections are replaced"), "no pool was given up");
    assert_eq!(ann.history(room).await.len(), 1);
}
