//! Places for objects, held to one suite: a directory, memory, and S3 behind a proxy that loses, delays and doubles.
//!
//! S3 is moto, in the Python of the lab: `lab/lab run cargo test --test objects`.
#![expect(clippy::disallowed_methods, reason = "the world of the test is made of files and programs")]

mod begun;
mod commands;
mod moto;
mod moves;
mod proxy;
mod suite;
mod sweep;
mod tofu_locks;

use std::sync::Arc;
use std::time::Duration;

use sre_provision::failure::{Class, Exit};
use sre_provision::fingerprint::Digest;
use sre_provision::journal::{Anchor, tell_s3, told_s3};
use sre_provision::objects::{Bucket, LocalObjects, MemoryObjects, Objects, S3Objects, probe};

use moto::Moto;
use proxy::{Fault, Proxy};
use suite::{content, created, holds};

/// A bucket behind a proxy.
struct World {
    proxy: Proxy,
    _moto: Moto,
}

impl World {
    async fn new() -> Self {
        let moto = Moto::start();
        Self { proxy: Proxy::before(moto.port).await, _moto: moto }
    }

    async fn objects(&self, bucket: &str) -> Arc<dyn Objects> {
        Arc::new(self.s3(bucket).await)
    }

    async fn s3(&self, bucket: &str) -> S3Objects {
        let bucket = Bucket {
            name: bucket.to_owned(),
            prefix: "team/dev".to_owned(),
            region: "us-east-1".to_owned(),
            partition: "aws".to_owned(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.proxy.port)),
        };
        S3Objects::connect(bucket).await.expect("credentials, as the lab sets them")
    }
}

#[tokio::test]
async fn a_directory_keeps_every_promise() {
    let dir = tempfile::tempdir().expect("a directory");
    holds(Arc::new(LocalObjects::new(dir.path().join("state"))), "a").await;
}

#[tokio::test]
async fn memory_keeps_every_promise() {
    holds(Arc::new(MemoryObjects::default()), "a").await;
}

#[tokio::test]
async fn s3_keeps_every_promise_whatever_is_lost_late_or_doubled_on_the_way() {
    let world = World::new().await;
    let objects = world.objects("state").await;
    holds(objects.clone(), "calm").await;
    let faults = [
        ("PUT", Fault::LoseAnswer),
        ("PUT", Fault::LoseRequest),
        ("PUT", Fault::Twice),
        ("PUT", Fault::Delay(Duration::from_millis(20))),
        ("PUT", Fault::Answer(409)),
        ("PUT", Fault::Answer(500)),
        ("PUT", Fault::Answer(503)),
        ("GET", Fault::LoseAnswer),
        ("GET", Fault::Answer(500)),
        ("DELETE", Fault::LoseAnswer),
        ("DELETE", Fault::Answer(503)),
    ];

    for (number, (method, fault)) in faults.into_iter().enumerate() {
        world.proxy.next(method, fault).next(method, fault);
        holds(objects.clone(), &format!("fault-{number}")).await;
        world.proxy.calm();
    }
    for seed in 1..=3 {
        world.proxy.storm(seed * 7919, 80);
        holds(objects.clone(), &format!("storm-{seed}")).await;
        world.proxy.calm();
    }
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_known_by_its_content_and_not_made_again() {
    let world = World::new().await;
    let objects = world.objects("state").await;
    world.proxy.next("PUT", Fault::LoseAnswer);

    let answer = objects.create("lease.json", b"ours").await.expect("an answer");

    assert_eq!(answer, None, "the repeated call is refused");
    assert_eq!(content(&*objects, "lease.json").await.as_deref(), Some(&b"ours"[..]));
    assert_eq!(world.proxy.seen("PUT"), 2);
}

#[tokio::test]
async fn a_conflict_of_two_writers_is_no_refusal_while_nothing_is_there() {
    let world = World::new().await;
    let objects = world.objects("state").await;
    world.proxy.next("PUT", Fault::Answer(409)).next("PUT", Fault::Answer(409));

    assert!(objects.create("a", b"ours").await.expect("an answer").is_some());
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out_before_its_first_use() {
    let world = World::new().await;
    let objects = world.objects("state").await;
    probe(&*objects).await.expect("conditions are held to");
    world.proxy.always("PUT", Fault::Unconditional);

    let failure = probe(&*objects).await.expect_err("refused");

    assert_eq!(failure.exit(), Exit::NotDone);
    assert_eq!(failure.what(), "this store cannot keep shared state");
    assert!(failure.causes()[0].contains("does not hold to `If-None-Match`"), "{:?}", failure.causes());
    world.proxy.calm();
    assert_eq!(objects.list("probe/").await.expect("listed"), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_had_is_told_and_never_taken_for_absent() {
    let world = World::new().await;
    let objects = world.objects("state").await;
    let elsewhere = world.objects("no-such-bucket").await;

    let missing = [
        elsewhere.get("identity.json").await.map(drop).expect_err("no bucket"),
        elsewhere.list("").await.map(drop).expect_err("no bucket"),
        elsewhere.create("a", b"x").await.map(drop).expect_err("no bucket"),
    ];
    world.proxy.next("GET", Fault::Answer(403));
    let denied = objects.get("identity.json").await.expect_err("denied");
    world.proxy.always("GET", Fault::LoseRequest);
    let silent = objects.get("identity.json").await.expect_err("nobody answers");

    for failure in missing {
        assert_eq!((failure.exit(), failure.causes()[0].as_str()), (Exit::Missing, "there is no such bucket"));
    }
    assert_eq!((denied.exit(), denied.causes()[0].as_str()), (Exit::Missing, "AccessDenied: invented"));
    assert_eq!(denied.what(), "cannot read `s3://state/team/dev/identity.json`");
    assert_eq!((silent.exit(), silent.kind()), (Exit::Platform, Class::Transient));
    world.proxy.calm();
    assert!(created(&*objects, "identity.json", b"x").await);
}

#[tokio::test]
async fn an_end_of_the_journal_counts_as_anchored_only_where_s3_says_that_it_keeps_it() {
    let world = World::new().await;
    let (open, locked) = (world.s3("state").await, world.s3("locked").await);
    let identity = commands::parsed();
    let ends = [7_u64, 12].map(|number| Anchor { number, digest: Digest::of(&number.to_be_bytes()) });

    let refused = tell_s3(&open, &identity, &ends[0]).await.expect_err("anybody could take it back");
    for end in &ends {
        assert_eq!(tell_s3(&locked, &identity, end).await.expect("kept"), None);
        assert_eq!(tell_s3(&locked, &identity, end).await.expect("told before"), None);
    }
    let loosely = tell_s3(&world.s3("loose").await, &identity, &ends[0]).await.expect("kept").expect("a warning");
    let told = told_s3(&locked, identity.id).await.expect("read");

    assert_eq!((refused.exit(), refused.what()), (Exit::NotDone, "the end of the journal is not anchored"));
    assert_eq!(refused.hints()[0], "turn on object lock with a default retention for the bucket of `audit.anchor.s3`");
    assert_eq!(told, ends);
    assert!(loosely.contains(" in the mode GOVERNANCE, which some may end early: "), "{loosely}");
}
