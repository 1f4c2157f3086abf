//! What the programs of a simulated world share and see of it: chance, time, and who is dead.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::*;
use crate::journal::tenure::Tenure;
use crate::journal::vantage::Vantage;

/// xorshift64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// What all programs of a world see.
#[derive(Debug, Default)]
pub struct Sky {
    pub now: Duration,
    /// Machine and process of all that were killed or have ended.
    pub dead: BTreeSet<(String, u32)>,
    /// The leases that are held, by program.
    pub tenures: Vec<Option<Arc<Tenure>>>,
    pub refused: usize,
}

/// One program's eyes.
#[derive(Clone, Debug)]
pub struct Eyes {
    pub sky: Arc<Mutex<Sky>>,
    pub machine: String,
    /// Its clock began at another time than all others.
    pub offset: Duration,
}

#[async_trait::async_trait]
impl Vantage for Eyes {
    fn now(&self) -> Duration {
        self.sky.lock().expect("sky").now + self.offset
    }

    async fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        std::future::poll_fn(
            |_| if self.now() >= until { std::task::Poll::Ready(()) } else { std::task::Poll::Pending },
        )
        .await;
    }

    fn space(&self) -> String {
        format!("boot-{} pid:[1]", self.machine)
    }

    fn is_here(&self, actor: &Actor) -> bool {
        actor.host == self.machine
    }

    fn has_ended(&self, actor: &Actor) -> bool {
        let is_here = actor.host == self.machine;
        is_here && self.sky.lock().expect("sky").dead.contains(&(actor.host.clone(), actor.pid))
    }
}
