//! The Kubernetes API of the world's cluster: two questions over TLS, under a CA that the test made.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::lane::kept;
use crate::world::World;

/// Serves for as long as the lane lives.
pub fn serve(world: Arc<Mutex<World>>) {
    let read = |name: &str| std::fs::read(kept(name)).expect("made by the driver");
    let (chain, key) = (vec![CertificateDer::from(read("api.der"))], PrivateKeyDer::try_from(read("api-key.der")));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key.expect("a key"))
        .expect("a certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind(("0.0.0.0", 6443)).expect("nobody else is in this network");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, world) = (config.clone(), world.clone());
            std::thread::spawn(move || answer(stream, config, &world));
        }
    });
}

/// One request a connection; who goes away is let go.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, world: &Mutex<World>) -> Option<()> {
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config).ok()?, stream));
    let mut first = String::new();
    stream.read_line(&mut first).ok()?;
    let mut line = String::new();
    while stream.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1)?;
    let text = if path.starts_with("/readyz") { "ok".to_owned() } else { nodes(&*world.lock().ok()?).to_string() };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    let stream = stream.get_mut();
    stream.write_all((head + &text).as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn nodes(world: &World) -> Value {
    let cluster = &world.cluster;
    json!({ "items": cluster.members.keys().filter_map(|name| cluster.node(name)).collect::<Vec<_>>() })
}
