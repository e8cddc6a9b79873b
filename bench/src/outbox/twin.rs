//! The broken deliverers, which must be caught.

use std::time::Duration;

use anyhow::ensure;
use mainstay_base::Clock;
use mainstay_control::delivery::PER_RECEIVER;
use mainstay_store::{Lane, Store};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{RECEIVER, Way};

pub(super) async fn twin(way: Way, store: Store, clock: Clock, address: String) {
    let lease = if way == Way::NoLease { Duration::ZERO } else { Duration::from_secs(60) };
    loop {
        for delivery in store
            .outbox()
            .due(&Lane::Receiver(RECEIVER.to_owned()), PER_RECEIVER, lease)
            .await
            .unwrap_or_default()
        {
            if way == Way::MarksFirst {
                let _ = store.outbox().delivered(&delivery.id, 200).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let body = delivery.payload.unwrap_or_default().to_string();
            let sent = post(&address, &delivery.id, &body).await;
            if way == Way::NoLease {
                let again = clock.now() + Duration::from_secs(5);
                let _ = match sent {
                    Ok(()) => store.outbox().delivered(&delivery.id, 200).await,
                    Err(error) => {
                        store.outbox().failed(&delivery.id, None, &error.to_string(), Some(again)).await
                    }
                };
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn post(address: &str, id: &str, body: &str) -> anyhow::Result<()> {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nwebhook-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "not taken");
    Ok(())
}
