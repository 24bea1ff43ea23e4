//! Finds or starts the actor of a room, and never loses a command that is sent to it.
//!
//! A room may retire while a command for it is on its way. So a sender counts the command as in flight and sends it
//! while it holds the map's shard, and a room retires only by taking itself out of the map while no command is in
//! flight.

use std::sync::{Arc, Weak};

use actix::dev::SendError;
use actix::{Addr, ArbiterHandle};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use parking_lot::RwLock;

use super::command::{Command, RoomMessage};
use super::host::{Delivered, InFlight, RoomHost, RoomParts};
use super::room::Room;
use crate::domain::ChatroomId;
use crate::problem::Problem;

/// The rooms in use on this instance.
pub struct Registry {
    rooms: DashMap<ChatroomId, Entry>,
    parts: RoomParts,
    threads: Threads,
    itself: Weak<Registry>,
}

/// The threads that run rooms: the HTTP workers, so that a chat whose sockets, room and writer share one thread needs
/// no wake-up between them. Each worker adds itself when it starts; a room stays on one thread.
#[derive(Clone, Default)]
pub struct Threads(Arc<RwLock<Vec<ArbiterHandle>>>);

impl Threads {
    /// Adds the thread of a worker that has started.
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
    in_flight: InFlight,
    delivered: Delivered,
}

impl Entry {
    fn send(&self, command: Command) -> Result<(), SendError<RoomMessage>> {
        self.room.try_send(RoomMessage { command, guard: self.in_flight.enter() })
    }
}

impl Registry {
    /// An empty registry, which will start rooms on these threads.
    #[must_use]
    pub fn new(parts: RoomParts, threads: Threads) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self { rooms: DashMap::new(), parts, threads, itself: itself.clone() })
    }

    /// Sends a room a command, starting the room if need be. Refuses with `busy` when the room's mailbox is full.
    pub fn send(&self, id: ChatroomId, command: Command) -> Result<(), Problem> {
        let command = match self.rooms.get(&id) {
            Some(entry) => match entry.send(command) {
                Ok(()) => return Ok(()),
                Err(SendError::Full(_)) => return Err(Problem::busy()),
                Err(SendError::Closed(message)) => message.command,
            },
            None => command,
        };
        match self.rooms.entry(id) {
            MapEntry::Occupied(mut entry) => {
                let Err(refused) = entry.get().send(command) else { return Ok(()) };
                let SendError::Closed(message) = refused else { return Err(Problem::busy()) };
                // The actor stopped without having retired, so it panicked. A new one takes over at its delivered head.
                let successor = self.start(id, entry.get().delivered.clone());
                tracing::error!(chatroom_id = id.get(), "the room actor had panicked; a new one was started");
                let sent = successor.send(message.command);
                entry.insert(successor);
                sent.map_err(|_| Problem::busy())
            }
            MapEntry::Vacant(entry) => {
                let room = self.start(id, Delivered::default());
                let sent = room.send(command);
                entry.insert(room);
                sent.map_err(|_| Problem::busy())
            }
        }
    }

    /// Sends a command to a room that is in use. A room that is not in use needs none.
    pub fn send_if_running(&self, id: ChatroomId, command: Command) {
        if let Some(entry) = self.rooms.get(&id) {
            // A room whose mailbox is full learns it from the database.
            let _ = entry.send(command);
        }
    }

    /// How many rooms are in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rooms.len()
    }

    /// The commands that rooms have not handled yet; the shutdown waits for them.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.rooms.iter().map(|entry| entry.in_flight.count()).sum()
    }

    fn start(&self, id: ChatroomId, delivered: Delivered) -> Entry {
        let (parts, host, head) = (self.parts.clone(), self.itself.clone(), delivered.clone());
        let thread = self.threads.of(id).unwrap_or_else(actix::Arbiter::current);
        let room = Room::launch(&thread, move || Room::new(id, parts, host, head));
        Entry { room, in_flight: InFlight::default(), delivered }
    }
}

impl RoomHost for Registry {
    fn retire(&self, id: ChatroomId, delivered: &Delivered) -> bool {
        // A successor of a failed actor is another start of the same room.
        let is_idle = |entry: &Entry| entry.delivered.is_same(delivered) && entry.in_flight.count() == 0;
        self.rooms.remove_if(&id, |_, entry| is_idle(entry)).is_some()
    }

    fn catch_up(&self, id: ChatroomId) {
        // A room whose mailbox is full is running, and reads the database when it has started.
        let _ = self.send(id, Command::CatchUp);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use actix::{Arbiter, Context, Handler, Message};
    use tokio::sync::oneshot;

    use super::*;
    use crate::connections::Connection;
    use crate::connections::broadcaster::Broadcaster;
    use crate::connections::chatroom::{ChatroomConnection, Progress, Subscription};
    use crate::connections::registry::ConnectionRegistry;
    use crate::connections::socket::Socket;
    use crate::delivery::order::Head;
    use crate::domain::chat::Content;
    use crate::domain::chatter::Username;
    use crate::domain::{ChatterId, Grant};
    use crate::metrics::PushMetrics;
    use crate::push::fcm;
    use crate::push::notifier::supervisor::NotifierSupervisor;
    use crate::push::notifier::{Notifier, Settings};
    use crate::push::pusher::Pusher;
    use crate::rooms::command::{Post, Reply};
    use crate::rooms::host::InFlightGuard;
    use crate::store::chatrooms::Created;
    use crate::store::chatters::NewChatter;
    use crate::store::writer::Stored;
    use crate::store::{Options, Store};
    use crate::websocket::out_queue::{OutBody, OutQueue};

    struct Bench {
        registry: Arc<Registry>,
        connections: Arc<ConnectionRegistry>,
        room: ChatroomId,
        _folder: tempfile::TempDir,
    }

    /// A store of its own with one room of chatters 1 and 2; rooms retire after `idle`.
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
            let (nickname, password_hash) = (name.into(), Some(String::new()));
            let new = NewChatter { username, nickname, password_hash, external_id: None, fcm_reg_id: None };
            store.create_chatter(new).await.unwrap();
        }
        let Created::New(room) = store.create_chatroom(ChatterId::new(1), ChatterId::new(2)).await.unwrap() else {
            panic!("no room")
        };
        let (connections, counters) = (Arc::new(ConnectionRegistry::new(0)), Arc::new(PushMetrics::default()));
        let (outbox, pusher) = (store.outbox(), Arc::new(Pusher::open(&fcm::Settings::default())));
        let thread = threads[0].handle();
        let notifier = Arc::new(NotifierSupervisor::new(crate::broker::single(), counters.clone(), move || {
            let (outbox, pusher, counters) = (outbox.clone(), pusher.clone(), counters.clone());
            let make = move |_: &mut Context<Notifier>| {
                Notifier::new(outbox, pusher, Arc::new(|_| false), Settings::default(), counters)
            };
            <Notifier as actix::Actor>::start_in_arbiter(&thread, make)
        }));
        let broker = crate::broker::single();
        let parts = RoomParts {
            store: Arc::new(store),
            connections: connections.clone(),
            broadcaster: Broadcaster::new(connections.clone(), broker.clone()),
            broker,
            metrics: Arc::default(),
            notifier,
            idle,
        };
        let handles = Threads::default();
        threads.iter().for_each(|thread| handles.add(thread.handle()));
        Bench { registry: Registry::new(parts, handles), connections, room: room.id, _folder: folder }
    }

    /// Makes the actor that handles it panic.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic(#[expect(dead_code, reason = "it is dropped with the message")] InFlightGuard);

    impl Handler<Panic> for Room {
        type Result = ();

        fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
            panic!("a room fails on purpose");
        }
    }

    type Answer = oneshot::Receiver<Result<Stored, Problem>>;

    fn post(bench: &Bench, text: &str) -> Result<Answer, Problem> {
        let (reply, answer) = oneshot::channel();
        let content = Content::parse(text.to_owned()).unwrap();
        let post = Post { sender_id: 1.into(), receiver_id: None, content, client_id: None, reply: Reply::Rest(reply) };
        bench.registry.send(bench.room, Command::Post(post)).map(|()| answer)
    }

    fn socket(bench: &Bench, chatter: i64) -> OutBody {
        let (out, body) = OutQueue::new(1 << 20);
        let socket = Socket::new(out, Arc::default());
        let connection =
            ChatroomConnection::new(chatter.into(), Grant::Issued(None), bench.room, Subscription::NewChats, socket);
        let connection = Arc::new(connection);
        assert!(bench.connections.add(Connection::Chatroom(connection.clone())).is_first);
        assert_eq!(connection.joined(Head::default()), Progress::UpToDate, "a new room has nothing to read");
        body
    }

    /// How many chats a socket was sent, once there are `wanted` of them or ten seconds have passed.
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
    async fn no_chat_is_lost_while_rooms_keep_retiring_and_starting() {
        let bench = bench(Duration::from_millis(1)).await;
        let mut body = socket(&bench, 2);
        let mut starts = 0;
        for n in 0..300 {
            starts += usize::from(bench.registry.count() == 0);
            let answer = post(&bench, &format!("chat {n}")).unwrap();
            assert!(matches!(answer.await, Ok(Ok(Stored::New { chat, .. })) if chat.seq.get() == n + 1));
            // Around the tick at which the idle room retires.
            tokio::time::sleep(Duration::from_micros(u64::try_from(n * 37 % 2_500).unwrap())).await;
        }
        assert!(starts > 10, "the room hardly ever retired: {starts}");
        assert_eq!(chats_sent(&mut body, 300).await, 300);
    }

    #[actix_web::test]
    async fn a_panicking_room_loses_nothing_but_the_answers_in_flight() {
        let bench = bench(Duration::from_secs(60)).await;
        let mut body = socket(&bench, 2);
        post(&bench, "before").unwrap().await.unwrap().unwrap();
        let in_flight = post(&bench, "in flight").unwrap();
        let fail = |entry: &Entry| entry.room.try_send(Panic(entry.in_flight.enter()));
        fail(&bench.registry.rooms.get(&bench.room).unwrap()).unwrap();
        // The answer may be lost although the chat was stored; the sockets get the chat in that case.
        let _ = in_flight.await;
        let until = Instant::now() + Duration::from_secs(10);
        let after = loop {
            if let Ok(answer) = post(&bench, "after")
                && let Ok(Ok(Stored::New { chat, .. })) = answer.await
            {
                break chat;
            }
            assert!(Instant::now() < until, "the room was not started again");
        };
        let stored = usize::try_from(after.seq.get()).unwrap();
        assert_eq!(chats_sent(&mut body, stored).await, stored, "each chat that is stored is delivered once");
        assert_eq!(bench.registry.pending(), 0);
    }
}
