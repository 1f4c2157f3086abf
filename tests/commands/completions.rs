//! `completions`.

use crate::World;

#[test]
fn completions_know_every_command_and_an_unknown_shell_is_a_mistake_in_the_command_line() {
    let world = World::new();

    let bash = world.run(&["completions", "bash"]);
    let unknown = world.run(&["completions", "cmd"]);

    assert_eq!(bash.code, 0, "{}", bash.err);
    for command in ["up", "down", "plan", "kubeconfig", "history"] {
        assert!(bash.out.contains(&format!("sre__provision__subcmd__{command}")), "{command}: {}", bash.out);
    }
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert!(unknown.err.contains("possible values: bash,"), "{}", unknown.err);
}

#[test]
fn each_shell_gets_a_script_of_its_own_and_a_missing_one_is_a_mistake_in_the_command_line() {
    let world = World::new();

    for (shell, sign) in [("zsh", "#compdef sre-provision"), ("fish", "complete -c sre-provision")] {
        let ended = world.run(&["completions", shell]);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{shell}");
        assert!(ended.out.contains(sign), "{shell}: {}", ended.out);
    }
    let missing = world.run(&["completions"]);
    assert_eq!((missing.code, missing.out.as_str()), (2, ""));
}
