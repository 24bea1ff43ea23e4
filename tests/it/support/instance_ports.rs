//! The ports of the instances of one service; one is taken at random each time, as a load balancer would.

use std::sync::{Arc, Mutex, PoisonError};

use super::dice::Dice;

#[derive(Clone)]
pub struct InstancePorts {
    ports: Arc<[u16]>,
    dice: Arc<Mutex<Dice>>,
}

impl InstancePorts {
    /// These ports; `dice` is shared with all that decides by the same seed.
    pub fn new(ports: impl IntoIterator<Item = u16>, dice: Arc<Mutex<Dice>>) -> Self {
        Self { ports: ports.into_iter().collect(), dice }
    }

    /// One of them.
    pub fn pick(&self) -> u16 {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        *dice.pick(&self.ports).expect("there is one at least")
    }
}

impl From<u16> for InstancePorts {
    fn from(port: u16) -> Self {
        Self::new([port], Arc::new(Mutex::new(Dice::new(0, 0))))
    }
}

impl From<&Self> for InstancePorts {
    fn from(ports: &Self) -> Self {
        ports.clone()
    }
}

#[test]
fn every_port_is_picked_now_and_then() {
    let ports = InstancePorts::new([1, 2], Arc::new(Mutex::new(Dice::new(7, 0))));
    let taken: Vec<_> = (0..50).map(|_| ports.pick()).collect();
    assert!(taken.contains(&1) && taken.contains(&2), "{taken:?}");
    assert_eq!(InstancePorts::from(3).pick(), 3);
}
