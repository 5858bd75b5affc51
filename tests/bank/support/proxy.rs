//! A relay between a client and a server, which breaks connections as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to a connection.
pub(crate) enum Fault {
    /// The server hears all, the client hears nothing, and it breaks when the test says so.
    Mute(Receiver<()>),
    /// It breaks when the server has said so many bytes.
    CutAfter(usize),
}

pub(crate) struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Relays to a server. The first connections have these faults, in order; all others have none.
    pub(crate) fn start(server: String, faults: Vec<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            let mut faults = faults.into_iter();
            for client in listener.incoming() {
                let client = client.expect("it is accepted");
                let server = TcpStream::connect(&server).expect("the server is there");
                count.fetch_add(1, Ordering::SeqCst);
                relay(client, server, faults.next());
            }
        });
        Self { address, connections }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Where a connection breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// When the server has said so many bytes.
    Heard(usize),
    /// When the client has said so many bytes.
    Sent(usize),
}

/// A relay that works well at first, and from a moment on breaks every connection.
pub(crate) struct BreakingProxy {
    pub(crate) address: SocketAddr,
    is_breaking: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl BreakingProxy {
    pub(crate) fn start(server: String, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let is_breaking = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let proxy = Self { address, is_breaking: is_breaking.clone(), open: open.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("it is accepted");
                let server = TcpStream::connect(&server).expect("the server is there");
                let mut open = open.lock().expect("nobody panics with it");
                let (heard, sent) = match cut {
                    _ if !is_breaking.load(Ordering::SeqCst) => {
                        open.extend([clone(&client), clone(&server)]);
                        (usize::MAX, usize::MAX)
                    }
                    Cut::Heard(bytes) => (bytes, usize::MAX),
                    Cut::Sent(bytes) => (usize::MAX, bytes),
                };
                let (up_from, up_to) = (clone(&client), clone(&server));
                thread::spawn(move || pump(up_from, up_to, sent));
                thread::spawn(move || pump(server, client, heard));
            }
        });
        proxy
    }

    /// Breaks what is open, and everything from now on.
    pub(crate) fn begin(&self) {
        let mut open = self.open.lock().expect("nobody panics with it");
        self.is_breaking.store(true, Ordering::SeqCst);
        open.drain(..).for_each(|stream| close(&stream));
    }
}

fn relay(client: TcpStream, server: TcpStream, fault: Option<Fault>) {
    let (up_from, up_to) = (clone(&client), clone(&server));
    thread::spawn(move || pump(up_from, up_to, usize::MAX));
    thread::spawn(move || match fault {
        None => pump(server, client, usize::MAX),
        Some(Fault::CutAfter(bytes)) => pump(server, client, bytes),
        Some(Fault::Mute(cut)) => {
            cut.recv().expect("the test says when");
            close(&server);
            close(&client);
        }
    });
}

/// Carries bytes one way until one side ends, or so many have come; then both sides are closed.
fn pump(mut from: TcpStream, mut to: TcpStream, mut left: usize) {
    let mut buffer = [0; 4096];
    while left > 0 {
        let most = left.min(buffer.len());
        let Ok(read @ 1..) = from.read(&mut buffer[..most]) else { break };
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        left -= read;
    }
    close(&from);
    close(&to);
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("it is open")
}

fn close(stream: &TcpStream) {
    // The other side may have closed it already.
    let _ = stream.shutdown(Shutdown::Both);
}
