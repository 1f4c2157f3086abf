//! Stands between the program and its S3 and loses, delays, doubles and invents what passes, one request at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    LoseRequest,
    /// It is carried out, and its answer never arrives.
    LoseAnswer,
    /// It is answered late.
    Delay(Duration),
    /// It arrives twice; the second answer is the one that is given.
    Twice,
    /// It never arrives and is answered with this status.
    Answer(u16),
    /// It arrives without its conditions, as at a store that ignores them.
    Unconditional,
    /// It is carried out and never answered, for as long as the caller waits.
    Hold,
}

/// What happens to the requests to come, by their method, and to those after them.
#[derive(Default)]
struct Script {
    next: VecDeque<(&'static str, Fault)>,
    always: Option<(&'static str, Fault)>,
    /// Of a storm: the state of its generator, and how many of a hundred requests it spares.
    storm: Option<(u64, u64)>,
    seen: Vec<String>,
    /// How many requests of these methods pass before one is held, and who is told.
    hold: Option<(&'static [&'static str], usize, Arc<Notify>)>,
}

#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    script: Arc<Mutex<Script>>,
}

impl Proxy {
    pub async fn before(s3: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = Self { port, script: Arc::default() };
        let (accepting, turn) = (proxy.clone(), Arc::new(tokio::sync::Mutex::new(())));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (proxy, turn) = (accepting.clone(), Arc::clone(&turn));
                tokio::spawn(async move { drop(proxy.pass(client, s3, &turn).await) });
            }
        });
        proxy
    }

    /// What happens to the next request of this method.
    pub fn next(&self, method: &'static str, fault: Fault) -> &Self {
        self.script.lock().expect("a script").next.push_back((method, fault));
        self
    }

    /// What happens to all requests of this method.
    pub fn always(&self, method: &'static str, fault: Fault) {
        self.script.lock().expect("a script").always = Some((method, fault));
    }

    /// From now on most requests pass and the others meet one of all faults, in an order that follows from the seed.
    pub fn storm(&self, seed: u64, spared: u64) {
        self.script.lock().expect("a script").storm = Some((seed | 1, spared));
    }

    /// Holds a request of these methods when so many have passed; tells when that one was carried out.
    pub fn hold(&self, methods: &'static [&'static str], passing: usize) -> Arc<Notify> {
        let held = Arc::new(Notify::new());
        self.script.lock().expect("a script").hold = Some((methods, passing, Arc::clone(&held)));
        held
    }

    pub fn calm(&self) {
        *self.script.lock().expect("a script") = Script::default();
    }

    /// How many of those that were told by [`next`](Self::next) have not come yet.
    pub fn pending(&self) -> usize {
        self.script.lock().expect("a script").next.len()
    }

    /// How many requests of this method came.
    pub fn seen(&self, method: &str) -> usize {
        let script = self.script.lock().expect("a script");
        script.seen.iter().filter(|seen| *seen == method).count()
    }

    fn fault(&self, method: &str) -> Option<Fault> {
        let mut script = self.script.lock().expect("a script");
        script.seen.push(method.to_owned());
        if let Some((methods, passing, _)) = script.hold.as_mut().filter(|(methods, ..)| methods.contains(&method)) {
            let is_this = *passing == 0;
            *methods = if is_this { &[] } else { *methods };
            *passing = passing.saturating_sub(1);
            if is_this {
                return Some(Fault::Hold);
            }
        }
        if let Some(index) = script.next.iter().position(|(of, _)| *of == method) {
            return script.next.remove(index).map(|(_, fault)| fault);
        }
        if let Some((_, fault)) = script.always.filter(|(of, _)| *of == method) {
            return Some(fault);
        }
        let (state, spared) = script.storm.as_mut()?;
        // xorshift64: the same seed gives the same storm.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        if *state % 100 < *spared {
            return None;
        }
        let all = [
            Fault::LoseRequest,
            Fault::LoseAnswer,
            Fault::Delay(Duration::from_millis(50)),
            Fault::Twice,
            Fault::Answer(409),
            Fault::Answer(500),
            Fault::Answer(503),
        ];
        let fault = all[(*state / 100 % all.len() as u64) as usize];
        // Only writers can come into each other's way.
        Some(if fault == Fault::Answer(409) && method != "PUT" { Fault::Answer(500) } else { fault })
    }

    async fn pass(&self, mut client: TcpStream, s3: u16, turn: &tokio::sync::Mutex<()>) -> std::io::Result<()> {
        let request = read_request(&mut client).await?;
        let method = String::from_utf8_lossy(&request).split(' ').next().unwrap_or_default().to_owned();
        let fault = self.fault(&method);
        let answer = {
            // moto looks and writes in two steps; S3 does not.
            let _turn = turn.lock().await;
            match fault {
                Some(Fault::LoseRequest) => return Ok(()),
                Some(Fault::Answer(status)) => invented(status),
                Some(Fault::Twice) => {
                    ask(&request, s3).await?;
                    ask(&request, s3).await?
                }
                Some(Fault::Unconditional) => ask(&without_conditions(&request), s3).await?,
                Some(Fault::LoseAnswer | Fault::Delay(_) | Fault::Hold) | None => ask(&request, s3).await?,
            }
        };
        match fault {
            Some(Fault::LoseAnswer) => return Ok(()),
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Hold) => {
                let held = self.script.lock().expect("a script").hold.take();
                held.iter().for_each(|(.., held)| held.notify_one());
                // Nothing more comes but the end.
                return client.read(&mut [0]).await.map(drop);
            }
            Some(Fault::LoseRequest | Fault::Twice | Fault::Answer(_) | Fault::Unconditional) | None => {}
        }
        client.write_all(&answer).await
    }
}

/// A whole request, told to close its connection.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = client.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let mut request = head.into_bytes();
                request.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
                request.extend_from_slice(&bytes[end + 4..end + 4 + length]);
                return Ok(request);
            }
        }
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn without_conditions(request: &[u8]) -> Vec<u8> {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let is_condition = |line: &str| line.to_lowercase().starts_with("if-");
    let kept: Vec<&str> = head.split("\r\n").filter(|line| !is_condition(line)).collect();
    [kept.join("\r\n").as_bytes(), &request[end..]].concat()
}

async fn ask(request: &[u8], s3: u16) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", s3)).await?;
    server.write_all(request).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

fn invented(status: u16) -> Vec<u8> {
    let code = match status {
        403 => "AccessDenied",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        503 => "SlowDown",
        _ => "InternalError",
    };
    let body = format!("<Error><Code>{code}</Code><Message>invented</Message></Error>");
    let length = body.len();
    format!("HTTP/1.1 {status} Invented\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}
