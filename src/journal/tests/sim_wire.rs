//! The way between a simulated program and the store: each call waits until the simulation says what becomes of it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use futures_util::FutureExt;

use super::*;
use crate::objects::{MemoryObjects, Object, Objects, Tag};

/// One call.
#[derive(Clone, Debug)]
pub enum Ask {
    Create(String, Vec<u8>),
    Replace(String, Vec<u8>, Tag),
    Get(String),
    List(String),
    Delete(String),
}

impl Ask {
    pub fn is_look(&self) -> bool {
        matches!(self, Self::Get(_) | Self::List(_))
    }

    pub fn is_entry(&self) -> bool {
        matches!(self, Self::Create(key, _) if key.contains("/journal/"))
    }
}

#[derive(Clone, Debug)]
pub enum Answer {
    Tag(Option<Tag>),
    Object(Option<Object>),
    Keys(Vec<String>),
    Done,
}

#[derive(Debug)]
pub struct Call {
    pub of: usize,
    pub ask: Ask,
    pub answer: Option<Result<Answer, Failure>>,
}

/// The store, and the calls that are on their way to it.
#[derive(Clone, Debug, Default)]
pub struct Wires {
    pub store: MemoryObjects,
    calls: Arc<Mutex<Vec<Option<Call>>>>,
}

impl Wires {
    pub fn calls(&self) -> MutexGuard<'_, Vec<Option<Call>>> {
        self.calls.lock().expect("calls")
    }

    /// Carries a call out.
    pub fn carry_out(&self, ask: &Ask) -> Answer {
        let now = async {
            Ok::<_, Failure>(match ask {
                Ask::Create(key, bytes) => Answer::Tag(self.store.create(key, bytes).await?),
                Ask::Replace(key, bytes, seen) => Answer::Tag(self.store.replace(key, bytes, seen).await?),
                Ask::Get(key) => Answer::Object(self.store.get(key).await?),
                Ask::List(prefix) => Answer::Keys(self.store.list(prefix).await?),
                Ask::Delete(key) => {
                    self.store.delete(key).await?;
                    Answer::Done
                }
            })
        };
        now.now_or_never().expect("memory does not wait").expect("memory does not fail")
    }

    /// Forgets the calls of a program that is no more; those that were sent may still arrive, which is the caller's to say.
    pub fn forget(&self, of: usize) -> Vec<Ask> {
        let mut calls = self.calls();
        let mine = calls.iter_mut().filter(|call| call.as_ref().is_some_and(|call| call.of == of));
        mine.filter_map(Option::take).filter(|call| call.answer.is_none()).map(|call| call.ask).collect()
    }
}

/// One program's end of it.
#[derive(Debug)]
pub struct Wire {
    pub of: usize,
    pub wires: Wires,
}

impl Wire {
    async fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        let number = {
            let mut calls = self.wires.calls();
            calls.push(Some(Call { of: self.of, ask, answer: None }));
            calls.len() - 1
        };
        poll_fn(|cx| {
            // The world polls when it likes; a stream of calls asks only for those that were woken.
            cx.waker().wake_by_ref();
            let mut calls = self.wires.calls();
            let answer = calls[number].as_mut().and_then(|call| call.answer.take());
            if answer.is_some() {
                calls[number] = None;
            }
            answer.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn odd() -> Failure {
    Failure::bug("an answer of another kind")
}

#[async_trait::async_trait]
impl Objects for Wire {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Option<Tag>, Failure> {
        match self.ask(Ask::Create(key.to_owned(), bytes.to_vec())).await? {
            Answer::Tag(tag) => Ok(tag),
            Answer::Object(_) | Answer::Keys(_) | Answer::Done => Err(odd()),
        }
    }

    async fn replace(&self, key: &str, bytes: &[u8], seen: &Tag) -> Result<Option<Tag>, Failure> {
        match self.ask(Ask::Replace(key.to_owned(), bytes.to_vec(), seen.clone())).await? {
            Answer::Tag(tag) => Ok(tag),
            Answer::Object(_) | Answer::Keys(_) | Answer::Done => Err(odd()),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        match self.ask(Ask::Get(key.to_owned())).await? {
            Answer::Object(object) => Ok(object),
            Answer::Tag(_) | Answer::Keys(_) | Answer::Done => Err(odd()),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        match self.ask(Ask::List(prefix.to_owned())).await? {
            Answer::Keys(keys) => Ok(keys),
            Answer::Tag(_) | Answer::Object(_) | Answer::Done => Err(odd()),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.ask(Ask::Delete(key.to_owned())).await.map(drop)
    }

    fn place(&self, key: &str) -> String {
        format!("sim:{key}")
    }
}
