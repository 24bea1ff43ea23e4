//! Rates as one attacker and others beside it see them: passwords, addresses, rooms and open lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::account::list;
use crate::support::forwarded::{At, behind_a_proxy};
use crate::support::secrets::PASSWORD;
use crate::support::server_builder::ServerBuilder;
use crate::support::token::{claims, mint, now};
use crate::support::wait::SLACK;
use crate::support::{Answer, TestServer, alone};

const WRONG: &str = "wrong-horse-4711";

/// Hashes as costly as in production.
fn costly(server: ServerBuilder) -> ServerBuilder {
    server.set("AUTH__ARGON2_MEMORY_KIB", 19_456).set("AUTH__ARGON2_ITERATIONS", 2)
}

/// So many loops that send this request until they are stopped; their statuses.
struct Attack {
    ends: Arc<AtomicBool>,
    loops: Vec<tokio::task::JoinHandle<Vec<u16>>>,
}

impl Attack {
    fn start<F: Future<Output = Answer> + Send>(
        loops: usize,
        send: impl Fn(usize) -> F + Clone + Send + 'static,
    ) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let one = |number: usize| {
            let (ends, send) = (ends.clone(), send.clone());
            tokio::spawn(async move {
                let mut statuses = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    statuses.push(send(number).await.status);
                }
                statuses
            })
        };
        Self { loops: (0..loops).map(one).collect(), ends }
    }

    async fn stop(self) -> Vec<u16> {
        self.ends.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for one in self.loops {
            all.extend(one.await.expect("no panic"));
        }
        all
    }
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|one| **one == status).count()
}

/// The longest of ten sign-ins, each from an address of its own, and each a success.
async fn slowest_sign_in(server: &TestServer, round: u8) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let begun = Instant::now();
        At::new(server, format!("10.{round}.0.{n}")).sign_in("bob", PASSWORD).await.expect(200);
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

#[tokio::test]
async fn a3_guesses_of_the_current_password_are_limited_and_sign_ins_of_others_go_on() {
    let _turn = alone().await;
    let server = costly(behind_a_proxy()).start().await;
    let home = At::new(&server, "192.0.2.1");
    home.sign_up("ann").await.expect(201);
    home.sign_up("bob").await.expect(201);
    let token = home.sign_in("ann", PASSWORD).await.expect(200)["token"].as_str().expect("a token").to_owned();
    let calm = slowest_sign_in(&server, 1).await;
    let thief = At::new(&server, "203.0.113.1").with_token(&token);
    let attack = Attack::start(40, move |_| {
        let thief = thief.clone();
        async move {
            let body = json!({"password": "a new password", "current_password": WRONG});
            thief.request(Method::PUT, "/api/chatters", Some(&body)).await
        }
    });
    let attacked = slowest_sign_in(&server, 2).await;
    let statuses = attack.stop().await;
    let (guesses, refused) = (count(&statuses, 422), count(&statuses, 429));
    assert!((1..=6).contains(&guesses), "five a minute: {guesses} of {}", statuses.len());
    assert_eq!(guesses + refused, statuses.len(), "{statuses:?}");
    assert!(attacked < 20 * calm + SLACK, "{attacked:?}, when all was calm {calm:?}");
    // At the thief's own address, too, and the owner signs in and changes the password elsewhere.
    let there = At::new(&server, "203.0.113.1");
    there.sign_in("ann", PASSWORD).await.problem(429, "rate_limited");
    there.sign_in("bob", PASSWORD).await.expect(200);
    let change = json!({"password": "a new password", "current_password": PASSWORD});
    home.with_token(&token).request(Method::PUT, "/api/chatters", Some(&change)).await.expect(200);
}

#[tokio::test]
async fn a3_a_flood_of_sign_ins_from_one_address_fills_its_own_share_of_the_hashes() {
    let _turn = alone().await;
    // Without rates, so that only the queue protects the others.
    let server = costly(behind_a_proxy()).set("LIMITS__SIGN_IN_PER_MIN", 0).set("AUTH__HASHES_QUEUED_MAX", 8);
    let server = server.start().await;
    At::new(&server, "192.0.2.1").sign_up("bob").await.expect(201);
    let calm = slowest_sign_in(&server, 1).await;
    let flood = At::new(&server, "203.0.113.1");
    let attack = Attack::start(40, move |n| {
        let flood = flood.clone();
        async move { flood.sign_in(&format!("nobody-{n}"), WRONG).await }
    });
    let attacked = slowest_sign_in(&server, 2).await;
    let statuses = attack.stop().await;
    assert!(count(&statuses, 503) > 0, "the flood is refused: {} requests", statuses.len());
    assert_eq!(count(&statuses, 503) + count(&statuses, 401), statuses.len());
    assert!(attacked < 20 * calm + SLACK, "{attacked:?}, when all was calm {calm:?}");
}

#[tokio::test]
async fn a3_sign_ups_count_by_name_and_address() {
    let server = behind_a_proxy().start().await;
    let here = At::new(&server, "203.0.113.1");
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(here.sign_up("ann").await.status);
    }
    assert_eq!((count(&statuses, 201), count(&statuses, 429)), (1, 5), "15 a minute for one name: {statuses:?}");
    here.sign_up("bob").await.expect(201);
    At::new(&server, "203.0.113.2").sign_up("ann").await.problem(409, "username_taken");
}

#[tokio::test]
async fn a8_guessing_from_one_address_never_refuses_the_owner_elsewhere() {
    let server = behind_a_proxy().start().await;
    let owner = At::new(&server, "192.0.2.1");
    owner.sign_up("ann").await.expect(201);
    let attacker = At::new(&server, "203.0.113.1");
    for round in 0..5 {
        let mut statuses = Vec::new();
        for _ in 0..8 {
            statuses.push(attacker.sign_in("ann", WRONG).await.status);
        }
        assert!(count(&statuses, 429) >= 3, "round {round}: {statuses:?}");
        // From a new address each time: no device there is known.
        At::new(&server, format!("192.0.2.{}", round + 10)).sign_in("ANN", PASSWORD).await.expect(200);
    }
}

#[tokio::test]
async fn a8_guessing_from_many_addresses_does_not_refuse_a_known_device() {
    let server = behind_a_proxy().set("LIMITS__SIGN_IN_PER_MIN", 8).start().await;
    let owner = At::new(&server, "192.0.2.1");
    owner.sign_up("ann").await.expect(201);
    let token = owner.sign_in("ann", PASSWORD).await.expect(200)["token"].as_str().expect("a token").to_owned();
    let mut statuses = Vec::new();
    for n in 0..30 {
        let attacker = At::new(&server, format!("203.0.113.{n}"));
        for _ in 0..2 {
            statuses.push(attacker.sign_in("ann", WRONG).await.status);
        }
    }
    let guesses = count(&statuses, 401);
    assert!((39..60).contains(&guesses), "40 a minute over all addresses, one of them the owner's: {guesses}");
    assert_eq!(guesses + count(&statuses, 429), statuses.len());
    let stranger = At::new(&server, "198.51.100.1");
    // The bound is reached, so an unknown device with the right password is refused. It regains a try every 1.5 s.
    let mut unknown = Vec::new();
    for n in 0..4 {
        unknown.push(At::new(&server, format!("198.51.100.{}", n + 10)).sign_in("ann", PASSWORD).await.status);
    }
    assert!(unknown.contains(&429), "{unknown:?}");
    owner.sign_in("ann", PASSWORD).await.expect(200);
    stranger.with_token(&token).sign_in("ann", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn c5_a_forwarded_port_or_bracket_is_no_other_client() {
    let server = behind_a_proxy().set("LIMITS__SIGN_UP_PER_MIN", 2).start().await;
    for (first, second, other) in [
        ("203.0.113.7:51234", "203.0.113.7:51235", "203.0.113.8:51234"),
        ("[2001:db8::1]:443", "2001:db8::2", "[2001:db8:0:1::1]"),
    ] {
        let name = |n: u8| format!("{}-{n}", if first.contains('[') { "v6" } else { "v4" });
        At::new(&server, first).sign_up(&name(1)).await.expect(201);
        At::new(&server, second).sign_up(&name(2)).await.expect(201);
        At::new(&server, first).sign_up(&name(3)).await.problem(429, "rate_limited");
        At::new(&server, other).sign_up(&name(4)).await.expect(201);
    }
}

#[tokio::test]
async fn a6_rooms_created_and_deleted_in_a_loop_are_limited() {
    let server = behind_a_proxy().start().await;
    let (ann, victim) = (server.api().person("ann").await, server.api().person("victim").await);
    let mut device = victim.device().await;
    let body = json!({"opponent_id": victim.id});
    let mut created = 0;
    let refused = loop {
        let answer = ann.post("/api/chatrooms", &body).await;
        if answer.status != 201 {
            break answer;
        }
        created += 1;
        let room = answer.json["id"].as_i64().expect("an id");
        // A room that exists does not count.
        ann.post("/api/chatrooms", &body).await.problem(409, "chatroom_exists");
        ann.delete(&format!("/api/chatrooms/{room}")).await.expect(200);
    };
    assert!((60..=62).contains(&created), "60 an hour: {created}");
    refused.problem(429, "rate_limited");
    let frames = device.until_pong().await;
    assert!(frames.len() <= 2 * created, "{} frames for {created} rooms", frames.len());
    victim.room_with(&server.api().person("cat").await).await;
}

#[tokio::test]
async fn a7_open_lists_have_a_rate_by_address() {
    let server = behind_a_proxy().set("LIMITS__OPEN_PAGES_PER_MIN", 8).start().await;
    let (ann, _, _) = server.api().pair().await;
    // 1,202 chatters are five pages of the whole list.
    server.dump().await.add_rooms(ann.id, 1_000..2_200).await;
    let (here, there) = (At::new(&server, "203.0.113.1"), At::new(&server, "203.0.113.2"));
    for n in 0..2 {
        let answer = here.request(Method::GET, "/api/chatters", None).await;
        assert_eq!(list(answer).len(), 1_202, "list {n}");
    }
    let refused = here.request(Method::GET, "/api/chatters", None).await;
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((8..=23).contains(&wait), "ten pages of eight, a new one every 7.5 s: {wait}");
    refused.problem(429, "rate_limited");
    here.request(Method::GET, "/api/chatters?query=a", None).await.problem(429, "rate_limited");
    there.request(Method::GET, "/api/chatters?query=a", None).await.expect(200);
    here.with_token(&ann.token).request(Method::GET, "/api/chatters?query=a", None).await.expect(200);
    here.request(Method::GET, "/readyz", None).await.expect(200);
}

#[tokio::test]
async fn e19_closed_sign_up_takes_the_backend_alone() {
    let server = behind_a_proxy().set("ACCOUNTS__SIGN_UP", "closed").set("LIMITS__SIGN_UP_PER_MIN", 1).start().await;
    let here = At::new(&server, "203.0.113.1");
    here.sign_up("ann").await.problem(403, "sign_up_closed");
    let scope =
        |scope: &str, exp: i64| mint(&json!({"iss": "hyper-chat", "aud": "hyper-chat", "scope": scope, "exp": exp}));
    let backend = here.with_token(&scope("sign_up", now() + 60));
    // The rate of the address is for others.
    let ann = backend.sign_up("ann").await.expect(201)["id"].as_i64().expect("an id");
    backend.sign_up("bob").await.expect(201);
    for token in [mint(&claims(ann)), scope("sign_up", now() - 1), scope("all", now() + 60)] {
        here.with_token(&token).sign_up("cat").await.problem(403, "sign_up_closed");
    }
    let signed_in = here.sign_in("ann", PASSWORD).await.expect(200);
    let token = signed_in["token"].as_str().expect("a token");
    here.with_token(token).sign_up("cat").await.problem(403, "sign_up_closed");
    backend.request(Method::GET, "/api/chatters/me", None).await.problem(401, "token_invalid");
}
