//! The client against real sockets: every wait by its name, every failure by its class.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should end")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use mainstay_base::{Kind, snapshot::Timeouts};
use mainstay_net::{
    AddressRule, Body, BodyError, Class, Client, ClientOptions, CollectError, SendError, collect, empty, full,
};
use mainstay_testkit::{HttpServer, http_server::whole, raw::RawServer, raw::Step, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

/// Long enough to tell one wait from the other, short enough for a test.
const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(20);
const PATIENT: Timeouts = Timeouts { connect: LONG, first_byte: LONG, idle: LONG, total: LONG };

fn client() -> Client {
    Client::new(ClientOptions::default()).unwrap()
}

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(empty()).unwrap()
}

async fn send(url: &str, timeouts: Timeouts) -> Result<Response<Body>, SendError> {
    client().send(get(url), &timeouts, AddressRule::Any).await
}

async fn refusal(url: &str, timeouts: Timeouts, rule: AddressRule) -> SendError {
    client().send(get(url), &timeouts, rule).await.expect_err("the request is to fail")
}

fn chunked(pieces: &[&str]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in pieces {
        bytes.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
    }
    bytes
}

#[tokio::test]
async fn a_request_reaches_the_peer_whole_and_its_answer_comes_back() {
    let server =
        HttpServer::start(|request: Request<Bytes>| async move { whole(201, "text/x", request.into_body()) });
    let server = server.await;
    let request =
        Request::post(format!("{}/a/b?c=d", server.url())).header("x-one", "1").body(full("hello")).unwrap();
    let response = client().send(request, &PATIENT, AddressRule::Any).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(collect(response.into_body(), 100).await.unwrap(), "hello");
    let seen = server.requests();
    assert_eq!(seen[0].uri(), "/a/b?c=d");
    assert_eq!(seen[0].headers()["x-one"], "1");
    assert_eq!(seen[0].headers()["content-length"], "5");
}

#[tokio::test]
async fn redirects_are_handed_to_the_caller() {
    let server = HttpServer::start(|_| async {
        let mut reply = whole(302, "text/plain", "");
        reply.headers_mut().insert("location", "http://127.0.0.1:1/".parse().unwrap());
        reply
    })
    .await;
    assert_eq!(send(&server.url(), PATIENT).await.unwrap().status(), 302);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn failures_before_the_request_was_sent_say_so_and_name_their_class() {
    let free_port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let plain = RawServer::start(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Close]).await;
    let speaks_http = HttpServer::start(|_| async { whole(200, "text/plain", "ok") }).await;
    let not_tls = format!("https://{}", speaks_http.address);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_handshake = format!("https://{}", silent.local_addr().unwrap());
    let impatient = Timeouts { connect: SHORT, ..PATIENT };
    for (what, url, timeouts, rule, class) in [
        (
            "nobody listens",
            format!("http://127.0.0.1:{free_port}"),
            PATIENT,
            AddressRule::Any,
            Class::Connect,
        ),
        ("no such name", "http://no-such-host.invalid".to_owned(), PATIENT, AddressRule::Any, Class::Dns),
        ("not TLS", not_tls, PATIENT, AddressRule::Any, Class::Tls),
        ("a TLS handshake that hangs", no_handshake, impatient, AddressRule::Any, Class::ConnectTimeout),
        ("a private address", plain.url(), PATIENT, AddressRule::default(), Class::AddressRefused),
        (
            "a name for one",
            format!("http://localhost:{free_port}"),
            PATIENT,
            AddressRule::default(),
            Class::AddressRefused,
        ),
        ("another scheme", "ftp://127.0.0.1/".to_owned(), PATIENT, AddressRule::Any, Class::InvalidRequest),
        ("no host", "/only/a/path".to_owned(), PATIENT, AddressRule::Any, Class::InvalidRequest),
    ] {
        let error = refusal(&url, timeouts, rule).await;
        assert_eq!(error.class(), class, "{what}: {error}");
        assert!(error.is_before_send(), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_refused_address_is_never_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = tokio::spawn(async move { listener.accept().await.map(|_| ()) });
    for url in [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://2130706433:{port}"), // 127.0.0.1 as one number
        format!("http://0x7f.1:{port}"),
    ] {
        let error = refusal(&url, PATIENT, AddressRule::default()).await;
        // A resolver that does not know the odd spellings refuses them on its own.
        assert!(matches!(error.class(), Class::AddressRefused | Class::Dns), "{url}: {error}");
        assert_eq!(error.kind() == Kind::Caller, error.class() == Class::AddressRefused);
    }
    assert!(!accepted.is_finished(), "somebody connected");
}

#[tokio::test]
async fn a_connection_of_a_lenient_rule_is_not_used_under_a_strict_one() {
    let server = HttpServer::start(|_| async { whole(200, "text/plain", "ok") }).await;
    let client = client();
    let warm = client.send(get(&server.url()), &PATIENT, AddressRule::Any).await.unwrap();
    collect(warm.into_body(), 10).await.unwrap();
    let error = client.send(get(&server.url()), &PATIENT, AddressRule::default()).await.expect_err("refused");
    assert_eq!(error.class(), Class::AddressRefused);
    let allowed = AddressRule::public_only([server.address.to_string().parse().unwrap()]);
    assert_eq!(client.send(get(&server.url()), &PATIENT, allowed).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_silent_peer_is_left_after_the_first_byte_timeout_or_the_total_one() {
    let server = RawServer::start(vec![Step::Hang]).await;
    for (timeouts, class) in [
        (Timeouts { first_byte: SHORT, ..PATIENT }, Class::FirstByteTimeout),
        (Timeouts { total: SHORT, ..PATIENT }, Class::TotalTimeout),
    ] {
        let error = send(&server.url(), timeouts).await.expect_err("nobody answers");
        assert_eq!(error.class(), class, "{error}");
        assert!(!error.is_before_send(), "the request was sent");
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}

#[tokio::test]
async fn a_peer_that_closes_without_an_answer_is_closed_and_the_request_may_have_arrived() {
    for script in [vec![Step::Close], vec![Step::Send(b"not http at all\r\n\r\n".to_vec()), Step::Hang]] {
        let server = RawServer::start(script).await;
        let error = send(&server.url(), PATIENT).await.expect_err("no answer");
        assert_eq!(error.class(), Class::Closed, "{error}");
        assert!(!error.is_before_send());
    }
}

#[tokio::test]
async fn a_body_that_stalls_ends_with_the_idle_timeout_and_one_that_drips_with_the_total_one() {
    let stalls = RawServer::start(vec![Step::Send(chunked(&["one"])), Step::Hang]).await;
    let response = send(&stalls.url(), Timeouts { idle: SHORT, ..PATIENT }).await.unwrap();
    assert!(matches!(collect(response.into_body(), 100).await, Err(CollectError::Body(BodyError::Idle(_)))));

    let mut drips = vec![Step::Send(chunked(&["one"]))];
    for _ in 0..200 {
        drips.extend([Step::Wait(SHORT / 10), Step::Send(b"1\r\nx\r\n".to_vec())]);
    }
    let drips = RawServer::start(drips).await;
    let timeouts = Timeouts { idle: SHORT * 2, total: SHORT * 4, ..PATIENT };
    let started = Instant::now();
    let response = send(&drips.url(), timeouts).await.unwrap();
    assert!(matches!(
        collect(response.into_body(), 1000).await,
        Err(CollectError::Body(BodyError::Total(_)))
    ));
    assert!(started.elapsed() >= SHORT * 4, "pieces in between kept the idle timeout away");
}

#[tokio::test]
async fn a_body_that_never_pauses_does_not_outlive_the_total_timeout() {
    let flood = vec![Step::Send(chunked(&["x".repeat(60_000).as_str(); 200])); 50];
    let server = RawServer::start(flood).await;
    let response = send(&server.url(), Timeouts { total: SHORT, ..PATIENT }).await.unwrap();
    let mut body = response.into_body();
    let mut last = None;
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        // Slower than the peer, so that a piece is always there.
        tokio::time::sleep(Duration::from_millis(1)).await;
        last = Some(frame);
    }
    assert!(matches!(last, Some(Err(BodyError::Total(_) | BodyError::Closed(_)))), "{last:?}");
}

#[tokio::test]
async fn a_cut_body_is_an_error_whether_its_length_was_told_or_not() {
    for script in [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_vec(), chunked(&["one", "two"])]
    {
        let server = RawServer::start(vec![Step::Send(script), Step::Close]).await;
        let response = send(&server.url(), PATIENT).await.unwrap();
        assert!(matches!(
            collect(response.into_body(), 1000).await,
            Err(CollectError::Body(BodyError::Closed(_)))
        ));
    }
}

#[tokio::test]
async fn dropping_the_body_or_the_request_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for answers in [true, false] {
        let request = tokio::spawn({
            let url = url.clone();
            async move { send(&url, Timeouts { first_byte: SHORT, ..PATIENT }).await }
        });
        let (mut peer, _) = listener.accept().await.unwrap();
        if answers {
            peer.write_all(&chunked(&["one"])).await.unwrap();
            drop(request.await.unwrap().unwrap());
        } else {
            request.await.unwrap().expect_err("nobody answers");
        }
        let mut seen = Vec::new();
        let closed = tokio::time::timeout(LONG, peer.read_to_end(&mut seen)).await;
        assert!(closed.is_ok(), "the connection stays open (answered: {answers})");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_whole_body_and_a_stale_one_is_replaced() {
    let server = HttpServer::start(|_| async { whole(200, "text/plain", "ok") }).await;
    let client = client();
    for _ in 0..3 {
        let response = client.send(get(&server.url()), &PATIENT, AddressRule::Any).await.unwrap();
        collect(response.into_body(), 10).await.unwrap();
    }
    assert_eq!(server.requests().len(), 3);

    // A peer that closes after each answer without saying so.
    let rude = RawServer::start(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()),
        Step::Close,
    ])
    .await;
    for _ in 0..3 {
        let response = wait_until("an answer on a fresh connection", LONG, || async {
            client.send(get(&rude.url()), &PATIENT, AddressRule::Any).await.ok()
        })
        .await;
        collect(response.into_body(), 10).await.unwrap();
    }
}

/// A TLS server for `localhost` with a certificate of its own; gives its port and the certificate.
async fn tls_server() -> (u16, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.try_into().unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut seen = [0; 1024];
            let _ = stream.read(&mut seen).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn a_certificate_is_trusted_only_when_its_authority_is_and_its_name_fits() {
    let (port, certificate) = tls_server().await;
    let trusting = Client::new(ClientOptions { extra_roots: vec![certificate] }).unwrap();
    let ask = async |client: &Client, host: &str| {
        client.send(get(&format!("https://{host}:{port}/")), &PATIENT, AddressRule::Any).await
    };
    assert_eq!(ask(&trusting, "localhost").await.unwrap().status(), 200);
    for (what, client, host) in
        [("unknown authority", client(), "localhost"), ("another name", trusting.clone(), "127.0.0.1")]
    {
        let error = ask(&client, host).await.expect_err(what);
        assert_eq!(error.class(), Class::Tls, "{what}: {error}");
        assert!(error.is_before_send(), "{what}");
    }
}

#[test]
fn authorities_are_read_from_a_file_that_holds_some() {
    let authority = mainstay_testkit::Authority::new();
    let twice = format!("# ours\n{0}{0}", authority.pem());
    assert_eq!(mainstay_net::authorities(twice.as_bytes()).map(|all| all.len()), Ok(2));
    for (text, says) in [
        ("", "holds no certificate"),
        ("nothing of the kind", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is not PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "number 1 cannot be an authority"),
    ] {
        let error = mainstay_net::authorities(text.as_bytes()).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[tokio::test]
async fn the_message_names_the_peer_and_neither_path_nor_query() {
    let free_port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error =
        refusal(&format!("http://127.0.0.1:{free_port}/secret?key=hunter2"), PATIENT, AddressRule::Any).await;
    let text = error.to_string();
    assert!(text.starts_with(&format!("http://127.0.0.1:{free_port}: cannot connect")), "{text}");
    assert!(!text.contains("secret") && !text.contains("hunter2"), "{text}");
}

/// Points every name at this machine, until it fails.
struct Here {
    is_gone: std::sync::atomic::AtomicBool,
}

impl mainstay_net::Resolver for Here {
    fn resolve(
        &self,
        _host: &str,
    ) -> futures_util::future::BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
        let is_gone = self.is_gone.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move {
            match is_gone {
                true => Err(std::io::Error::other("SERVFAIL")),
                false => Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()]),
            }
        })
    }
}

#[tokio::test]
async fn a_peer_stays_reachable_while_its_name_does_not_resolve() {
    let server = HttpServer::start(|_| async {
        let mut answer = mainstay_testkit::http_server::whole(200, "text/plain", "here");
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    })
    .await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let here = std::sync::Arc::new(Here { is_gone: false.into() });
    let client = Client::with_resolver(ClientOptions::default(), here.clone()).unwrap();
    let ask = |host: &str| {
        let request = Request::get(format!("http://{host}:{port}/")).body(mainstay_net::empty()).unwrap();
        let client = client.clone();
        async move { client.send(request, &Timeouts::default(), AddressRule::Any).await }
    };
    assert_eq!(ask("llm.example").await.unwrap().status(), 200);
    here.is_gone.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(ask("llm.example").await.unwrap().status(), 200, "a new connection to the last good address");
    assert_eq!(ask("other.example").await.unwrap_err().class(), Class::Dns);
}

/// Answers for one host; every other question hangs.
struct Hanging;

impl mainstay_net::resolve::Resolver for Hanging {
    fn resolve(
        &self,
        host: &str,
    ) -> futures_util::future::BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
        match host {
            "llm.example" => Box::pin(std::future::ready(Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()]))),
            _ => Box::pin(std::future::pending()),
        }
    }
}

/// Workflows may call any host: their questions took the places of a provider's.
#[tokio::test]
async fn hosts_of_anybodys_choice_do_not_crowd_out_configured_ones() {
    let server =
        HttpServer::start(|_| async { mainstay_testkit::http_server::whole(200, "text/plain", "hi") }).await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let client = Client::with_resolver(ClientOptions::default(), std::sync::Arc::new(Hanging)).unwrap();
    let timeouts = Timeouts { connect: std::time::Duration::from_millis(300), ..Timeouts::default() };
    let guarded = (0..2 * mainstay_net::resolve::MAX_RESOLUTIONS).map(|number| {
        let request = Request::get(format!("http://h{number}.example/")).body(mainstay_net::empty()).unwrap();
        let (client, timeouts) = (client.clone(), timeouts);
        async move { client.send(request, &timeouts, AddressRule::default()).await.unwrap_err().class() }
    });
    for class in futures_util::future::join_all(guarded).await {
        assert_eq!(class, Class::ConnectTimeout);
    }
    let request = Request::get(format!("http://llm.example:{port}/")).body(mainstay_net::empty()).unwrap();
    assert_eq!(client.send(request, &timeouts, AddressRule::Any).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_connection_is_used_again_while_it_is_fresh_and_closed_when_it_rested_for_too_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            while !seen.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "closed between two requests");
            }
            seen.clear();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
        stream.read_buf(&mut seen).await.unwrap()
    });
    let client = client();
    for _ in 0..3 {
        let response = client.send(get(&url), &PATIENT, AddressRule::Any).await.unwrap();
        assert_eq!(collect(response.into_body(), 10).await.unwrap(), "ok");
    }
    let rest = tokio::time::timeout(LONG, server).await.expect("it is closed").unwrap();
    assert_eq!(rest, 0);
}

#[tokio::test]
async fn an_answer_is_read_while_its_request_is_still_being_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        for (piece, answer) in
            [("1\r\na\r\n", chunked(&["A"])), ("1\r\nb\r\n", b"1\r\nB\r\n0\r\n\r\n".to_vec())]
        {
            while !seen.ends_with(piece.as_bytes()) {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "closed before {piece:?}");
            }
            stream.write_all(&answer).await.unwrap();
        }
    });
    let (sender, body) = mainstay_net::channel(1);
    sender.send(Ok(Bytes::from("a"))).await.unwrap();
    let request = Request::post(&url).body(body).unwrap();
    let mut answer = client().send(request, &PATIENT, AddressRule::Any).await.unwrap().into_body();
    for expected in ["A", "B"] {
        let frame = http_body_util::BodyExt::frame(&mut answer).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), expected);
        // The first answer came before this was sent; the second needs it.
        let _ = sender.send(Ok(Bytes::from("b"))).await;
    }
    server.await.unwrap();
}
