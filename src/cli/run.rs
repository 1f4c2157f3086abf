//! A run of a command that changes something: begun in the journal, followed on the screen, told to stop, and closed.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::desk::Desk;
use super::stopping::{self, Listener};
use crate::event::{Event, Events, Outcome, Received};
use crate::execute::Book;
use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::identity::Identity;
use crate::journal::{Anchor, Journal, Lease, Writer};
use crate::report::Screen;
use crate::stop::Stop;

/// A run that was begun.
pub struct Run {
    pub number: u32,
    pub book: Arc<Book>,
    pub events: Events,
    started: Instant,
    follower: JoinHandle<()>,
    listeners: (Listener, Option<Listener>),
}

impl Run {
    /// Writes its beginning in the journal, with the digest of the plan that it carries out, if there is one.
    pub async fn begin(
        desk: &Desk,
        identity: &Identity,
        (lease, journal): (Lease, Journal),
        (command, plan): (&str, Option<Digest>),
        (events, received): (Events, Received),
        screen: Screen,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let writer = Writer::begin(journal, lease, command, plan).await?;
        let (number, tenure) = (writer.run(), writer.lease().tenure().cloned());
        let book = Arc::new(Book::new(writer, identity, desk.programs()));
        let follower = tokio::spawn(screen.follow(received));
        events.send(Event::RunStarted { run: number, environment: identity.name.clone() });
        let listeners = (stopping::listen(stop, &events), stopping::fence(tenure, stop, &events));
        Ok(Self { number, book, events, started, follower, listeners })
    }

    /// Tells how it ended; the screen's table says so.
    pub fn tell_end(&self, outcome: Outcome) {
        self.events.send(Event::RunEnded { run: self.number, outcome, took: self.started.elapsed() });
    }

    /// Writes its end in the journal once the screen has shown all; gives that end.
    ///
    /// # Errors
    /// The end could not be written; a bug where somebody still writes to the journal.
    pub async fn close(self, outcome: Outcome, why: Option<String>) -> Result<Anchor, Failure> {
        drop(self.listeners);
        drop(self.events);
        // A report that failed has nothing more to say than the run itself.
        drop(self.follower.await);
        match Arc::into_inner(self.book) {
            Some(book) => book.close(outcome, why).await,
            None => Err(Failure::bug("somebody still writes to the journal after the run")),
        }
    }
}
