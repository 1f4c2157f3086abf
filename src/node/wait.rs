//! Waiting by asking: looks again and again until something is so, a deadline passes or we are told to stop.
//!
//! A wait never ends in silence: each new state is told, and one that does not change for a while is told as a stall.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::event::UNCHANGED;
use crate::failure::{Exit, Failure};
use crate::stop::{Level, Stop};

/// What one look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    Done(T),
    /// Not so yet; the state in a few words.
    NotYet(String),
}

/// How often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With the same pause each time: for what is asked of a platform, which counts its calls.
    Steady(Duration),
    /// With pauses that grow with the time waited, up to this one: what comes soon is seen at once, and looking costs a
    /// small share of a long wait.
    Growing(Duration),
}

impl Pace {
    const FIRST: Duration = Duration::from_millis(200);

    fn pause(self, waited: Duration) -> Duration {
        match self {
            Self::Steady(pause) => pause,
            Self::Growing(longest) => (waited / 64).clamp(Self::FIRST.min(longest), longest),
        }
    }
}

/// How long to wait, who may end it, and who is told.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    pub deadline: Duration,
    /// After this long without a change the state is told as a stall.
    pub stall: Duration,
    pub stop: &'a Stop,
    pub tell: &'a (dyn Fn(&str) + Send + Sync),
}

impl<'a> Wait<'a> {
    /// A wait of this length that tells a stall after a minute.
    pub fn within(deadline: Duration, stop: &'a Stop, tell: &'a (dyn Fn(&str) + Send + Sync)) -> Self {
        Self { deadline, stall: Duration::from_secs(60), stop, tell }
    }

    /// Looks until it is done, at a steady pace; a transient failure of a look counts as not yet.
    ///
    /// # Errors
    /// The failure of a look that is not transient; cancelled when told to stop; `exit` at the deadline, with `what`
    /// and the last state as the cause.
    pub async fn until<T, F, Fut>(&self, what: &str, exit: Exit, every: Duration, look: F) -> Result<T, Failure>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Look<T>, Failure>>,
    {
        self.paced(what, exit, Pace::Steady(every), look).await
    }

    /// As [`until`](Self::until), at a given pace.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn paced<T, F, Fut>(&self, what: &str, exit: Exit, pace: Pace, mut look: F) -> Result<T, Failure>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Look<T>, Failure>>,
    {
        let start = Instant::now();
        let mut state = State::new();
        loop {
            let left = self.deadline.saturating_sub(start.elapsed());
            let seen = tokio::select! {
                seen = tokio::time::timeout(left.max(Duration::from_millis(1)), look()) => seen,
                () = self.stop.reached(Level::Finish) => return Err(stopped(what)),
            };
            match seen {
                Ok(Ok(Look::Done(value))) => return Ok(value),
                Ok(Ok(Look::NotYet(text))) => state.saw(text, self),
                Ok(Err(failure)) if failure.is_transient() => state.saw(failure.to_string(), self),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => return Err(self.too_late(what, exit, &state)),
            }
            let pause = pace.pause(start.elapsed());
            if start.elapsed() + pause > self.deadline {
                return Err(self.too_late(what, exit, &state));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.reached(Level::Finish) => return Err(stopped(what)),
            }
        }
    }

    fn too_late(&self, what: &str, exit: Exit, state: &State) -> Failure {
        Failure::new(exit, format!("{what}: not within {}", spoken(self.deadline))).because(&state.text)
    }
}

/// The last state and since when it has been so.
struct State {
    text: String,
    since: Instant,
    stalls: u32,
}

impl State {
    fn new() -> Self {
        Self { text: String::new(), since: Instant::now(), stalls: 0 }
    }

    fn saw(&mut self, text: String, wait: &Wait<'_>) {
        if text != self.text {
            (wait.tell)(&text);
            *self = Self { text, ..Self::new() };
            return;
        }
        let stalls = self.since.elapsed().as_secs_f64() / wait.stall.as_secs_f64().max(0.001);
        if stalls >= f64::from(self.stalls + 1) {
            self.stalls += 1;
            (wait.tell)(&format!("{UNCHANGED}{}: {}", spoken(self.since.elapsed()), self.text));
        }
    }
}

fn stopped(what: &str) -> Failure {
    Failure::cancelled(format!("{what}: told to stop while waiting"))
}

/// A length of time as people say it: `45 s`, `5 min`, `1 min 30 s`.
pub(crate) fn spoken(length: Duration) -> String {
    let seconds = length.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, 0) => format!("{} ms", length.as_millis()),
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use super::*;

    const EVERY: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn each_new_state_is_told_once_and_a_transient_failure_is_a_state() {
        let (stop, told, looks) = (Stop::default(), Mutex::new(Vec::new()), Cell::new(0));
        let tell = |text: &str| told.lock().expect("lock").push(text.to_owned());
        let wait = Wait::within(Duration::from_secs(5), &stop, &tell);

        let value = wait
            .until("server-1", Exit::Unhealthy, EVERY, || {
                looks.set(looks.get() + 1);
                let look = looks.get();
                async move {
                    match look {
                        1 | 2 => Ok(Look::NotYet("starting".to_owned())),
                        3 => Err(Failure::new(Exit::Platform, "connection refused").transient()),
                        _ => Ok(Look::Done(look)),
                    }
                }
            })
            .await
            .expect("done");

        assert_eq!(value, 4);
        assert_eq!(*told.lock().expect("lock"), ["starting", "connection refused"]);
    }

    #[test]
    fn a_growing_pause_begins_short_and_ends_at_the_longest() {
        let pace = Pace::Growing(Duration::from_secs(1));

        let pauses = [0, 32, 300].map(|waited| pace.pause(Duration::from_secs(waited)));

        assert_eq!(pauses, [200, 500, 1000].map(Duration::from_millis));
        assert_eq!(Pace::Growing(EVERY).pause(Duration::ZERO), EVERY);
    }

    #[tokio::test]
    async fn at_the_deadline_the_last_state_is_the_cause() {
        let stop = Stop::default();
        let wait = Wait::within(Duration::from_millis(20), &stop, &|_| {});

        let failure = wait
            .until("`server-2` did not join", Exit::Unhealthy, EVERY, || async {
                Ok::<Look<()>, Failure>(Look::NotYet("learner".to_owned()))
            })
            .await
            .expect_err("too late");

        assert_eq!(failure.to_string(), "`server-2` did not join: not within 20 ms: learner");
        assert_eq!(failure.exit(), Exit::Unhealthy);
    }

    #[tokio::test]
    async fn a_state_that_does_not_change_is_told_as_a_stall() {
        let (stop, told) = (Stop::default(), Mutex::new(Vec::new()));
        let tell = |text: &str| told.lock().expect("lock").push(text.to_owned());
        let wait =
            Wait { deadline: Duration::from_millis(60), stall: Duration::from_millis(20), stop: &stop, tell: &tell };

        let failure = wait
            .until("x", Exit::Unhealthy, EVERY, || async { Ok::<Look<()>, Failure>(Look::NotYet("same".to_owned())) })
            .await;

        assert!(failure.is_err());
        let told = told.lock().expect("lock");
        assert_eq!(told[0], "same");
        assert!(told[1].starts_with("no change for ") && told[1].ends_with(": same"), "{told:?}");
    }

    #[tokio::test]
    async fn being_told_to_stop_ends_the_wait_at_once() {
        let stop = Stop::default();
        stop.raise();
        let wait = Wait::within(Duration::from_secs(60), &stop, &|_| {});

        let failure = wait
            .until("`server-2`", Exit::Unhealthy, EVERY, || async {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Ok::<Look<()>, Failure>(Look::Done(()))
            })
            .await
            .expect_err("stopped");

        assert!(failure.is_cancelled());
        assert_eq!(failure.to_string(), "`server-2`: told to stop while waiting");
    }
}
