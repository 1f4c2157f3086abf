//! Servers that the files of a bundle come from, over HTTP or TLS, and a proxy before them. Each remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Answers for as long as the test runs.
pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// The files of a directory by their last name, for whoever asks over HTTP.
    pub fn plain(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self::start(move |stream, asked| _ = answer(stream, &dir, asked))
    }

    /// As [`plain`](Self::plain), over TLS and called `localhost`, under the CA in `ca.pem` of `keys`, which this makes.
    pub fn with_tls(dir: &Path, keys: &Path) -> Self {
        certificates(keys);
        let read = |name: &str| std::fs::read(keys.join(name)).expect("made");
        let (chain, key) = (vec![CertificateDer::from(read("web.der"))], PrivateKeyDer::try_from(read("web-key.der")));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(chain, key.expect("a key"))
            .expect("a certificate");
        let (dir, config) = (dir.to_owned(), Arc::new(config));
        Self::start(move |stream, asked| {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            _ = answer(&mut stream, &dir, asked);
            stream.conn.send_close_notify();
            _ = stream.flush();
        })
    }

    /// Leads on whoever asks for a way to `localhost`.
    pub fn proxy() -> Self {
        Self::start(|stream, asked| _ = lead_on(stream, asked))
    }

    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<String>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, serve) = (Arc::new(Mutex::new(Vec::new())), Arc::new(serve));
        let shared = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, serve) = (shared.clone(), serve.clone());
                std::thread::spawn(move || serve(stream, &asked));
            }
        });
        Self { port, asked }
    }

    /// What it was asked so far: method and target.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

/// Method and target of a request; its head is read to the end.
fn request(stream: &mut impl BufRead, asked: &Mutex<Vec<String>>) -> Option<(String, String)> {
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).ok()?;
    while stream.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let (method, rest) = first.split_once(' ')?;
    let target = rest.split(' ').next()?;
    asked.lock().ok()?.push(format!("{method} {target}"));
    Some((method.to_owned(), target.to_owned()))
}

/// One request a connection. A `+` in a target is a space, as it is for object stores: such a file is not there.
fn answer(stream: impl Read + Write, dir: &Path, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (method, target) = request(&mut stream, asked)?;
    let file: PathBuf = dir.join(target.rsplit('/').next()?);
    let found = std::fs::read(file).ok().filter(|_| !target.contains('+'));
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let body = found.unwrap_or_default();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let stream = stream.get_mut();
    stream.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        stream.write_all(&body).ok()?;
    }
    stream.flush().ok()
}

fn lead_on(stream: TcpStream, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut near = BufReader::new(stream);
    let (method, target) = request(&mut near, asked)?;
    let near = near.into_inner();
    let port = target.strip_prefix("localhost:").filter(|_| method == "CONNECT")?;
    let far = TcpStream::connect(("127.0.0.1", port.parse().ok()?)).ok()?;
    (&near).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut from_far, mut to_near) = (far.try_clone().ok()?, near.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut from_far, &mut to_near));
    std::io::copy(&mut &near, &mut &far).ok().map(drop)
}

/// A CA in `ca.pem`, and a certificate of `localhost` under it.
fn certificates(dir: &Path) {
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
    openssl(dir, &[&new[..], &["-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=ca"]].concat());
    let web = ["-keyout", "web-key.pem", "-out", "web.pem", "-subj", "/CN=localhost", "-CA", "ca.pem"];
    let more = ["-CAkey", "ca-key.pem", "-addext", "subjectAltName=DNS:localhost"];
    openssl(dir, &[&new[..], &web, &more, &["-addext", "basicConstraints=critical,CA:FALSE"]].concat());
    openssl(dir, &["x509", "-in", "web.pem", "-outform", "DER", "-out", "web.der"]);
    let to = ["-outform", "DER", "-out", "web-key.der"];
    openssl(dir, &[&["pkcs8", "-topk8", "-nocrypt", "-in", "web-key.pem"][..], &to].concat());
}

pub fn openssl(dir: &Path, args: &[&str]) {
    let output = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
