//! What every place for objects promises: one suite for all of them.

use std::sync::Arc;

use futures_util::future::join_all;
use sre_provision::objects::{Objects, probe};

/// Creates, and knows its own content where an answer was lost.
pub async fn created(objects: &dyn Objects, key: &str, bytes: &[u8]) -> bool {
    objects.create(key, bytes).await.expect("an answer").is_some()
        || content(objects, key).await.as_deref() == Some(bytes)
}

pub async fn content(objects: &dyn Objects, key: &str) -> Option<Vec<u8>> {
    objects.get(key).await.expect("an answer").map(|there| there.bytes)
}

/// All of it, below `top`.
pub async fn holds(objects: Arc<dyn Objects>, top: &str) {
    created_once(&*objects, top).await;
    replaced_only_as_seen(&*objects, top).await;
    listed(&*objects, top).await;
    one_of_many(&objects, top).await;
    probe(&*objects).await.expect("conditional writes");
    assert_eq!(objects.list("probe/").await.expect("listed"), Vec::<String>::new());
}

async fn created_once(objects: &dyn Objects, top: &str) {
    let key = format!("{top}/once.json");
    assert_eq!(content(objects, &key).await, None);
    assert!(created(objects, &key, b"first").await);

    assert!(!created(objects, &key, b"second").await);
    assert_eq!(content(objects, &key).await.as_deref(), Some(&b"first"[..]));

    objects.delete(&key).await.expect("removed");
    objects.delete(&key).await.expect("removed before");
    assert_eq!(content(objects, &key).await, None);
    assert!(created(objects, &key, b"").await);
    assert_eq!(content(objects, &key).await.as_deref(), Some(&b""[..]));
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    assert!(created(objects, &format!("{top}/bytes"), &bytes).await);
    assert_eq!(content(objects, &format!("{top}/bytes")).await, Some(bytes));
}

async fn replaced_only_as_seen(objects: &dyn Objects, top: &str) {
    let key = format!("{top}/replaced.json");
    assert!(created(objects, &key, b"one").await);
    let seen = objects.get(&key).await.expect("an answer").expect("there").tag;
    objects.replace(&key, b"two", &seen).await.expect("an answer");
    assert_eq!(content(objects, &key).await.as_deref(), Some(&b"two"[..]));

    let stale = objects.replace(&key, b"three", &seen).await.expect("an answer");
    let absent = objects.replace(&format!("{top}/absent"), b"four", &seen).await.expect("an answer");

    assert_eq!((stale, absent), (None, None));
    assert_eq!(content(objects, &key).await.as_deref(), Some(&b"two"[..]));
    assert_eq!(content(objects, &format!("{top}/absent")).await, None);
}

async fn listed(objects: &dyn Objects, top: &str) {
    for name in ["b/2", "b/10", "a", "bb"] {
        assert!(created(objects, &format!("{top}/list/{name}"), b"x").await);
    }

    let below = objects.list(&format!("{top}/list/b/")).await.expect("listed");
    let nothing = objects.list(&format!("{top}/none/")).await.expect("listed");

    assert_eq!(below, [format!("{top}/list/b/10"), format!("{top}/list/b/2")]);
    assert_eq!(nothing, Vec::<String>::new());
}

async fn one_of_many(objects: &Arc<dyn Objects>, top: &str) {
    let key = format!("{top}/raced");
    let made = join_all((0..8).map(async |who: u8| created(&**objects, &key, &[who]).await)).await;
    let seen = objects.get(&key).await.expect("an answer").expect("there").tag;
    let replaced = join_all((10..18).map(async |who: u8| {
        let answer = objects.replace(&key, &[who], &seen).await.expect("an answer");
        answer.is_some() || content(&**objects, &key).await == Some(vec![who])
    }))
    .await;

    assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    assert_eq!(replaced.into_iter().filter(|replaced| *replaced).count(), 1);
}
