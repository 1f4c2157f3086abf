//! `images`, on a platform that has none of ours.

use serde_json::json;
use sre_provision::images::{Removing, Shelf};
use sre_provision::journal::{Actor, Lease};

use crate::World;

#[test]
fn where_there_are_no_images_none_are_listed_verified_or_pruned() {
    let world = World::new().on_a_platform();

    let listed = world.run(&["images", "list"]);
    let verified = world.run(&["images", "verify"]);
    let pruned = world.run(&["images", "prune", "--yes"]);
    let (code, data) = world.json(&["images", "list", "dev"]);

    assert_eq!((listed.code, listed.out.as_str()), (0, "there are no images\n"));
    assert_eq!((verified.code, verified.out.as_str()), (0, "there are no images\n"));
    assert_eq!((pruned.code, pruned.out.as_str()), (0, "nothing to remove\n"));
    assert_eq!((code, data), (0, json!({ "event": "images", "images": [], "not_looked_at": [] })));
}

#[test]
fn a_file_that_cannot_be_read_hides_no_other_and_ends_a_prune_before_it_asks_for_images() {
    let world = World::new().on_a_platform();
    std::fs::write(world.path("environments/two.yaml"), "platform: aws\n").expect("written");

    let listed = world.run(&["images", "list"]);
    let before = world.platform.as_ref().expect("one").in_order().len();
    let pruned = world.run(&["images", "prune", "--yes"]);

    assert_eq!((listed.code, listed.out.as_str()), (3, "there are no images\n"));
    assert!(listed.err.starts_with("not looked at: two: environments/two.yaml has "), "{}", listed.err);
    assert_eq!(pruned.code, 3);
    let told = "error: images prune: nothing was removed, because not everything could be looked at\n";
    assert!(pruned.err.starts_with(told), "{}", pruned.err);
    let asked = world.platform.as_ref().expect("one").in_order().split_off(before);
    assert!(!asked.contains(&"DescribeImages".to_owned()), "{asked:?}");
}

#[test]
fn an_image_that_is_not_ours_is_neither_verified_nor_promoted() {
    let world = World::new().on_a_platform();
    let told = "error: there is no image `ami-1` of ours\nhint:  sre-provision images list   tells which there are";

    world.run(&["images", "verify", "ami-1"]).fails(6, told);
    world.run(&["images", "promote", "ami-1", "--to", "stable"]).fails(6, told);
}

#[test]
fn a_channel_that_leads_nowhere_or_cannot_be_is_told() {
    let world = World::new().on_a_platform();

    let nowhere = world.run(&["images", "rollback", "stable"]);
    let odd = world.run(&["images", "promote", "ami-1", "--to", "../x"]);

    assert_eq!(nowhere.code, 1);
    assert!(nowhere.err.starts_with("error: there is no channel `stable`\n"), "{}", nowhere.err);
    assert_eq!(odd.code, 2);
    assert!(odd.err.starts_with("error: `../x` cannot be the name of a channel\n"), "{}", odd.err);
}

#[test]
fn nothing_is_built_where_no_environment_is_named_or_one_that_does_not_exist() {
    let world = World::new();

    let nobody = world.run(&["images", "build"]);
    let unknown = world.run(&["images", "build", "prod"]);

    assert_eq!(nobody.code, 2);
    assert!(nobody.err.contains("ENVIRONMENT"), "{}", nobody.err);
    unknown.fails(3, "error: there is no environment `prod`\nhint:  environments/ holds: dev");
}

#[test]
fn while_a_run_holds_an_environment_nothing_is_pruned_and_all_are_free_afterwards() {
    let world = World::made().on_a_platform();
    let (state, _) = world.state();
    let lease = Lease::take(&state, Actor::here()).expect("free");

    let held = world.run(&["images", "prune", "--yes"]);
    drop(lease);
    let free = world.run(&["images", "prune", "--yes"]);

    assert_eq!((held.code, held.out.as_str()), (8, ""));
    assert!(held.err.contains("`dev` is held by "), "{}", held.err);
    assert!(held.err.contains("nothing was removed: a run may be about to use any image"), "{}", held.err);
    assert_eq!((free.code, free.out.as_str()), (0, "nothing to remove\n"));
    drop(Lease::take(&state, Actor::here()).expect("free again"));
}

#[tokio::test]
async fn a_removal_that_was_begun_is_forgotten_where_its_image_is_there_again() {
    let world = World::made().on_a_platform();
    let shelf = Shelf::local(&world.path(".sre-provision/store/images"));
    let [account, region, image, name] = ["123456789012", "eu-central-1", "ami-1", "sre-node"].map(str::to_owned);
    let begun = Removing { account, region, image, name, snapshots: vec!["snap-1".to_owned()] };
    shelf.begin_removing(&begun).await.expect("written");

    let dry = world.run(&["images", "prune", "--dry-run"]);
    let kept = shelf.removing().await.expect("read");
    let pruned = world.run(&["images", "prune", "--yes"]);

    assert_eq!((dry.code, kept), (0, vec![begun]));
    assert_eq!((pruned.code, pruned.out.as_str()), (0, "nothing to remove\n"));
    assert_eq!(shelf.removing().await.expect("read"), []);
    let asked = world.platform.as_ref().expect("one").asked();
    assert!(asked.iter().all(|action| action != "DeregisterImage" && action != "DeleteSnapshot"), "{asked:?}");
}
