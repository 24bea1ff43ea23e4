//! The live half of the client: one socket at a time. When it breaks, the client opens another and reads the chats
//! between.
//!
//! A chat is shown once: every chat up to `shown_seq` has been. A line is done when an echo or the history contains it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::ChatError;
use super::api::{Api, Person, Refusal, Stored};
use super::input::Input;
use super::outbox::Outbox;
use super::screen::Screen;
use super::socket;
use super::socket::{Broken, Socket, closed, refused, unread};
use crate::domain::chat::Content;
use crate::domain::{ChatroomId, ChatterId, Seq};

/// The server pings every 25 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the client waits for echoes after the end of the input, counted from the last echo.
const FAREWELL: Duration = Duration::from_secs(3);
const BACK_OFF_MIN: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// A frame of the chatroom socket; frames of other kinds are ignored.
#[derive(Deserialize)]
#[serde(untagged)]
enum Frame {
    Chat { message: String, seq: Seq, sender_id: ChatterId, create_time: String, client_id: Option<String> },
    Refused { error: Refusal },
}

/// One room, as this terminal sees it.
pub(super) struct Conversation {
    pub(super) api: Api,
    pub(super) screen: Screen,
    pub(super) room: ChatroomId,
    pub(super) me: Person,
    pub(super) other: Person,
    outbox: Outbox,
    /// The epoch of the server's database in which the room has its id and its `shown_seq`.
    pub(super) epoch: Option<String>,
    pub(super) shown_seq: Seq,
    /// When the input ended or the last echo after that came.
    closing: Option<Instant>,
    /// Lines that the server or a rule of `domain` refused for good.
    refused: usize,
    /// The screen has said that lines are waiting, and why.
    delay_noted: bool,
}

impl Conversation {
    pub(super) fn new(
        api: Api,
        screen: Screen,
        room: ChatroomId,
        epoch: Option<String>,
        [me, other]: [Person; 2],
    ) -> Self {
        let outbox = Outbox::new(Instant::now());
        Self {
            api,
            screen,
            room,
            me,
            other,
            outbox,
            epoch,
            shown_seq: Seq::ZERO,
            closing: None,
            refused: 0,
            delay_noted: false,
        }
    }

    /// Runs until the input has ended and every line is confirmed, or no echo has come for 3 s.
    pub(super) async fn run(mut self, mut input: Input) -> Result<(), ChatError> {
        let mut back_off = BACK_OFF_MIN;
        let mut lost = false;
        let interrupts = input.interrupts();
        while !self.is_over() {
            let over = self.over_at();
            let opened = tokio::select! {
                opened = self.open() => opened,
                () = interrupts.notified() => break,
                () = sleep_until(over.unwrap_or_else(Instant::now)), if over.is_some() => break,
            };
            let broken = match opened {
                Ok(mut socket) => {
                    if std::mem::take(&mut lost) {
                        self.screen.note("Connected again.")?;
                    }
                    let opened = Instant::now();
                    let broken = self.talk(&mut socket, &mut input).await;
                    if opened.elapsed() > BACK_OFF_MAX {
                        back_off = BACK_OFF_MIN;
                    }
                    match broken {
                        Ok(()) => break,
                        Err(broken) => broken,
                    }
                }
                Err(broken) => broken,
            };
            let wait = match self.recover(broken).await? {
                None => continue,
                Some(at_least) => at_least.max(back_off.mul_f64(rand::random_range(0.5..1.0))),
            };
            if !std::mem::replace(&mut lost, true) {
                self.screen.note("The connection is lost; trying again.")?;
            }
            back_off = (back_off * 2).min(BACK_OFF_MAX);
            self.wait(wait, &mut input).await?;
        }
        let _ = timeout(FAREWELL, self.api.sign_out()).await;
        match (self.outbox.len(), self.refused) {
            (0, 0) => Ok(()),
            (0, refused) => Err(ChatError::Refused(refused)),
            (unproven, _) => Err(ChatError::Unconfirmed(unproven)),
        }
    }

    /// Decides how to go on after a broken connection: wait at least this long, or end.
    async fn recover(&mut self, broken: Broken) -> Result<Option<Duration>, ChatError> {
        match broken {
            Broken::For(error) => Err(error),
            Broken::Retry(wait) => Ok(Some(wait)),
            Broken::SignIn => match self.api.refresh().await {
                // The wait bounds the rate of refreshes against a server that refuses every token.
                Ok(()) => Ok(Some(BACK_OFF_MIN)),
                Err(e) => e.retry_in().map(Some).ok_or_else(|| e.into()),
            },
        }
    }

    /// Opens the socket, then shows the chats that were missed. In this order no chat falls between the two.
    async fn open(&mut self) -> Result<Socket, Broken> {
        self.check_epoch().await?;
        let (url, token) = self.api.socket(self.room);
        let socket = socket::open(url, token).await?;
        loop {
            let missed = self.api.after(self.room, self.shown_seq).await.map_err(unread)?;
            let before = self.shown_seq;
            self.show_all(missed).map_err(|e| Broken::For(e.into()))?;
            if self.shown_seq == before {
                break;
            }
        }
        if self.outbox.has_failed_too_often() {
            self.give_up("the connection broke each time").map_err(|e| Broken::For(e.into()))?;
        }
        self.outbox.send_again(Instant::now());
        Ok(socket)
    }

    /// Exchanges lines and chats until the conversation is over.
    async fn talk(&mut self, socket: &mut Socket, input: &mut Input) -> Result<(), Broken> {
        let mut heard = Instant::now();
        let interrupts = input.interrupts();
        while !self.is_over() {
            let (ready, over) = (self.outbox.ready_at(), self.over_at());
            tokio::select! {
                message = socket.next() => {
                    heard = Instant::now();
                    self.take_message(message)?;
                }
                line = input.line(), if self.takes_lines() => self.take_line(line).map_err(|e| Broken::For(e.into()))?,
                () = sleep_until(ready.unwrap_or(heard)), if ready.is_some() => {
                    if let Some(frame) = self.outbox.next_frame(Instant::now()) {
                        socket.send(Message::text(frame)).await.map_err(refused)?;
                    }
                }
                () = sleep_until(over.unwrap_or(heard)), if over.is_some() => {}
                () = interrupts.notified(), if !self.takes_lines() => if self.interrupted() { break },
                () = sleep_until(heard + SILENCE_MAX) => return Err(Broken::Retry(Duration::ZERO)),
            }
        }
        // The conversation is over whether or not this close frame arrives.
        let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
        Ok(())
    }

    /// Waits before the next attempt, and takes lines meanwhile.
    async fn wait(&mut self, wait: Duration, input: &mut Input) -> Result<(), ChatError> {
        let until = Instant::now() + wait;
        let interrupts = input.interrupts();
        while !self.is_over() && Instant::now() < until {
            let over = self.over_at().unwrap_or(until);
            tokio::select! {
                line = input.line(), if self.takes_lines() => self.take_line(line)?,
                () = sleep_until(until.min(over)) => {}
                () = interrupts.notified(), if !self.takes_lines() => if self.interrupted() {
                    return Err(ChatError::Unconfirmed(self.outbox.len()));
                },
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over_at().is_some_and(|at| self.outbox.len() == 0 || Instant::now() >= at)
    }

    fn over_at(&self) -> Option<Instant> {
        self.closing.map(|since| since + FAREWELL)
    }

    /// Ctrl-C: the first ends the input, the second ends the wait for echoes. Returns whether it was the second.
    fn interrupted(&mut self) -> bool {
        self.closing.replace(Instant::now()).is_some()
    }

    fn takes_lines(&self) -> bool {
        self.closing.is_none() && !self.outbox.is_full()
    }

    fn take_line(&mut self, line: Option<String>) -> std::io::Result<()> {
        let Some(line) = line else {
            self.closing = Some(Instant::now());
            return Ok(());
        };
        self.screen.typed()?;
        if line.trim().is_empty() {
            return Ok(());
        }
        match Content::parse(line) {
            Ok(content) => self.outbox.push(content.into_string()),
            Err(broken) => {
                self.refused += 1;
                self.screen.note(&format!("Not sent: a chat {}.", broken.rule))?;
            }
        }
        Ok(())
    }

    fn take_message(&mut self, message: Option<Result<Message, SocketError>>) -> Result<(), Broken> {
        match message {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(Frame::Chat { message, seq, sender_id, create_time, client_id }) => {
                    let chat = Stored { seq, sender_id, content: message, create_time, client_id };
                    self.show(chat).map_err(|e| Broken::For(e.into()))
                }
                Ok(Frame::Refused { error }) => self.take_refusal(&error).map_err(|e| Broken::For(e.into())),
                Err(_) => Ok(()),
            },
            // The WebSocket library answers pings by itself.
            Some(Ok(Message::Close(frame))) => Err(closed(frame)),
            Some(Ok(_)) => Ok(()),
            Some(Err(e)) => Err(refused(e)),
            None => Err(Broken::Retry(Duration::ZERO)),
        }
    }

    fn take_refusal(&mut self, refusal: &Refusal) -> std::io::Result<()> {
        let is_over = refusal.is_failure() && self.outbox.has_failed_too_often();
        if let Some(wait) = refusal.retry_in().filter(|_| !is_over) {
            self.outbox.send_again(Instant::now() + wait);
            if !std::mem::replace(&mut self.delay_noted, true) {
                self.screen.note(&format!("Waiting: {refusal}"))?;
            }
            return Ok(());
        }
        self.give_up(&refusal.to_string())
    }

    /// Drops the line on its way, if there is one.
    fn give_up(&mut self, why: &str) -> std::io::Result<()> {
        if self.outbox.give_up() {
            self.refused += 1;
            self.closing = self.closing.map(|_| Instant::now());
        }
        self.screen.note(&format!("Not sent: {why}"))
    }

    /// Shows chats of the history.
    pub(super) fn show_all(&mut self, chats: Vec<Stored>) -> std::io::Result<()> {
        chats.into_iter().try_for_each(|chat| self.show(chat))
    }

    fn show(&mut self, chat: Stored) -> std::io::Result<()> {
        let mine = chat.sender_id == self.me.id;
        if mine && chat.client_id.is_some_and(|id| self.outbox.confirm(&id)) {
            self.delay_noted = false;
            self.closing = self.closing.map(|_| Instant::now());
        }
        if chat.seq <= self.shown_seq {
            return Ok(());
        }
        self.shown_seq = chat.seq;
        let name = if mine { &self.me.username } else { &self.other.username };
        self.screen.chat(&chat.create_time, name, &chat.content)
    }
}
