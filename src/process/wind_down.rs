//! Ends what earlier runs left running and nobody wants any more.

use futures_util::future::try_join_all;

use crate::failure::Failure;
use crate::process::record::alive;
use crate::process::{Cancel, Children};
use crate::secret::Secret;

impl Children {
    /// Cancels every child of an earlier run that cancels cleanly, as a first Ctrl-C does, and waits until all of them
    /// have ended; a further stop reaches them too. What an interrupt would damage goes on: whoever needs its slot
    /// follows it.
    ///
    /// # Errors
    /// Their records cannot be read or removed. However they ended is none: what they made is looked for.
    pub async fn wind_down(&self, redact: &[Secret]) -> Result<(), Failure> {
        let stop = self.stop().part();
        if !stop.is_asked() {
            stop.raise();
        }
        let children = self.under(&stop);
        let clean = |cancel: &Cancel| match cancel {
            Cancel::Group | Cancel::StopFile(_) => true,
            Cancel::Finish => false,
        };
        let left = alive(&self.dir)?.into_iter().filter(|child| clean(&child.cancel)).map(|child| child.slot);
        let ends = left.map(async |slot| match children.follow(&slot, redact, &mut |_, _| {}).await? {
            Some(ended) => self.discard(&ended),
            None => Ok(()),
        });
        try_join_all(ends).await.map(drop)
    }
}
