//! Says at once that a stop was heard, and what the next one would do.
//!
//! What a level means for each program that runs is told where that program is followed; this line comes also when none
//! runs, or when the one that does says nothing for a while.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::event::Events;
use crate::journal::Tenure;
use crate::stop::{Level, Stop};

/// Listens until it is dropped.
pub struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells each level as it is reached.
pub fn listen(stop: &Stop, events: &Events) -> Listener {
    let (stop, events) = (stop.clone(), events.clone());
    Listener(tokio::spawn(async move {
        for level in [Level::Finish, Level::Interrupt, Level::Kill] {
            stop.reached(level).await;
            events.notice(words(level));
        }
    }))
}

/// Stops the run as by Ctrl-C when its lease is lost: another may work on the environment, and what this one would still
/// write does not count. Listens until it is dropped.
pub fn fence(tenure: Option<Arc<Tenure>>, stop: &Stop, events: &Events) -> Option<Listener> {
    let (tenure, stop, events) = (tenure?, stop.clone(), events.clone());
    Some(Listener(tokio::spawn(async move {
        tenure.lost().await;
        events.notice("the lease was lost: another may work on this environment");
        // A person who has asked for it already did not ask for more.
        if !stop.is_asked() {
            stop.raise();
        }
    })))
}

fn words(level: Level) -> &'static str {
    match level {
        Level::Go => "",
        Level::Finish => {
            "stopping: nothing new is started, what cannot be cut off is waited for; a further Ctrl-C interrupts that too"
        }
        Level::Interrupt => "stopping: what still runs is interrupted; a further Ctrl-C kills it",
        Level::Kill => "stopping: what still runs is killed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[tokio::test]
    async fn each_ctrl_c_is_answered_with_what_it_does_and_what_the_next_one_would() {
        let (events, mut received) = Events::channel();
        let stop = Stop::default();
        let _listener = listen(&stop, &events);

        let mut told = vec![];
        for _ in 0..3 {
            stop.raise();
            match received.recv().await {
                Some(Event::Notice { text }) => told.push(text),
                other => panic!("{other:?}"),
            }
        }

        assert!(told[0].ends_with("; a further Ctrl-C interrupts that too"), "{told:?}");
        assert_eq!(told[1], "stopping: what still runs is interrupted; a further Ctrl-C kills it");
        assert_eq!(told[2], "stopping: what still runs is killed");
    }
}
