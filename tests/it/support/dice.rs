//! Random decisions that a printed seed repeats.

/// The one that `HYPER_CHAT_TEST_SEED` asks to repeat.
pub fn given_seed() -> Option<u64> {
    let given = std::env::var("HYPER_CHAT_TEST_SEED").ok();
    given.map(|seed| seed.parse().expect("HYPER_CHAT_TEST_SEED is a number"))
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same decisions for the same seed and lane.
    pub fn new(seed: u64, lane: u64) -> Self {
        let mut dice = Self(seed ^ lane.wrapping_mul(0xA076_1D64_78BD_642F));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len() as u64);
        from.get(at as usize)
    }
}

#[test]
fn the_same_seed_decides_the_same() {
    let decide = |seed, lane| {
        let mut dice = Dice::new(seed, lane);
        [0; 20].map(|_: u8| dice.below(1_000))
    };
    assert_eq!(decide(1, 2), decide(1, 2));
    assert_ne!(decide(1, 2), decide(1, 3));
    assert_ne!(decide(1, 2), decide(2, 2));
}
