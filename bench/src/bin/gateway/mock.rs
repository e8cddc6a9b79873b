//! A provider that answers at once: a whole chat, or a stream of 100 chunks, each written on its own.

use std::io::Write;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

pub(crate) const CHUNKS: usize = 100;

pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("mock {}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(async move {
            let _ = converse(stream).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (whole, frames) = (whole(), frames());
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        let Some((head, length)) = head(&buffer) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let streams = find(&buffer[head..head + length], b"\"stream\":true")
            || find(&buffer[head..head + length], b"\"stream\": true");
        buffer.advance(head + length);
        if !streams {
            stream.write_all(&whole).await?;
            continue;
        }
        for frame in &frames {
            stream.write_all(frame).await?;
            // As a model does: a chunk, then the next; never all in one write.
            tokio::task::yield_now().await;
        }
    }
}

/// Where the body begins and how long it is, once the head is there.
fn head(buffer: &[u8]) -> Option<(usize, usize)> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..end]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((end, length.unwrap_or(0)))
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn whole() -> Vec<u8> {
    let text = "All work and no play makes a dull benchmark. ".repeat(30);
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"mock","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":400,"completion_tokens":300,"total_tokens":700}}}}"#
    );
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ratelimit-remaining-requests: 9999\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head, the role, the chunks, the reason, the usage and the end.
fn frames() -> Vec<Vec<u8>> {
    let chunk = |choices: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{choices}]}}\n\n"
        )
    };
    let delta = |delta: &str| chunk(&format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}"));
    let mut events = vec![delta(r#"{"role":"assistant","content":""}"#)];
    events.extend((0..CHUNKS).map(|number| delta(&format!("{{\"content\":\"word{number} \"}}"))));
    events.push(chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#));
    events.push("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[],\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":100,\"total_tokens\":500}}\n\n".to_owned());
    events.push("data: [DONE]\n\n".to_owned());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut frames = vec![head.as_bytes().to_vec()];
    frames.extend(events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()));
    frames.push(b"0\r\n\r\n".to_vec());
    frames
}
