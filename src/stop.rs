//! Being told to stop: how often, and a way to wait for it.
//!
//! `main.rs` raises the level with each signal; every room that waits also waits for it. The first level starts
//! nothing new and lets finish what an interrupt would damage, the second interrupts that too, the third kills.

use std::sync::Arc;

use tokio::sync::watch;

/// How hard we were told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Go,
    /// Start nothing new; cancel what cancels cleanly.
    Finish,
    /// Interrupt also what an interrupt damages, once.
    Interrupt,
    /// Kill.
    Kill,
}

/// A shared level that only rises.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Level>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Level::Go)))
    }
}

impl Stop {
    pub fn level(&self) -> Level {
        *self.0.borrow()
    }

    pub fn is_asked(&self) -> bool {
        self.level() > Level::Go
    }

    /// Raises the level by one, as a further signal does; gives the new one.
    pub fn raise(&self) -> Level {
        self.0.send_modify(|level| {
            *level = match level {
                Level::Go => Level::Finish,
                Level::Finish => Level::Interrupt,
                Level::Interrupt | Level::Kill => Level::Kill,
            }
        });
        self.level()
    }

    /// Waits until the level is at least this high.
    pub async fn reached(&self, level: Level) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        drop(changes.wait_for(|now| *now >= level).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_signal_raises_the_level_and_the_third_stays_the_last() {
        let stop = Stop::default();

        let levels = [stop.raise(), stop.raise(), stop.raise(), stop.raise()];

        assert_eq!(levels, [Level::Finish, Level::Interrupt, Level::Kill, Level::Kill]);
        stop.reached(Level::Interrupt).await;
    }
}
