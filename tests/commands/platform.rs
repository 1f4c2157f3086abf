//! A scripted AWS that knows who asks and has nothing; it remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Answers for as long as the test runs.
pub struct Platform {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Platform {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = noted.clone();
                std::thread::spawn(move || serve(stream, &noted));
            }
        });
        Self { endpoint, asked }
    }

    /// What leads the program here.
    pub fn variables(&self) -> [(&str, &str); 3] {
        [("AWS_ENDPOINT_URL", &self.endpoint), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]
    }

    /// The actions so far, each once, sorted.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().expect("nobody panics with it").clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

/// One request a connection; who goes away is let go.
fn serve(stream: TcpStream, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut length, mut target, mut line) = (0, String::new(), String::new());
    while stream.read_line(&mut line).ok()? > 2 {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "x-amz-target" => target = value.trim().to_owned(),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or(&target).to_owned();
    let text = if target.is_empty() { xml(&action) } else { "{}".to_owned() };
    asked.lock().ok()?.push(action);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    stream.get_mut().write_all((head + &text).as_bytes()).ok()
}

/// The answer in EC2's form and in that of the other services at once: each reads its own and finds nothing in it.
fn xml(action: &str) -> String {
    let result = match action {
        "GetCallerIdentity" => {
            "<Arn>arn:aws:iam::123456789012:user/tester</Arn><UserId>AIDA</UserId><Account>123456789012</Account>"
        }
        "ListRoles" => "<Roles/>",
        "ListInstanceProfiles" => "<InstanceProfiles/>",
        _ => "",
    };
    format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>")
}
