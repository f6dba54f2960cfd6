//! A proxy before a server that seems to be far away: every byte arrives later, none waits for
//! another. For `tools/bench`.
//!
//! `delay_proxy <port to listen on> <port to connect to> <milliseconds for each direction>`

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

#[tokio::main]
async fn main() -> io::Result<()> {
    let numbers: Vec<u16> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [near, far, delay] = numbers[..] else {
        return Err(io::Error::other("delay_proxy <port> <port> <milliseconds>"));
    };
    let delay = Duration::from_millis(u64::from(delay));
    let listener = TcpListener::bind(("127.0.0.1", near)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let server = TcpStream::connect(("127.0.0.1", far)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        tokio::spawn(carry(client_in, server_out, delay));
        tokio::spawn(carry(server_in, client_out, delay));
    }
}

/// Carries bytes until either side has enough. Dropping `to` closes that direction.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = on_the_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 256 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if sender.send((Instant::now() + delay, buffer[..n].to_vec())).is_err() {
            return;
        }
    }
}
