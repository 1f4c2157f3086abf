//! What one program can see for itself of a lease that another holds: its own clock, and whether a process of its own
//! machine has ended.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};

use super::Actor;

/// Where a program looks from.
#[async_trait]
pub trait Vantage: Debug + Send + Sync {
    /// A clock that never goes back and counts while the machine sleeps. Nobody's wall clock is asked, and no two of these
    /// clocks are compared.
    fn now(&self) -> Duration;

    async fn sleep(&self, time: Duration);

    /// Names what a process number is worth something in: this machine's boot and process namespace.
    fn space(&self) -> String;

    /// Whether somebody is, or was since its boot, on this machine.
    fn is_here(&self, actor: &Actor) -> bool;

    /// Whether a process of this space has ended for certain.
    fn has_ended(&self, actor: &Actor) -> bool;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

#[async_trait]
impl Vantage for Here {
    fn now(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn space(&self) -> String {
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        format!("{} {}", Actor::here().boot, namespace.display())
    }

    fn is_here(&self, actor: &Actor) -> bool {
        let here = Actor::here();
        (&here.host, &here.boot) == (&actor.host, &actor.boot)
    }

    fn has_ended(&self, actor: &Actor) -> bool {
        actor.is_alive() == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_and_the_space_is_this_boots() {
        let first = Here.now();
        let second = Here.now();

        assert!(second >= first && first > Duration::ZERO);
        assert!(Here.space().starts_with(&Actor::here().boot) && Here.space().contains("pid:["), "{}", Here.space());
    }

    #[test]
    fn this_process_has_not_ended_and_one_with_its_number_before_it_has() {
        let here = Actor::here();
        let before = Actor { start: 1, ..here.clone() };
        let elsewhere = Actor { host: "another".to_owned(), ..before.clone() };

        assert_eq!([&here, &before, &elsewhere].map(|actor| Here.has_ended(actor)), [false, true, false]);
        assert_eq!([&here, &before, &elsewhere].map(|actor| Here.is_here(actor)), [true, true, false]);
    }
}
