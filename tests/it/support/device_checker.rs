//! The checker of devices: compares their final state, and the events that led to it, with the rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use entity::{chat, chatroom};

use super::database::Dump;
use super::device::Device;
use super::device_view::{Entry, RoomView};
use super::tables::member;

/// The server counts no further in a room (`store/unread.rs`): so many unread chats mean as many or more.
const UNREAD_COUNTED: i64 = 1_000;

/// A room as it is stored.
pub struct Stored {
    pub room: chatroom::Model,
    pub chats: Vec<chat::Model>,
    pub members: Vec<member::Model>,
}

impl Stored {
    /// Reads all rooms of these.
    pub async fn read(dump: &Dump, rooms: impl IntoIterator<Item = i64>) -> BTreeMap<i64, Self> {
        let mut all = BTreeMap::new();
        for id in rooms {
            if let Some(room) = dump.room(id).await {
                all.insert(id, Self { room, chats: dump.chats(id).await, members: dump.members(id).await });
            }
        }
        all
    }

    /// How many chats this chatter has not read.
    pub fn unread(&self, chatter: i64) -> i64 {
        let mark = self.members.iter().find(|m| m.chatter_id == chatter).map_or(0, |m| m.read_seq);
        let unread = |c: &&chat::Model| c.sender_id != chatter && c.seq > mark && c.delete_time.is_none();
        self.chats.iter().filter(unread).count() as i64
    }
}

/// Lets all devices receive until they hold what is stored; fails with what is missing when the time is up.
pub async fn settle(devices: &mut [Device], dump: &Dump, rooms: &[i64], within: Duration) {
    let limit = Instant::now() + within;
    loop {
        for device in devices.iter_mut() {
            if !device.is_connected() {
                device.connect().await;
            }
            while device.turn(Duration::from_millis(20)).await {}
        }
        if devices.iter().all(Device::is_settled) {
            let stored = Stored::read(dump, rooms.iter().copied()).await;
            let missing: Vec<_> = devices.iter().flat_map(|device| missing(device, &stored)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < limit,
                "I5: not settled within {within:?}: {missing:#?}\n{:#?}",
                all_wrongs(devices)
            );
        }
        let open: Vec<_> = devices.iter().filter(|d| !d.is_settled()).map(|d| (&d.name, d.pending())).collect();
        assert!(Instant::now() < limit, "I5: not settled within {within:?}: {open:?}\n{:#?}", all_wrongs(devices));
    }
}

fn all_wrongs(devices: &[Device]) -> Vec<String> {
    devices.iter().flat_map(Device::violations).take(20).collect()
}

/// What this device has not received yet.
fn missing(device: &Device, stored: &BTreeMap<i64, Stored>) -> Vec<String> {
    let me = device.person.id;
    let mut missing = Vec::new();
    let theirs = |s: &&Stored| s.members.iter().any(|m| m.chatter_id == me);
    for stored in stored.values().filter(theirs) {
        let id = stored.room.id;
        let Some(view) = device.rooms.get(&id) else {
            missing.push(format!("{} has no room {id}", device.name));
            continue;
        };
        if view.cursor != stored.room.version {
            missing.push(format!("{}, room {id}: version {} of {}", device.name, view.cursor, stored.room.version));
            continue;
        }
        // A device is not sent its own deliveries, but it is sent what it has read.
        let known = |who: i64, (delivered, read): (i64, i64)| (who, (if who == me { 0 } else { delivered }, read));
        let held: BTreeMap<_, _> = view.marks.iter().map(|(who, marks)| known(*who, *marks)).collect();
        let marks = stored.members.iter().map(|m| known(m.chatter_id, (m.delivered_seq, m.read_seq))).collect();
        let (counted, unread) = (view.unread(), stored.unread(me));
        if held != marks {
            missing.push(format!("{}, room {id}: marks {held:?}, stored {marks:?}", device.name));
        } else if counted.min(UNREAD_COUNTED) != unread.min(UNREAD_COUNTED) {
            missing.push(format!("{}, room {id}: {counted} unread, by the rows {unread}", device.name));
        }
    }
    missing
}

/// Checks that each device holds what is stored, applied each event once and in order, that each acknowledged chat is
/// stored once, and that no device recorded a violation. Devices must have settled.
pub async fn verify(devices: &[Device], dump: &Dump, rooms: &[i64]) {
    let stored = Stored::read(dump, rooms.iter().copied()).await;
    let violations = all_wrongs(devices);
    assert!(violations.is_empty(), "I4: the server violated its protocol: {violations:#?}");
    for device in devices {
        for (id, view) in &device.rooms {
            let broken = broken(view, &stored[id].chats);
            assert!(broken.is_empty(), "I4, I5: {}, room {id}: {broken:?}", device.name);
        }
        for acked in &device.acked {
            let chats = &stored[&acked.room].chats;
            let with_id = chats.iter().filter(|c| c.client_id.as_deref() == Some(&acked.client_id));
            let found: Vec<_> = with_id.map(|c| (c.id, c.seq)).collect();
            assert_eq!(found, [(acked.id, acked.seq)], "I1, I2: acknowledged: {acked:?}");
        }
    }
}

/// How a view differs from the rows, and which events were applied twice, not at all, or out of order.
fn broken(view: &RoomView, rows: &[chat::Model]) -> Vec<String> {
    let mut broken = Vec::new();
    let held: Vec<_> = rows.iter().filter(|row| row.seq >= view.floor).collect();
    for row in &held {
        let content = row.delete_time.is_none().then(|| row.content.clone());
        match view.chats.get(&row.seq) {
            Some(Entry { id, version, content: shown, .. })
                if (*id, *version, shown) == (row.id, row.version, &content) => {}
            // A reset shows no tombstones.
            None if content.is_none() && view.floor > 0 => {}
            other => broken.push(format!("chat {} is {content:?}, version {}; shown {other:?}", row.seq, row.version)),
        }
    }
    let more = view.chats.keys().filter(|seq| !rows.iter().any(|row| row.seq == **seq)).collect::<Vec<_>>();
    if !more.is_empty() {
        broken.push(format!("{more:?} are shown and not stored"));
    }
    if !view.applied.windows(2).all(|pair| pair[0] < pair[1]) {
        broken.push(format!("applied out of order or twice: {:?}", view.applied));
    }
    let lost = held.iter().map(|r| r.version).filter(|v| *v > view.began && view.applied.binary_search(v).is_err());
    let lost: Vec<_> = lost.collect();
    if !lost.is_empty() {
        broken.push(format!("{lost:?} were never applied"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(seq: i64, version: i64, deleted: bool) -> chat::Model {
        chat::Model {
            id: seq + 100,
            chatroom_id: 7,
            seq,
            version,
            sender_id: 2,
            content: if deleted { String::new() } else { "a".to_owned() },
            client_id: None,
            client_key: None,
            first_hash: None,
            create_time: seq,
            edit_time: None,
            delete_time: deleted.then_some(9),
        }
    }

    fn view(versions: &[(i64, i64)]) -> RoomView {
        let mut view = RoomView::new(1);
        for (seq, version) in versions {
            let chat = json!({"id": seq + 100, "seq": seq, "version": version, "sender_id": 2, "content": "a"});
            let page = json!({"since": view.cursor, "version": version, "changes": [chat]});
            view.page(&page);
        }
        view
    }

    #[test]
    fn it_sees_what_differs_and_what_was_lost() {
        let rows = [row(1, 1, false), row(2, 2, false)];
        assert_eq!(broken(&view(&[(1, 1), (2, 2)]), &rows), Vec::<String>::new());
        assert_eq!(broken(&view(&[(1, 1)]), &rows).len(), 2, "not shown, and never applied");
        assert_eq!(broken(&view(&[(1, 1), (2, 2), (3, 3)]), &rows).len(), 1, "shown and not stored");
        assert_eq!(broken(&view(&[(1, 1), (2, 2)]), &[row(1, 1, false), row(2, 3, true)]).len(), 2, "not deleted");
        let mut twice = view(&[(1, 1), (2, 2)]);
        twice.applied.push(2);
        assert_eq!(broken(&twice, &rows).len(), 1, "applied twice");
    }

    #[test]
    fn unread_is_what_the_other_sent_above_the_mark_and_did_not_delete() {
        let member = |chatter_id, read_seq| member::Model { chatroom_id: 7, chatter_id, delivered_seq: 9, read_seq };
        let room = chatroom::Model {
            id: 7,
            owner_id: 1,
            opponent_id: 2,
            pair_low: 1,
            pair_high: 2,
            create_time: 0,
            last_chat_time: 0,
            last_seq: 3,
            version: 4,
            closed_time: None,
        };
        let chats = vec![row(1, 1, false), row(2, 2, false), row(3, 4, true)];
        let stored = Stored { room, chats, members: vec![member(1, 1), member(2, 0)] };
        assert_eq!((stored.unread(1), stored.unread(2)), (1, 0));
    }
}
