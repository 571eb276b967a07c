//! A proxy that does harm: between kairn and a real registry, slow, cutting, failing or lying as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the proxy does to what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Nothing.
    None,
    /// No answer ever comes.
    Silence,
    /// Every answer is `500`.
    Error,
    /// Every answer ends after some bytes.
    Cut(usize),
    /// Blobs have another byte in their middle.
    Lie,
    /// Every byte of a blob takes a second.
    Drip,
}

/// A running proxy.
pub(crate) struct Proxy {
    port: u16,
    harm: Arc<Mutex<Harm>>,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one before a server at `host:port`.
    pub(crate) fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = Self { port, harm: Arc::new(Mutex::new(Harm::None)), requests: Arc::default() };
        let (harm, requests, upstream) =
            (Arc::clone(&proxy.harm), Arc::clone(&proxy.requests), upstream.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (harm, requests, upstream) = (Arc::clone(&harm), Arc::clone(&requests), upstream.clone());
                std::thread::spawn(move || {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let harm = *harm.lock().expect("no holder panics");
                    let _ = serve(client, &upstream, port, harm);
                });
            }
        });
        proxy
    }

    /// What it does from now on.
    pub(crate) fn does(&self, harm: Harm) {
        *self.harm.lock().expect("no holder panics") = harm;
    }

    /// How many requests came so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Serves one request; the connection ends with it.
fn serve(client: TcpStream, upstream: &str, port: u16, harm: Harm) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if lower.starts_with("connection:") {
            continue;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut client = client;
    match harm {
        Harm::Silence => {
            std::thread::sleep(Duration::from_mins(10));
            return Ok(());
        }
        Harm::Error => {
            std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
            return client.write_all(
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        Harm::None | Harm::Cut(_) | Harm::Lie | Harm::Drip => {}
    }
    let is_blob = head.starts_with("GET ") && head.contains("/blobs/sha256:");
    let is_head = head.starts_with("HEAD ");
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    let mut body = reader.take(length);
    std::io::copy(&mut body, &mut server)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    // Uploads go on at an address of the registry's own.
    let text = String::from_utf8_lossy(&answer[..split]).replace(upstream, &format!("127.0.0.1:{port}"));
    let mut answer = [text.as_bytes(), &answer[split..]].concat();
    let start = text.len();
    if harm == Harm::Lie && is_blob && !is_head && start < answer.len() {
        let middle = start + (answer.len() - start) / 2;
        answer[middle] ^= 0xff;
    }
    if let Harm::Cut(bytes) = harm {
        answer.truncate(bytes);
    }
    if harm == Harm::Drip && is_blob {
        client.write_all(&answer[..start])?;
        for byte in &answer[start..] {
            client.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_secs(1));
        }
        return Ok(());
    }
    client.write_all(&answer)
}
