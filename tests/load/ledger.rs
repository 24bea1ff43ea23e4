//! The chats that one socket has received, and their faults.

use super::table::Faults;

/// The label in a chat's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    pub pair: u32,
    /// Which of the two sent it.
    pub author: usize,
    /// Counts the author's chats from 0.
    pub number: u32,
    /// When it was sent, in nanoseconds since the workload began.
    pub sent_ns: u64,
}

/// Characters of a label: pair, author, number, time, each in hexadecimal digits.
const LABEL: usize = 4 + 1 + 8 + 16;
/// Characters of every chat.
const CONTENT: usize = 64;
const BEGIN: &[u8] = b"{\"message\":\"";

impl Label {
    /// The frame that sends this chat.
    pub fn frame(self) -> Vec<u8> {
        let Self { pair, author, number, sent_ns } = self;
        let mut text = format!("{{\"message\":\"{pair:04x}{author:x}{number:08x}{sent_ns:016x}").into_bytes();
        text.resize(BEGIN.len() + CONTENT, b'.');
        text.extend_from_slice(b"\"}");
        text
    }

    /// Reads the label and the room's number of the chat out of a received frame.
    pub fn of_frame(frame: &[u8]) -> Option<(Self, u64)> {
        let content = frame.strip_prefix(BEGIN)?.get(..CONTENT)?;
        let (label, filling) = content.split_at(LABEL);
        if filling.iter().any(|byte| *byte != b'.') {
            return None;
        }
        let label = std::str::from_utf8(label).ok()?;
        let field = |from: usize, to: usize| u64::from_str_radix(label.get(from..to)?, 16).ok();
        let author = usize::try_from(field(4, 5)?).ok().filter(|author| *author < 2)?;
        let (pair, number) = (u32::try_from(field(0, 4)?).ok()?, u32::try_from(field(5, 13)?).ok()?);
        let seq = seq_of(&frame[BEGIN.len() + CONTENT..])?;
        Some((Self { pair, author, number, sent_ns: field(13, LABEL)? }, seq))
    }
}

/// The number behind `"seq":`.
fn seq_of(rest: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"seq\":";
    let at = rest.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let digits = rest[at..].iter().take(19).take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The chats of both authors that one socket has received.
#[derive(Default)]
pub struct Ledger {
    received: [Received; 2],
    /// The room's number of the newest chat.
    seq: u64,
    duplicates: u64,
    out_of_order: u64,
}

#[derive(Default)]
struct Received {
    /// One bit for each chat.
    seen: Vec<u64>,
    count: u64,
    /// One more than the highest number seen.
    next: u32,
}

impl Ledger {
    /// Records a chat; whether it is the first time.
    pub fn enter(&mut self, label: Label, seq: u64) -> bool {
        let received = &mut self.received[label.author];
        let (word, bit) = (label.number as usize / 64, 1_u64 << (label.number % 64));
        if received.seen.len() <= word {
            received.seen.resize(word + 1, 0);
        }
        if received.seen[word] & bit != 0 {
            self.duplicates += 1;
            return false;
        }
        received.seen[word] |= bit;
        received.count += 1;
        if label.number < received.next || seq <= self.seq {
            self.out_of_order += 1;
        }
        received.next = received.next.max(label.number + 1);
        self.seq = self.seq.max(seq);
        true
    }

    /// How many chats arrived, of both authors.
    pub fn count(&self) -> u64 {
        self.received.iter().map(|received| received.count).sum()
    }

    /// The faults if both authors have sent so many.
    pub fn faults(&self, sent: u64) -> Faults {
        let lost = sent.saturating_sub(self.count());
        Faults { lost, duplicates: self.duplicates, out_of_order: self.out_of_order }
    }
}
