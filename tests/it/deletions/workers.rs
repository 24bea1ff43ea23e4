//! Which instance deletes in the background.

use super::{fill, is_empty_within, pieces};
use crate::support::wait::s;
use crate::support::{Db, TestServer, eventually};

#[tokio::test]
async fn a10_one_instance_deletes_at_a_time_and_another_goes_on_when_it_dies() {
    let mut server = TestServer::with(Db::Cluster).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let dump = server.dump().await;
    fill(&dump, Db::Cluster, room, ann.id, 60_000).await;
    let mut device = bob.device().await;
    ann.delete(&format!("/api/chatrooms/{room}")).await.expect(200);
    device.expect("chatroom_deleted").await;
    let chats = format!("SELECT count(*) FROM chats WHERE chatroom_id = {room}");
    // The other instance has polled meanwhile, since it does so every second.
    eventually("it has begun", s(20), || async { (dump.number(&chats).await < 40_000).then_some(()) }).await;
    let [one, two] = [pieces(&server, 0).await, pieces(&server, 1).await];
    assert!(one == 0.0 || two == 0.0, "both work: {one} and {two} pieces");
    let (worker, other) = if one > 0.0 { (0, 1) } else { (1, 0) };
    server.instance_mut(worker).kill9();
    assert!(dump.number(&chats).await > 0, "it was killed in between");
    is_empty_within(&dump, room, s(30)).await;
    assert!(pieces(&server, other).await > 0.0);
}
