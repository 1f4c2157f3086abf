//! A machine's console: host keys that the platform vouches for, and the last words of a machine that does not boot.

use std::time::Duration;

use crate::failure::{Class, Exit, Failure};
use crate::node::{Look, console_host_keys, last_words};
use crate::stages::Context;

/// How long a machine may take from its start until it says its host keys.
pub const BOOT: Duration = Duration::from_secs(15 * 60);

/// The host keys that a machine wrote to its console.
pub async fn pinned_keys(cx: &Context<'_>, machine: &str) -> Result<Vec<String>, Failure> {
    let tell = |text: &str| cx.progress(format!("{machine}: {text}"));
    let wait = cx.wait(BOOT, &tell);
    let what = format!("machine `{machine}` never said its host keys on its console");
    let look = || async {
        let keys = console_host_keys(&cx.cloud.console(machine).await?);
        Ok(if keys.is_empty() {
            Look::NotYet("waiting for host keys on the console".to_owned())
        } else {
            Look::Done(keys)
        })
    };
    let keys = wait.until(&what, Exit::Platform, Duration::from_secs(1), look).await;
    match keys {
        Ok(keys) => Ok(keys),
        Err(failure) => Err(with_last_words(cx, machine, failure).await),
    }
}

/// Adds how the machine's console ends to a failure to reach it; one that needs a person is about something else.
pub async fn with_last_words(cx: &Context<'_>, machine: &str, failure: Failure) -> Failure {
    if failure.exit() != Exit::Platform || failure.kind() == Class::NeedsPerson {
        return failure;
    }
    match cx.cloud.console(machine).await {
        Ok(console) => match last_words(&console) {
            Some(words) => failure.because(format!("the console of `{machine}` ends with: {words}")),
            None => failure.because(format!("the console of `{machine}` is empty: nothing of it ever ran")),
        },
        // That the platform does not tell more must not hide what is known.
        Err(silence) => failure.because(silence),
    }
}
