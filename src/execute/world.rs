//! Everything a run works with, so that each stage can be shown its own view.

use std::ops::Deref;
use std::sync::Arc;

use crate::artifact::Kind;
use crate::execute::Book;
use crate::stages::Context;

/// What a run works with: the view of a stage, and the book that the run is written in.
pub struct World<'a> {
    pub view: Context<'a>,
    pub book: Arc<Book>,
}

impl<'a> World<'a> {
    /// The world as one stage sees it.
    pub fn context(&self, stage: Kind) -> Context<'a> {
        Context { stage, ..self.view }
    }
}

impl<'a> Deref for World<'a> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        &self.view
    }
}
