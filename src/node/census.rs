//! What a node says of itself in one script: asked once per run, so that a run that changes nothing costs one round
//! trip per node.
//!
//! `node/` asks what every machine can answer; `rke2/` and `compliance/` bring their questions, and read the answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::failure::{Exit, Failure};
use crate::node::connection::Connection;

/// Walking file modes on a slow disk may take a while.
const DEADLINE: Duration = Duration::from_secs(60);
const BEGIN: &str = "@sre-begin";
const END: &str = "@sre-end";

/// A piece of POSIX shell that answers one question on stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub name: &'static str,
    pub script: String,
}

/// What a question's script wrote, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub text: String,
}

/// What a node said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Changes with every boot.
    pub boot_id: String,
    pub hostname: String,
    /// Free bytes of the file system that holds `/var/lib`.
    pub free: u64,
    answers: BTreeMap<String, Answer>,
}

impl Census {
    /// The answer to a question; `None` when it was not asked.
    pub fn answer(&self, question: &str) -> Option<&Answer> {
        self.answers.get(question)
    }

    /// Reads what the script of [`script`] wrote.
    pub(super) fn read(name: &str, text: &str) -> Result<Self, Failure> {
        let mut answers = answers(text);
        let node = answers.remove("node").map(|answer| answer.text).unwrap_or_default();
        let mut lines = node.lines().map(str::trim);
        let free = |kib: &str| kib.parse::<u64>().ok()?.checked_mul(1024);
        match (lines.next(), lines.next(), lines.next().and_then(free)) {
            (Some(boot_id), Some(hostname), Some(free)) => {
                Ok(Self { boot_id: boot_id.to_owned(), hostname: hostname.to_owned(), free, answers })
            }
            _ => Err(Failure::new(Exit::Tool, format!("`{name}` did not answer what it is"))
                .because(format!("it said `{}`", node.trim()))),
        }
    }
}

/// Asks a machine its own question and these.
pub(super) async fn ask(connection: &Connection, questions: &[Question]) -> Result<Census, Failure> {
    let output = connection.run_within(&script(questions), true, DEADLINE).await?;
    Census::read(connection.name(), &output.stdout)
}

fn script(questions: &[Question]) -> String {
    let own = "cat /proc/sys/kernel/random/boot_id\nhostname 2>/dev/null || cat /proc/sys/kernel/hostname\n\
               df -Pk /var/lib | awk 'NR == 2 { print $4 }'";
    let mut text = String::new();
    let all = std::iter::once(("node", own)).chain(questions.iter().map(|ask| (ask.name, ask.script.as_str())));
    for (name, script) in all {
        // Writing to a String cannot fail. The subshell keeps one question's variables and exit from the next.
        let _ = write!(text, "echo '{BEGIN} {name}'\n(\n{script}\n)\nprintf '\\n{END} %s\\n' $?\n");
    }
    text
}

fn answers(text: &str) -> BTreeMap<String, Answer> {
    let mut answers = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(BEGIN) {
            open = Some((name.trim().to_owned(), String::new()));
        } else if let Some(code) = line.strip_prefix(END) {
            if let Some((name, text)) = open.take() {
                let code = code.trim().parse().unwrap_or(-1);
                answers.insert(name, Answer { code, text: text.trim_end().to_owned() });
            }
        } else if let Some((_, text)) = &mut open {
            text.push_str(line);
            text.push('\n');
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "@sre-begin node\n4b1d\nserver-1\n2048\n\n@sre-end 0\n@sre-begin rke2\nunit=active\n\n@sre-end 0\n\
                        @sre-begin compliance\n\n@sre-end 3\n";

    #[test]
    fn each_question_has_its_own_answer_and_exit_code() {
        let census = Census::read("server-1", SAID).expect("a census");

        assert_eq!((census.boot_id.as_str(), census.hostname.as_str(), census.free), ("4b1d", "server-1", 2 << 20));
        assert_eq!(census.answer("rke2"), Some(&Answer { code: 0, text: "unit=active".to_owned() }));
        assert_eq!(census.answer("compliance").map(|answer| answer.code), Some(3));
        assert_eq!(census.answer("other"), None);
    }

    #[test]
    fn a_machine_that_tells_more_room_than_there_can_be_has_no_census() {
        let told = |free: u64| format!("@sre-begin node\nboot\nserver-1\n{free}\n\n@sre-end 0\n");

        assert_eq!(Census::read("server-1", &told(7)).expect("a census").free, 7 << 10);
        let failure = Census::read("server-1", &told(u64::MAX)).expect_err("refused");

        assert_eq!(failure.what(), "`server-1` did not answer what it is");
    }

    #[test]
    fn a_machine_that_does_not_say_what_it_is_has_no_census() {
        let failure = Census::read("server-1", "This account is not available.\n").expect_err("no census");

        assert_eq!(failure.what(), "`server-1` did not answer what it is");
    }

    #[test]
    fn one_question_cannot_end_the_script_of_the_next() {
        let text = script(&[
            Question { name: "a", script: "exit 4".to_owned() },
            Question { name: "b", script: "echo b".to_owned() },
        ]);

        assert!(text.contains("echo '@sre-begin a'\n(\nexit 4\n)\nprintf '\\n@sre-end %s\\n' $?\n"), "{text}");
    }
}
