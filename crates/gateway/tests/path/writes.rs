//! How answers leave: a small whole answer in one write, so that no side's delayed acknowledgement (40 ms) can come
//! between its head and its body, whatever the sockets are set to.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::Method;
use mainstay_gateway::{ListenLimits, listen::serve_connection};
use mainstay_testkit::model;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::rig::{MODEL_KEY, Setup, provider};

/// Counts what the system would be asked to write.
struct Counted {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A pipe writes its slices one by one; a socket takes them together, and so does this.
        self.writes.fetch_add(1, Ordering::SeqCst);
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        Pin::new(&mut self.stream).poll_write(context, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn a_small_whole_answer_leaves_in_one_write() {
    let one = model::start().await;
    let rig = Setup::model(&[provider("one", &one.url())]).start().await;
    let body = r#"{"model":"small","messages":[{"role":"user","content":"hi"}]}"#;
    for (key, body, status) in
        [(MODEL_KEY, body, "200 OK"), (MODEL_KEY, "{", "400 Bad"), ("vk-no", body, "401 Un")]
    {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let writes = Arc::new(AtomicUsize::new(0));
        let counted = Counted { stream: ours, writes: writes.clone() };
        let gateway = rig.gateway.clone();
        let handler = move |request, _peer| {
            let gateway = gateway.clone();
            async move { gateway.model(request).await }
        };
        let peer = "127.0.0.1:1".parse().unwrap();
        let shutdown = CancellationToken::new();
        let serving =
            tokio::spawn(serve_connection(counted, peer, handler, shutdown.clone(), ListenLimits::default()));
        let method = Method::POST;
        let length = body.len();
        let request = format!(
            "{method} /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        theirs.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.unwrap();
        drop(theirs);
        serving.await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(writes.load(Ordering::SeqCst), 1, "head and body of {answer:?}");
    }
}
