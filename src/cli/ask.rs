//! A question to the person at the terminal, which a Ctrl-C answers too.

use crate::failure::Failure;
use crate::report::Screen;
use crate::stop::{Level, Stop};

/// The line that was typed; `None` where nobody can answer.
///
/// # Errors
/// We were told to stop before there was an answer.
pub async fn ask(screen: Screen, question: String, stop: &Stop) -> Result<Option<String>, Failure> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    // A thread that the runtime does not wait for at its end: the line it reads may never come.
    std::thread::spawn(move || drop(answer.send(screen.ask(&question))));
    tokio::select! {
        line = answered => Ok(line.ok().flatten()),
        () = stop.reached(Level::Finish) => Err(Failure::cancelled("stopped before anything was done")),
    }
}
