//! What a device does during the run: it sends, edits, deletes and reads at any instance that it reaches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::Device;
use crate::support::dice::Dice;
use crate::support::secrets::MARKER;

/// A device without an answer for so long disconnects.
const DEVICE_PATIENCE: Duration = Duration::from_secs(4);

/// A device at whatever instance it reaches: it sends into these rooms, changes its own chats, and reads in all rooms.
pub async fn lives(mut device: Device, rooms: Vec<i64>, mut dice: Dice, stop: Arc<AtomicBool>) -> Device {
    let mut heard = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if !device.is_connected() {
            device.connect().await;
            heard = Instant::now();
        } else if device.pending() < 4 && device.in_flight() < 6 {
            act(&mut device, &rooms, &mut dice);
        }
        if device.turn(Duration::from_millis(5 + dice.below(60))).await {
            heard = Instant::now();
            while device.turn(Duration::ZERO).await {}
        } else if !device.is_connected() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else if device.in_flight() > 0 && heard.elapsed() > DEVICE_PATIENCE {
            device.hang_up();
        }
    }
    device
}

fn act(device: &mut Device, rooms: &[i64], dice: &mut Dice) {
    let known: Vec<i64> = device.rooms.keys().copied().collect();
    let Some(any) = dice.pick(&known).copied() else { return };
    if let (0..4, Some(room)) = (dice.below(10), dice.pick(rooms)) {
        device.send(*room, &format!("{MARKER} on a device {}", dice.below(1 << 32)));
        return;
    }
    let view = &device.rooms[&any];
    let me = device.person.id;
    let own = view.chats.values().filter(|chat| chat.sender == Some(me) && chat.content.is_some());
    let own: Vec<_> = own.map(|chat| chat.id).collect();
    match (dice.below(8), dice.pick(&own)) {
        // Only in rooms where chats may change.
        (0, Some(chat)) if rooms.contains(&any) => device.edit(*chat, &format!("{MARKER} {}", dice.below(1 << 32))),
        (1, Some(chat)) if rooms.contains(&any) => device.delete(*chat),
        (2 | 3, _) => {
            let delivered = (view.last_seq() - dice.below(4) as i64).max(0);
            device.receipt(any, delivered, (delivered - dice.below(6) as i64).max(0));
        }
        _ => {}
    }
}
