//! How the parts of the world talk: one line of JSON to the lane that holds it, one line back.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// In memory of the lane's own: every lane has another one there.
pub const SHM: &str = "/dev/shm";
pub const SOCKET: &str = "/dev/shm/world.sock";
/// The workspace of the program under test.
pub const WORKSPACE: &str = "/dev/shm/w";

/// Asks the world; what it refuses comes back as the text that says why.
pub fn ask(request: &Value) -> Result<Value, String> {
    let lost = |error: std::io::Error| format!("the world does not answer: {error}");
    let mut stream = UnixStream::connect(SOCKET).map_err(lost)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(lost)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(lost)?;
    let mut answer: Value = serde_json::from_str(&line).map_err(|error| format!("no answer to {request}: {error}"))?;
    match answer.get("refused").and_then(Value::as_str) {
        Some(why) => Err(why.to_owned()),
        None => Ok(answer["ok"].take()),
    }
}

/// A point that a scripted tool passes; the world may want the tool to end there.
pub fn pass(point: &str) {
    let answer = ask(&json!({ "do": "pass", "point": point }));
    if answer.is_ok_and(|answer| answer == "die") {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
