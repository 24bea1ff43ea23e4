//! Messages that an instance did not publish: garbage, forgeries and replays change nothing.

use super::traffic::HEALED_WITHIN;
use crate::support::cluster::Cluster;
use crate::support::wait::s;
use crate::support::{Person, Redis};

/// Row E11.
#[tokio::test]
async fn garbage_forgeries_and_replays_change_nothing() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (ann, bob) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let (mut of_ann, mut of_bob, mut room_socket) = (ann.device().await, bob.device().await, bob.joins(room).await);
    let channel = |person: &Person| format!("hyper:1:c:{}", person.id);
    let mut line = ChannelSubscriber::on(&cluster.redis, &channel(&bob)).await;
    let genuine = ann.says(room, "told by an instance").await;
    let message = line.next().await;
    of_bob.expect_chat("told by an instance").await;
    room_socket.expect_message("told by an instance").await;
    let edit = serde_json::json!({"content": "and edited afterwards"});
    ann.put(&format!("/api/chats/{}", genuine["id"]), &edit).await.expect(200);
    of_bob.expect("chat_edited").await;
    let mut bad: Vec<Vec<u8>> = vec![Vec::new(), b"garbage".to_vec(), b"HC\x01".to_vec(), message[..60].to_vec()];
    bad.push([&message[..], &vec![b' '; 2 << 20]].concat());
    for at in (0..message.len()).step_by(7) {
        let mut changed = message.clone();
        changed[at] ^= 1;
        bad.push(changed);
    }
    // The genuine message, repeated, is old; on the channel of another chatter it is not valid.
    bad.extend(std::iter::repeat_n(message, 5));
    for message in &bad {
        for person in [&ann, &bob] {
            cluster.redis.publish(&channel(person), message).await;
        }
    }
    let last = ann.says(room, "and nothing came between").await;
    assert_eq!(last["version"], 3);
    assert_eq!(of_bob.expect_chat("and nothing came between").await, last);
    room_socket.expect_message("and nothing came between").await;
    of_ann.expect_chat("told by an instance").await;
    of_ann.expect("chat_edited").await;
    of_ann.expect_chat("and nothing came between").await;
    of_ann.expect_nothing_else().await;
    of_bob.expect_nothing_else().await;
    assert_eq!(cluster.server.dump().await.chats_count().await, 2);
    cluster.all_ready_within(HEALED_WITHIN).await;
}

/// A subscriber of a channel, as anyone with access to Redis can be.
struct ChannelSubscriber {
    pushes: tokio::sync::mpsc::UnboundedReceiver<::redis::PushInfo>,
    _line: ::redis::aio::MultiplexedConnection,
}

impl ChannelSubscriber {
    async fn on(redis: &Redis, channel: &str) -> Self {
        let (sender, pushes) = tokio::sync::mpsc::unbounded_channel();
        let config = ::redis::AsyncConnectionConfig::new().set_push_sender(sender);
        let client = ::redis::Client::open(format!("{}?protocol=resp3", redis.url())).expect("a URL");
        let mut line = client.get_multiplexed_async_connection_with_config(&config).await.expect("connects");
        line.subscribe(channel).await.expect("subscribed");
        Self { pushes, _line: line }
    }

    async fn next(&mut self) -> Vec<u8> {
        loop {
            let push = tokio::time::timeout(s(10), self.pushes.recv()).await.expect("in time").expect("connected");
            if push.kind == ::redis::PushKind::Message {
                return ::redis::from_redis_value(push.data[1].clone()).expect("bytes");
            }
        }
    }
}
