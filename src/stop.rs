//! Being told to stop: how often, and a way to wait for it.
//!
//! `main.rs` raises the level with each signal; every room that waits also waits for it. The first level starts
//! nothing new and lets finish what an interrupt would damage, the second interrupts that too, the third kills.
//!
//! A part of the work, such as one stage, has a stop of its own below the one of the whole: it is at least as high, and
//! raising it stops nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
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
pub struct Stop {
    own: Arc<watch::Sender<Level>>,
    /// Those of the wholes that this is a part of.
    above: Vec<Arc<watch::Sender<Level>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { own: Arc::new(watch::Sender::new(Level::Go)), above: vec![] }
    }
}

impl Stop {
    /// A stop of a part of what this one stops.
    pub fn part(&self) -> Self {
        Self { above: self.all().cloned().collect(), ..Self::default() }
    }

    pub fn level(&self) -> Level {
        self.all().map(|level| *level.borrow()).max().unwrap_or_default()
    }

    pub fn is_asked(&self) -> bool {
        self.level() > Level::Go
    }

    /// Raises the level by one, as a further signal does; gives the new one.
    pub fn raise(&self) -> Level {
        let next = match self.level() {
            Level::Go => Level::Finish,
            Level::Finish => Level::Interrupt,
            Level::Interrupt | Level::Kill => Level::Kill,
        };
        self.own.send_modify(|level| *level = next.max(*level));
        self.level()
    }

    /// Waits until the level is at least this high.
    pub async fn reached(&self, level: Level) {
        let waits = self.all().map(|all| {
            let mut changes = all.subscribe();
            // The sender lives as long as `self`, so waiting cannot fail.
            Box::pin(async move { drop(changes.wait_for(|now| *now >= level).await) })
        });
        select_all(waits).await;
    }

    fn all(&self) -> impl Iterator<Item = &Arc<watch::Sender<Level>>> {
        std::iter::once(&self.own).chain(&self.above)
    }
}

/// What told us to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Interrupt,
    Terminate,
    /// The terminal is gone.
    Hangup,
}

/// Signals that come closer together than this are one stop. `timeout` signals its child and then the child's group,
/// `sudo` and shells pass on what the terminal has sent already; a second Ctrl-C of a person comes after that.
const ECHO: Duration = Duration::from_millis(300);

/// Makes levels of signals.
#[derive(Debug, Default)]
pub struct Ear {
    stop: Stop,
    last: Option<Instant>,
    first: Option<Told>,
}

impl Ear {
    /// Raises this stop.
    pub fn of(stop: &Stop) -> Self {
        Self { stop: stop.clone(), ..Self::default() }
    }

    /// Takes a signal that came at this moment. A terminal is lost once, however often that is told, and damages nothing:
    /// nobody is there who could have been warned.
    pub fn hear(&mut self, told: Told, at: Instant) {
        let is_echo = self.last.is_some_and(|last| at.saturating_duration_since(last) < ECHO);
        self.last = Some(at);
        self.first.get_or_insert(told);
        let is_enough = told == Told::Hangup && self.stop.is_asked();
        if !is_echo && !is_enough {
            self.stop.raise();
        }
    }

    /// What came first.
    pub fn first(&self) -> Option<Told> {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level after signals that came so many milliseconds after the first.
    fn after(signals: &[(Told, u64)]) -> Level {
        let (stop, begun) = (Stop::default(), Instant::now());
        let mut ear = Ear::of(&stop);
        for (told, millis) in signals {
            ear.hear(*told, begun + Duration::from_millis(*millis));
        }
        stop.level()
    }

    #[test]
    fn a_signal_that_is_sent_twice_at_once_is_one_stop() {
        assert_eq!(after(&[(Told::Terminate, 0), (Told::Terminate, 1)]), Level::Finish);
        assert_eq!(after(&[(Told::Interrupt, 0), (Told::Interrupt, 400)]), Level::Interrupt);
        assert_eq!(after(&[(Told::Interrupt, 0), (Told::Interrupt, 400), (Told::Interrupt, 900)]), Level::Kill);
    }

    #[test]
    fn a_terminal_that_is_lost_more_than_once_interrupts_nothing() {
        assert_eq!(after(&[(Told::Hangup, 0), (Told::Hangup, 5_000)]), Level::Finish);
        assert_eq!(after(&[(Told::Interrupt, 0), (Told::Hangup, 5_000)]), Level::Finish);
        assert_eq!(after(&[(Told::Hangup, 0), (Told::Terminate, 5_000)]), Level::Interrupt);
    }

    #[tokio::test]
    async fn each_signal_raises_the_level_and_the_third_stays_the_last() {
        let stop = Stop::default();

        let levels = [stop.raise(), stop.raise(), stop.raise(), stop.raise()];

        assert_eq!(levels, [Level::Finish, Level::Interrupt, Level::Kill, Level::Kill]);
        stop.reached(Level::Interrupt).await;
    }

    #[tokio::test]
    async fn a_part_is_stopped_with_the_whole_and_alone_without_it() {
        let whole = Stop::default();
        let (part, other) = (whole.part(), whole.part());

        let alone = part.raise();
        let after_alone = (whole.level(), other.level());
        whole.raise();
        other.reached(Level::Finish).await;

        assert_eq!(alone, Level::Finish);
        assert_eq!(after_alone, (Level::Go, Level::Go));
        assert_eq!((part.level(), part.raise()), (Level::Finish, Level::Interrupt));
    }
}
