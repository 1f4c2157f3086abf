//! What each stop does to a child, and to those that are not meant.

use std::time::Duration;

use sre_provision::process::{Cancel, Ended, Invocation};

use crate::notes::until;
use crate::{World, notice, run};

/// Counts SIGINTs in the file `ints`, in the child and in a process of its group.
const COUNTS: &str =
    "trap 'echo child >>ints' INT; (trap 'echo other >>ints' INT; while [ ! -e go ]; do sleep 0.05; done) &
    echo 1 >begun; while [ ! -e go ]; do sleep 0.05; done; wait";

impl World {
    /// Runs a child and raises the stop `levels` times, each after the one before has been told.
    async fn stopped(&self, cancel: Cancel, levels: usize) -> (Ended, Vec<String>) {
        let (children, mut events) = self.children();
        let mut told = vec![];
        let invocation = Invocation { cancel, ..self.invocation(COUNTS) };
        let child = run(&children, invocation);
        let stops = async {
            let begun = self.path("begun");
            tokio::task::spawn_blocking(move || until("begun", || begun.exists())).await.expect("begun");
            for _ in 0..levels {
                self.stop.raise();
                let notice = tokio::time::timeout(Duration::from_millis(600), notice(&mut events)).await;
                told.extend(notice.ok().flatten());
            }
            std::fs::write(self.path("go"), "").expect("go");
        };
        let ((ended, _), ()) = tokio::join!(child, stops);
        (ended.expect("an end"), told)
    }

    fn ints(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("ints")).unwrap_or_default();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

#[tokio::test]
async fn the_first_stop_cancels_a_group_once_and_the_second_adds_nothing() {
    let world = World::new();

    let (ended, told) = world.stopped(Cancel::Group, 2).await;

    assert_eq!(ended.code, Some(0));
    assert_eq!(world.ints(), ["child", "other"]);
    assert_eq!(told, ["network-apply: cancelled; waiting for it to clean up"]);
}

#[tokio::test]
async fn the_first_stop_lets_a_child_finish_and_the_second_interrupts_it_alone_once() {
    let world = World::new();

    let (ended, told) = world.stopped(Cancel::Finish, 2).await;

    assert_eq!(ended.code, Some(0));
    assert_eq!(world.ints(), ["child"]);
    assert!(told[0].starts_with("network-apply: finishes first; "), "{told:?}");
    assert_eq!(told[1], "network-apply: interrupted");
}

#[tokio::test]
async fn the_first_stop_makes_the_stop_file_that_the_child_looks_for() {
    let world = World::new();

    let (_, told) = world.stopped(Cancel::StopFile(world.path("stop")), 1).await;

    assert!(world.path("stop").exists());
    assert_eq!(world.ints(), Vec::<String>::new());
    assert_eq!(told, ["network-apply: ends before its next task"]);
}

#[tokio::test]
async fn the_third_stop_kills_the_group() {
    let world = World::new();

    let (ended, told) = world.stopped(Cancel::Finish, 3).await;

    assert_eq!(ended.signal, Some(9));
    assert!(told[2].starts_with("network-apply: killed; "), "{told:?}");
}

#[tokio::test]
async fn after_a_stop_nothing_is_started() {
    let world = World::new();
    let (children, _events) = world.children();
    world.stop.raise();

    let (ended, _) = run(&children, world.invocation("touch begun")).await;

    assert!(ended.expect_err("cancelled").is_cancelled());
    assert!(!world.path("begun").exists());
}

#[tokio::test]
async fn a_part_that_is_stopped_interrupts_its_own_child_and_no_other() {
    let world = World::new();
    let (children, _events) = world.children();
    let part = world.stop.part();
    let (mine, other) = (children.under(&part), children.under(&world.stop.part()));
    let script = |name: &str| {
        format!("trap 'echo {name} >>ints' INT; echo 1 >begun-{name}; while [ ! -e go ]; do sleep 0.05; done")
    };
    let invocation = |name: &str| Invocation {
        slot: format!("{name}-apply"),
        cancel: Cancel::Group,
        ..world.invocation(&script(name))
    };

    let stop = async {
        let begun = ["mine", "other"].map(|name| world.path(&format!("begun-{name}")));
        let ints = world.path("ints");
        let both = move || begun.iter().all(|file| file.exists());
        tokio::task::spawn_blocking(move || until("both have begun", both)).await.expect("begun");
        part.raise();
        tokio::task::spawn_blocking(move || until("one is interrupted", || ints.exists())).await.expect("interrupted");
        std::fs::write(world.path("go"), "").expect("go");
    };
    let ((first, _), (second, _), ()) =
        tokio::join!(run(&mine, invocation("mine")), run(&other, invocation("other")), stop);

    assert_eq!((first.expect("an end").code, second.expect("an end").code), (Some(0), Some(0)));
    assert_eq!(world.ints(), ["mine"]);
}

#[tokio::test]
async fn a_supervisor_that_a_ctrl_c_reached_before_its_child_began_is_no_fault_of_the_tool() {
    let world = World::new();
    let supervisor = world.path("supervisor");
    let script = format!(
        "#!/bin/sh\ncat >/dev/null; cd {}; touch begun\nwhile [ ! -e go ]; do sleep 0.05; done\n",
        world.dir.path().display()
    );
    std::fs::write(&supervisor, script).expect("written");
    std::fs::set_permissions(&supervisor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let (children, _events) = world.children();
    let children = children.with_supervisor(supervisor);

    let stop = async {
        let begun = world.path("begun");
        tokio::task::spawn_blocking(move || until("begun", || begun.exists())).await.expect("begun");
        world.stop.raise();
        std::fs::write(world.path("go"), "").expect("go");
    };
    let ((ended, _), ()) = tokio::join!(run(&children, world.invocation("true")), stop);

    let failure = ended.expect_err("not started");
    assert!(failure.is_cancelled(), "{failure}");
    assert_eq!(failure.what(), "stopped before `network-apply` was started");
    assert_eq!(world.leftovers(), 0);
}
