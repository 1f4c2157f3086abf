//! Tools that do what no tool should: print without end, spell secrets in every way, leave cores.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use base64::Engine as _;
use sre_provision::process::HERE;
use sre_provision::secret::Secret;

use crate::{World, run};

/// A value of each kind that the program holds, and one with letters that every format spells otherwise.
const PLANTED: [(&str, &str); 5] = [
    ("a join token", "K10c0ffee0123456789abcdef::server:4f1c9ad27e5b8063"),
    (
        "a private key",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBa1b2c3d4e5f6a7b8c9d0\nAoGBAOq9s8d7f6g5h4j3k2l1\n-----END EC PRIVATE KEY-----\n",
    ),
    ("a kubeconfig", "client-key-data: LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0t\nserver: https://dev:6443\n"),
    ("a key of the platform", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ("a passphrase", "pa\"ss\\wo&rd <ü> with blanks"),
];

/// What of a value must be nowhere: itself, its telling lines, and their spellings in other programs' words.
fn traces(value: &str) -> Vec<String> {
    let lines = value.lines().filter(|line| line.len() >= 16 && !line.starts_with("-----"));
    let pieces: Vec<&str> = lines.chain([value.trim()]).collect();
    let mut traces = vec![];
    for piece in pieces {
        let encoded = base64::prelude::BASE64_STANDARD.encode(piece);
        let numbers = piece.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>();
        traces.extend([piece.to_owned(), hex::encode(piece), hex::encode_upper(piece), numbers.join(", ")]);
        // The last group of base64 depends on what stands behind the value.
        traces.push(encoded.trim_end_matches('=')[..encoded.len() - 4].to_owned());
    }
    traces
}

/// Every planted value as Python spells it; each is on its own line, base64 also in lines of 20 letters.
const SPELLER: &str = r#"
import base64, json, os, sys, urllib.parse
for name in sorted(os.environ):
    if not name.startswith("PLANTED"):
        continue
    value = os.environ[name]
    raw = value.encode()
    encoded = base64.b64encode(raw).decode()
    for text in (value, json.dumps(value), json.dumps({"log": json.dumps(value)[1:-1]}, ensure_ascii=False), repr(value),
                 encoded, base64.urlsafe_b64encode(raw).decode(), base64.b64encode(b"u:" + raw).decode(),
                 "\n".join(encoded[at:at + 20] for at in range(0, len(encoded), 20)), raw.hex(), raw.hex().upper(),
                 urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), ", ".join(map(str, raw))):
        print("said", text, flush=True)
        print("warned", text, file=sys.stderr, flush=True)
    with open(os.environ["SPOOL"] + "/events", "a") as events:
        print(json.dumps({"event": "host", "msg": value}), file=events)
for of in ("environ", "cmdline"):
    try:
        sys.stdout.buffer.write(open(f"/proc/{os.getppid()}/{of}", "rb").read().replace(b"\0", b" ") + b"\n")
    except PermissionError:
        pass  # only root may
"#;

#[tokio::test]
async fn planted_values_of_every_kind_are_in_no_log_line_event_record_or_foreign_process() {
    let world = World::new();
    let (children, mut events) = world.children();
    std::fs::write(world.path("speller"), SPELLER).expect("written");
    let mut invocation = world.invocation("");
    invocation.program = "/usr/bin/env".into();
    invocation.args = ["python3", "speller"].map(Into::into).to_vec();
    invocation.env.insert("SPOOL".to_owned(), HERE.into());
    invocation.env.insert("PYTHONUTF8".to_owned(), "1".into());
    for (index, (_, value)) in PLANTED.iter().enumerate() {
        invocation.env.insert(format!("PLANTED{index}"), (*value).into());
    }
    invocation.redact = PLANTED.iter().map(|(_, value)| Secret::new(value.as_bytes())).collect();

    let (ended, lines) = run(&children, invocation).await;

    let ended = ended.expect("an end");
    assert_eq!(ended.code, Some(0), "{lines:?}");
    children.discard(&ended).expect("discarded");
    let mut places = BTreeMap::from([
        ("the lines".to_owned(), lines.join("\n")),
        (
            "the events".to_owned(),
            std::iter::from_fn(|| events.try_recv()).map(|event| format!("{event:?}\n")).collect(),
        ),
        ("what is told in the end".to_owned(), format!("{ended:?} {}", ended.how())),
    ]);
    for entry in walkdir::WalkDir::new(world.dir.path()).into_iter().map(|entry| entry.expect("listed")) {
        if entry.file_type().is_file() {
            let text = String::from_utf8_lossy(&std::fs::read(entry.path()).expect("read")).into_owned();
            places.insert(entry.path().display().to_string(), text);
        }
    }
    assert!(places.len() >= 5 && lines.len() > 100, "it looked at {:?}, {} lines", places.keys(), lines.len());
    let found: Vec<String> = PLANTED
        .iter()
        .flat_map(|(kind, value)| traces(value).into_iter().map(move |trace| (kind, trace)))
        .flat_map(|(kind, trace)| {
            let hit = places.iter().filter(|(_, text)| text.contains(&trace)).map(|(place, _)| place.clone());
            hit.map(|place| format!("{kind} as {trace} in {place}")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(world.leftovers(), 0);
}

#[tokio::test]
async fn output_without_end_costs_bounded_memory_and_a_bounded_log() {
    let world = World::new();
    let (children, _events) = world.children();
    // What is read is kept by its supervisor alone: its memory at its highest, as the child sees it in the end.
    let script = "head -c 80000000 /dev/zero | tr '\\0' 'x' | fold -w 4000; echo; \
                  head -c 20000000 /dev/zero | tr '\\0' 'y'; echo; grep VmHWM /proc/$PPID/status >highest; echo last";
    let mut invocation = world.invocation(script);
    invocation.redact = vec![Secret::new("K10c0ffee0123456789abcdef::server:4f1c9ad27e5b8063")];
    let mut seen = (0usize, String::new());

    let ended = children
        .run(invocation, &mut |_, line| {
            seen.0 += line.len();
            line.clone_into(&mut seen.1);
        })
        .await
        .expect("an end");

    assert_eq!(ended.code, Some(0));
    assert_eq!(seen.1, "last", "the end is kept");
    assert!(seen.0 > 80_000_000, "{} bytes were passed on", seen.0);
    let highest = std::fs::read_to_string(world.path("highest")).expect("its memory");
    let kib: u64 = highest.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    assert!(kib < 64 << 10, "the supervisor took {kib} KiB");
    let log = std::fs::metadata(world.path("runs/0001/network.log")).expect("a log").len();
    assert!(log < 70 << 20, "the log has {log} bytes");
    let text = world.log();
    assert!(
        text.contains("lines left out: the log is full") && text.contains("\nlast\n"),
        "{}",
        &text[text.len() - 300..]
    );
}

#[tokio::test]
async fn a_child_leaves_no_core_and_its_files_to_its_owner_alone() {
    let world = World::new();
    let (children, _events) = world.children();

    let (ended, lines) = run(&children, world.invocation("ulimit -c; ulimit -Hc; touch made; kill -ABRT $$")).await;

    assert_eq!(ended.expect("an end").signal, Some(6));
    assert_eq!(lines, ["Stdout 0", "Stdout 0"]);
    let cores = Command::new("find").arg(world.dir.path()).args(["-name", "core*"]).stderr(Stdio::null()).output();
    assert_eq!(String::from_utf8_lossy(&cores.expect("find").stdout), "");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(world.path("made")).expect("made").permissions());
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn the_program_itself_leaves_no_core_and_lets_no_process_of_its_user_look_into_it() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().expect("a directory");
    let is_root = std::fs::metadata("/proc/self").expect("this process").uid() == 0;
    // Root may look into everything; whoever else starts it may not, and `/proc` shows that by its owner.
    let before: &[&str] = if is_root { &["setpriv", "--reuid=65534", "--clear-groups"] } else { &["env"] };
    // A copy that anybody can reach; as a supervisor it waits for its letter.
    let program = dir.path().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_sre-provision"), &program).expect("copied");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), everybody).expect("mode");
    let mut waiting = Command::new(before[0])
        .args(&before[1..])
        .arg(&program)
        .arg("__supervise")
        .arg(dir.path().join("record"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    let of = |name: &str| format!("/proc/{}/{name}", waiting.id());
    let seen = || {
        let limits = std::fs::read_to_string(of("limits")).unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        let core = core.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(" ");
        let is_it = std::fs::read_link(of("exe")).is_ok_and(|exe| exe == program);
        (is_it || !is_root, core, std::fs::metadata(of("status")).map_or(1, |status| status.uid()))
    };
    let wanted = (true, "0 0".to_owned(), 0);

    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while seen() != wanted && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    let seen = seen();
    waiting.kill().expect("killed");
    waiting.wait().expect("reaped");
    assert_eq!(seen, wanted);
}
