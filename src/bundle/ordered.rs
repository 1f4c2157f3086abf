//! Work on many pieces at once, taken in their order, with a bounded number on the way.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::failure::Failure;

/// How many pieces may be on the way: some for each processor, and few enough for the memory.
const ON_THE_WAY: usize = 16;
const MOST_THREADS: usize = 8;

/// Brings each piece of `feed` through `work`, on as many threads as there are processors, and hands what came of them to
/// `take` in their order. Blocks the thread.
///
/// # Errors
/// The first of any of the three; what is on the way then is dropped.
pub fn ordered<I: Send, O: Send>(
    feed: impl Iterator<Item = Result<I, Failure>> + Send,
    work: impl Fn(I) -> Result<O, Failure> + Sync,
    mut take: impl FnMut(O) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (token, tokens) = channel();
    let (give, given) = channel();
    let (done, results) = channel();
    (0..ON_THE_WAY).for_each(|_| _ = token.send(()));
    let given = Mutex::new(given);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(MOST_THREADS);
    std::thread::scope(|scope| {
        scope.spawn(move || feed_all(feed, &tokens, &give));
        for _ in 0..threads {
            let (given, work, done) = (&given, &work, done.clone());
            scope.spawn(move || work_all(given, work, &done));
        }
        drop(done);
        let taken = take_all(&results, &mut take, &token);
        // Whoever waits for a token or to hand something over ends now.
        drop((token, results));
        taken
    })
}

type Numbered<T> = (u64, Result<T, Failure>);

fn feed_all<I>(feed: impl Iterator<Item = Result<I, Failure>>, tokens: &Receiver<()>, give: &Sender<Numbered<I>>) {
    for (number, piece) in (0..).zip(feed) {
        let is_last = piece.is_err();
        if tokens.recv().is_err() || give.send((number, piece)).is_err() || is_last {
            return;
        }
    }
}

fn work_all<I, O>(
    given: &Mutex<Receiver<Numbered<I>>>,
    work: &impl Fn(I) -> Result<O, Failure>,
    done: &Sender<Numbered<O>>,
) {
    loop {
        let next = given.lock().map(|given| given.recv());
        let Ok(Ok((number, piece))) = next else { return };
        if done.send((number, piece.and_then(work))).is_err() {
            return;
        }
    }
}

fn take_all<O>(
    results: &Receiver<Numbered<O>>,
    take: &mut impl FnMut(O) -> Result<(), Failure>,
    token: &Sender<()>,
) -> Result<(), Failure> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    while let Ok((number, result)) = results.recv() {
        waiting.insert(number, result);
        while let Some(result) = waiting.remove(&next) {
            take(result?)?;
            next += 1;
            // The feeder may be done and gone.
            _ = token.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn what_was_worked_on_at_once_is_taken_in_order() {
        let mut taken = Vec::new();

        let slow_first = |n: u64| {
            let rounds = if n.is_multiple_of(7) { 20_000 } else { 1 };
            Ok((0..rounds).fold(n, |n, _| std::hint::black_box(n)))
        };
        ordered((0..500).map(Ok), slow_first, |n| {
            taken.push(n);
            Ok(())
        })
        .expect("done");

        assert_eq!(taken, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_failure_ends_it_wherever_it_comes_from() {
        let failed = |who: &str| Failure::new(Exit::NotDone, who.to_owned());
        let feed = |bad: Option<u32>| (0..1000).map(move |n| if Some(n) == bad { Err(failed("feed")) } else { Ok(n) });

        let fed = ordered(feed(Some(500)), Ok, |_| Ok(())).expect_err("failed");
        let worked = ordered(feed(None), |n| if n == 500 { Err(failed("work")) } else { Ok(n) }, |_| Ok(()));
        let taken = ordered(feed(None), Ok, |n| if n == 500 { Err(failed("take")) } else { Ok(()) });

        assert_eq!(fed.what(), "feed");
        assert_eq!(worked.expect_err("failed").what(), "work");
        assert_eq!(taken.expect_err("failed").what(), "take");
    }
}
