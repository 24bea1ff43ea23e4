//! Finds or starts the actor of a room, and never loses what is told to it.
//!
//! A room that retires and a message for it may cross. So a sender counts itself in and hands over while it holds
//! the map's shard, and a room retires only by taking itself out of the map at a moment when nobody is counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::dev::SendError;
use actix::{Addr, ArbiterHandle};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use parking_lot::{Mutex, RwLock};

use super::Room;
use super::command::{Command, RoomMessage};
use crate::connections::registry::ConnectionRegistry;
use crate::delivery::order::Head;
use crate::domain::ChatroomId;
use crate::problem::Problem;
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::store::Store;

/// What every room of this instance uses.
#[derive(Clone)]
pub struct RoomParts {
    pub store: Arc<Store>,
    pub connections: Arc<ConnectionRegistry>,
    pub notifier: Arc<NotifierSupervisor>,
    /// A room that had nothing to do for so long retires.
    pub idle: Duration,
}

/// The rooms in use on this instance.
pub struct Registry {
    rooms: DashMap<ChatroomId, Entry>,
    parts: RoomParts,
    threads: Threads,
    itself: Weak<Registry>,
}

/// The threads that rooms live on: the HTTP workers, so that a chat whose sockets, room and writer share one needs no
/// wake-up between them. Each worker adds itself when it starts; a room keeps to one.
#[derive(Clone, Default)]
pub struct Threads(Arc<RwLock<Vec<ArbiterHandle>>>);

impl Threads {
    /// A worker has started.
    pub fn add(&self, thread: ArbiterHandle) {
        self.0.write().push(thread);
    }

    fn of(&self, id: ChatroomId) -> Option<ArbiterHandle> {
        let threads = self.0.read();
        let at = usize::try_from(id.get()).unwrap_or(0).checked_rem(threads.len())?;
        threads.get(at).cloned()
    }
}

struct Entry {
    room: Addr<Room>,
    pending: Arc<AtomicUsize>,
    delivered: Delivered,
}

/// What a room's sockets have had, kept here so that it outlives a room that panicked.
#[derive(Clone, Default)]
pub struct Delivered(Arc<Mutex<Option<Head>>>);

impl Delivered {
    /// What they have had, if the room ever got so far.
    #[must_use]
    pub fn get(&self) -> Option<Head> {
        *self.0.lock()
    }

    /// They have had this.
    pub fn set(&self, head: Head) {
        *self.0.lock() = Some(head);
    }
}

/// Counts a command from the moment it is told until the room has handled it; also when that panics.
pub struct InFlightGuard(Arc<AtomicUsize>);

impl InFlightGuard {
    fn new(pending: &Arc<AtomicUsize>) -> Self {
        pending.fetch_add(1, Ordering::AcqRel);
        Self(pending.clone())
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Registry {
    /// No rooms yet; they will live on these threads.
    #[must_use]
    pub fn new(parts: RoomParts, threads: Threads) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self { rooms: DashMap::new(), parts, threads, itself: itself.clone() })
    }

    /// Tells a room something, starting it if need be. Refuses with `busy` when its mailbox is full.
    pub fn send(&self, id: ChatroomId, command: Command) -> Result<(), Problem> {
        let command = match self.rooms.get(&id) {
            Some(entry) => match entry.send(command) {
                Ok(()) => return Ok(()),
                Err(SendError::Full(_)) => return Err(Problem::busy()),
                Err(SendError::Closed(asked)) => asked.command,
            },
            None => command,
        };
        match self.rooms.entry(id) {
            MapEntry::Occupied(mut entry) => {
                let Err(refused) = entry.get().send(command) else { return Ok(()) };
                let SendError::Closed(asked) = refused else { return Err(Problem::busy()) };
                // The actor is gone without having retired: it panicked. A new one takes over where it was.
                let fresh = self.start(id, entry.get().delivered.clone());
                tracing::error!(chatroom_id = id.get(), "a room actor had failed and was started anew");
                let told = fresh.send(asked.command);
                entry.insert(fresh);
                told.map_err(|_| Problem::busy())
            }
            MapEntry::Vacant(entry) => {
                let fresh = self.start(id, Delivered::default());
                let told = fresh.send(command);
                entry.insert(fresh);
                told.map_err(|_| Problem::busy())
            }
        }
    }

    /// Tells a room something if it is in use; otherwise nobody needs it.
    pub fn send_if_running(&self, id: ChatroomId, command: Command) {
        if let Some(entry) = self.rooms.get(&id) {
            // One that is too busy finds out by itself.
            let _ = entry.send(command);
        }
    }

    /// Takes an idle room out, unless somebody has just told it something. Called by the room itself, which stops if
    /// this says so.
    #[must_use]
    pub fn retire(&self, id: ChatroomId, delivered: &Delivered) -> bool {
        let idle =
            |entry: &Entry| Arc::ptr_eq(&entry.delivered.0, &delivered.0) && entry.pending.load(Ordering::Acquire) == 0;
        self.rooms.remove_if(&id, |_, entry| idle(entry)).is_some()
    }

    /// How many rooms are in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rooms.len()
    }

    /// Commands that rooms have not handled yet; at shutdown this is waited for.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.rooms.iter().map(|entry| entry.pending.load(Ordering::Acquire)).sum()
    }

    fn start(&self, id: ChatroomId, delivered: Delivered) -> Entry {
        let (parts, registry, known) = (self.parts.clone(), self.itself.clone(), delivered.clone());
        let thread = self.threads.of(id).unwrap_or_else(actix::Arbiter::current);
        let room = Room::launch(&thread, move || Room::new(id, parts, registry, known));
        Entry { room, pending: Arc::new(AtomicUsize::new(0)), delivered }
    }
}

impl Entry {
    fn send(&self, command: Command) -> Result<(), SendError<RoomMessage>> {
        self.room.try_send(RoomMessage { command, guard: InFlightGuard::new(&self.pending) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use actix::Arbiter;
    use tokio::sync::oneshot;

    use super::*;
    use crate::connections::connection::Connection;
    use crate::delivery::order::Head;
    use crate::domain::ChatterId;
    use crate::domain::chat::Content;
    use crate::domain::chatter::Username;
    use crate::metrics::PushMetrics;
    use crate::push::fcm;
    use crate::push::notifier::{Notifier, Settings};
    use crate::push::pusher::Pusher;
    use crate::rooms::command::{Post, Reply};
    use crate::store::Options;
    use crate::store::chatrooms::Created;
    use crate::store::chatters::NewChatter;
    use crate::store::writer::Stored;
    use crate::websocket::out_queue::{OutBody, OutQueue};

    struct Bench {
        registry: Arc<Registry>,
        connections: Arc<ConnectionRegistry>,
        room: ChatroomId,
        _folder: tempfile::TempDir,
    }

    /// A store of its own with one room of chatters 1 and 2, and rooms that retire after `idle`.
    async fn bench(idle: Duration) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            url: format!("sqlite://{}?mode=rwc", folder.path().join("chat.db").display()),
            migrate: true,
            migration_wait: Duration::ZERO,
            connections_max: 2,
            has_broker: false,
            unsafe_durability: false,
            push_grace: Duration::from_secs(3),
        };
        let threads = [Arbiter::new(), Arbiter::new()];
        let store = Store::open(&options, |writer| assert!(threads[0].spawn(writer.run()))).await.unwrap();
        for name in ["ann", "bob"] {
            let username = Username::parse(name).unwrap();
            let new = NewChatter { username, nickname: name.into(), password_hash: String::new(), fcm_reg_id: None };
            store.create_chatter(new).await.unwrap();
        }
        let Created::New(room) = store.create_chatroom(ChatterId::new(1), ChatterId::new(2)).await.unwrap() else {
            panic!("no room")
        };
        let (connections, counters) =
            (Arc::new(ConnectionRegistry::new(0, crate::broker::single())), Arc::new(PushMetrics::default()));
        let (outbox, pusher) = (store.outbox(), Arc::new(Pusher::open(&fcm::Settings::default())));
        let thread = threads[0].handle();
        let notifier = Arc::new(NotifierSupervisor::new(crate::broker::single(), counters.clone(), move || {
            let (outbox, pusher, counters) = (outbox.clone(), pusher.clone(), counters.clone());
            let make = move |_: &mut actix::Context<Notifier>| {
                Notifier::new(outbox, pusher, Arc::new(|_| false), Settings::default(), counters)
            };
            <Notifier as actix::Actor>::start_in_arbiter(&thread, make)
        }));
        let parts = RoomParts { store: Arc::new(store), connections: connections.clone(), notifier, idle };
        let handles = Threads::default();
        threads.iter().for_each(|thread| handles.add(thread.handle()));
        Bench { registry: Registry::new(parts, handles), connections, room: room.id, _folder: folder }
    }

    type Answer = oneshot::Receiver<Result<Stored, Problem>>;

    fn post(bench: &Bench, text: &str) -> Result<Answer, Problem> {
        let (reply, answer) = oneshot::channel();
        let content = Content::parse(text.to_owned()).unwrap();
        let post = Post { sender_id: 1.into(), receiver_id: None, content, client_id: None, reply: Reply::Rest(reply) };
        bench.registry.send(bench.room, Command::Post(post)).map(|()| answer)
    }

    fn socket(bench: &Bench, chatter: i64) -> (Arc<Connection>, OutBody) {
        let (out, body) = OutQueue::new(1 << 20, Arc::default());
        let connection = Arc::new(Connection::chatroom(chatter.into(), None, bench.room, false, out));
        drop(bench.connections.add(connection.clone()));
        assert!(connection.joined(Head::default(), None), "there is nothing to read in a new room");
        (connection, body)
    }

    /// How many chats a socket was sent, once it has so many or time is up.
    async fn chats_sent(body: &mut OutBody, wanted: usize) -> usize {
        use futures_util::StreamExt;
        let mut chats = 0;
        let until = Instant::now() + Duration::from_secs(10);
        while chats < wanted && Instant::now() < until {
            let next = tokio::time::timeout(Duration::from_millis(100), body.next()).await;
            chats += next.ok().flatten().and_then(Result::ok).map_or(0, |frame| usize::from(frame[0] == 0x81));
        }
        chats
    }

    #[actix_web::test]
    async fn no_chat_is_lost_while_rooms_retire_and_start_all_the_time() {
        let bench = bench(Duration::from_millis(1)).await;
        let (_link, mut body) = socket(&bench, 2);
        let mut starts = 0;
        for n in 0..300 {
            starts += usize::from(bench.registry.count() == 0);
            let answer = post(&bench, &format!("chat {n}")).unwrap();
            assert!(matches!(answer.await, Ok(Ok(Stored::New { chat, .. })) if chat.seq.get() == n + 1));
            // Around the moment at which the idle room looks whether it may go.
            tokio::time::sleep(Duration::from_micros(u64::try_from(n * 37 % 2_500).unwrap())).await;
        }
        assert!(starts > 10, "the room hardly ever retired: {starts}");
        assert_eq!(chats_sent(&mut body, 300).await, 300);
    }

    #[actix_web::test]
    async fn a_panic_costs_a_room_its_requests_in_flight_and_nothing_else() {
        let bench = bench(Duration::from_secs(60)).await;
        let (_link, mut body) = socket(&bench, 2);
        post(&bench, "before").unwrap().await.unwrap().unwrap();
        let in_flight = post(&bench, "in flight").unwrap();
        bench.registry.send(bench.room, Command::Panic).unwrap();
        // Whether it was stored is not known to who asked; the sockets learn it all the same.
        let _ = in_flight.await;
        let until = Instant::now() + Duration::from_secs(10);
        let after = loop {
            if let Ok(answer) = post(&bench, "after")
                && let Ok(Ok(Stored::New { chat, .. })) = answer.await
            {
                break chat;
            }
            assert!(Instant::now() < until, "the room does not come back");
        };
        let stored = usize::try_from(after.seq.get()).unwrap();
        assert_eq!(chats_sent(&mut body, stored).await, stored, "each chat that is stored is delivered once");
        assert_eq!(bench.registry.pending(), 0);
    }
}
