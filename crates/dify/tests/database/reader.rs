//! What the one read-only connection promises.

use std::{sync::Arc, time::Duration};

use mainstay_base::{Micros, Secret};
use mainstay_dify::{
    db::{Bound, Failure, Reader, Value},
    deployment::{Database, Tls},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::fixture::{Fixture, NONE, texts};

const FEW: Bound = Bound::new(10, Duration::from_secs(5));

#[tokio::test]
async fn cells_of_every_type_are_read_and_null_is_none() {
    let Some(fixture) = Fixture::start().await else { return };
    let sql = "SELECT 'a'::varchar, 7::smallint, 8::integer, 9::bigint, 0.5::real, 0.25::double precision, true, \
        timestamp '1970-01-01 00:00:01.000002', '01234567-89ab-cdef-0123-456789abcdef'::uuid, '{\"a\": 1}'::json, \
        NULL::text, $1, $2, $3, $4, array_length($5, 1)";
    let names = ["x".to_owned(), "y".to_owned()];
    let values = [
        Value::Text("t"),
        Value::Int(-3),
        Value::Bool(false),
        Value::Time(Micros(1_795_393_414_000_123)),
        Value::Texts(&names),
    ];
    let row = fixture.reader().one(sql, &values, FEW.within).await.unwrap().unwrap();
    assert_eq!(row.text(0).unwrap(), Some("a"));
    assert_eq!([1, 2, 3].map(|column| row.int(column).unwrap()), [Some(7), Some(8), Some(9)]);
    assert_eq!([4, 5].map(|column| row.float(column).unwrap()), [Some(0.5), Some(0.25)]);
    assert_eq!(row.bool(6).unwrap(), Some(true));
    assert_eq!(row.time(7).unwrap(), Some(Micros(1_000_002)));
    assert_eq!(row.id(8).unwrap().unwrap().to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    assert_eq!(row.text(9).unwrap(), Some("{\"a\": 1}"));
    assert_eq!(row.text(10).unwrap(), None);
    assert_eq!((row.text(11).unwrap(), row.int(12).unwrap()), (Some("t"), Some(-3)));
    assert_eq!(row.bool(13).unwrap(), Some(false));
    assert_eq!(row.time(14).unwrap(), Some(Micros(1_795_393_414_000_123)));
    assert_eq!(row.int(15).unwrap(), Some(2));
    // A wrong type is told, not read as something else.
    assert!(matches!(row.int(0), Err(Failure::Unreadable { column: 0, .. })));
    fixture.end().await;
}

#[tokio::test]
async fn many_at_once_share_one_connection() {
    let Some(fixture) = Fixture::start().await else { return };
    let reader = fixture.reader();
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let reader = reader.clone();
        asking
            .spawn(async move { reader.rows("SELECT pg_backend_pid()", NONE, FEW).await.unwrap()[0].int(0) });
    }
    let mut servers: Vec<_> = asking.join_all().await.into_iter().map(Result::unwrap).collect();
    servers.dedup();
    assert_eq!(servers.len(), 1);
    assert_eq!((fixture.connections().await, reader.asked().connections), (1, 1));
    fixture.end().await;
}

#[tokio::test]
async fn the_server_refuses_to_write_even_where_the_role_might() {
    let Some(fixture) = Fixture::start().await else { return };
    fixture.run(&format!("CREATE TABLE t (a int); GRANT ALL ON t TO {}", fixture.role)).await;
    for sql in ["INSERT INTO t VALUES (1)", "DELETE FROM t", "TRUNCATE t", "CREATE TABLE u (a int)"] {
        let refused = fixture.reader().rows(sql, NONE, FEW).await.unwrap_err();
        assert!(matches!(refused, Failure::Forbidden { .. }), "{sql}: {refused}");
    }
    assert_eq!(fixture.owner.query("SELECT a FROM t", &[]).await.unwrap().len(), 0);
    fixture.end().await;
}

#[tokio::test]
async fn each_failure_of_a_query_has_its_own_word() {
    let Some(fixture) = Fixture::start().await else { return };
    fixture.run("CREATE TABLE secret (a int)").await;
    let reader = fixture.reader();
    let quick = Bound::new(3, Duration::from_millis(50));
    for (sql, wanted) in [
        ("SELECT a FROM nowhere", "does not have what was asked"),
        ("SELECT nothing FROM pg_class", "does not have what was asked"),
        ("SELECT a FROM secret", "may not do this"),
        ("SELECT pg_sleep(30)", "took longer than 50ms"),
        ("SELECT generate_series(1, 4)", "gave more than 3 rows"),
        ("SELEC", "refused a query"),
        ("SELECT 1/0", "refused a query"),
    ] {
        let failure = reader.rows(sql, NONE, quick).await.unwrap_err();
        assert!(failure.to_string().contains(wanted), "{sql}: {failure}");
        assert!(!failure.remedy().is_empty());
    }
    // And it goes on after each, on the same connection but for the answer that was too long.
    assert_eq!(reader.rows("SELECT 1", NONE, quick).await.unwrap().len(), 1);
    assert_eq!(reader.asked().connections, 2);
    fixture.end().await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_opened_again() {
    let Some(fixture) = Fixture::start().await else { return };
    let reader = fixture.reader();
    for round in 1..=3 {
        assert_eq!(texts(&reader.rows("SELECT 'here'", NONE, FEW).await.unwrap()), ["here"]);
        assert_eq!(reader.asked().connections, round);
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
            fixture.role
        );
        fixture.run(&cut).await;
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_question_given_up_leaves_the_one_connection_usable() {
    let Some(fixture) = Fixture::start().await else { return };
    let reader = fixture.reader();
    reader.rows("SELECT 1", NONE, FEW).await.unwrap();
    let slow = reader.rows("SELECT pg_sleep(1)", NONE, FEW);
    assert!(tokio::time::timeout(Duration::from_millis(30), slow).await.is_err());
    assert_eq!(texts(&reader.rows("SELECT 'next'", NONE, FEW).await.unwrap()), ["next"]);
    assert_eq!((fixture.connections().await, reader.asked().connections), (1, 1));
    fixture.end().await;
}

#[tokio::test]
async fn an_unknown_role_or_database_is_named() {
    let Some(fixture) = Fixture::start().await else { return };
    let role = Database { user: "nobody_at_all".to_owned(), ..fixture.database() };
    let name = Database { name: "no_such_database".to_owned(), ..fixture.database() };
    let refused = Reader::new(&role).rows("SELECT 1", NONE, FEW).await.unwrap_err();
    assert!(matches!(&refused, Failure::Refused { user, .. } if user == "nobody_at_all"), "{refused}");
    let missing = Reader::new(&name).rows("SELECT 1", NONE, FEW).await.unwrap_err();
    assert!(matches!(missing, Failure::NoDatabase { .. }), "{missing}");
    let encrypted = Database { tls: Tls::Unchecked, ..fixture.database() };
    let refused = Reader::new(&encrypted).rows("SELECT 1", NONE, FEW).await.unwrap_err();
    assert!(matches!(refused, Failure::Encryption { .. }), "{refused}");
    fixture.end().await;
}

#[tokio::test]
async fn a_peer_that_is_no_database_costs_one_clear_failure() {
    // As PostgreSQL 15 sends it for a wrong password.
    let refusal = error(b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"dify\"\0\0");
    let starting = error(b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0");
    let full = error(b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0");
    for (answer, wanted) in [
        (refusal, "refuses the role `dify`"),
        (starting, "is not ready"),
        (full, "takes no more connections"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "cannot be reached"),
        (Vec::new(), "cannot be reached"),
    ] {
        let peer = Peer::start(Some(answer)).await;
        let failure = Reader::new(&peer.database()).rows("SELECT 1", NONE, FEW).await.unwrap_err();
        assert!(failure.to_string().contains(wanted), "{failure}");
        assert!(failure.is_about_the_connection());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_is_given_up() {
    let peer = Peer::start(None).await;
    let failure = Reader::new(&peer.database()).rows("SELECT 1", NONE, FEW).await.unwrap_err();
    assert!(matches!(failure, Failure::Silent { .. }), "{failure}");
}

/// All begin at once: one opens, one takes its place when it gives up, and the third has waited for its turn until then.
#[tokio::test(start_paused = true)]
async fn all_who_wait_for_a_peer_that_never_answers_are_told_that_it_is_silent() {
    let peer = Peer::start(None).await;
    let reader = Reader::new(&peer.database());
    let ask = || reader.rows("SELECT 1", NONE, FEW);
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    for answer in [first, second, third] {
        let failure = answer.unwrap_err();
        assert!(matches!(failure, Failure::Silent { .. }), "{failure}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let failure = Reader::new(&database(port)).rows("SELECT 1", NONE, FEW).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable { .. }), "{failure}");
    assert!(!format!("{failure} {}", failure.remedy()).contains("hunter2"));
}

#[tokio::test]
async fn a_server_that_is_no_postgres_is_told_as_that() {
    let peer = Peer::start(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let failure = Reader::new(&peer.database()).rows("SELECT 1", NONE, FEW).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable { .. }), "{failure}");
    assert!(failure.to_string().contains("does not speak as PostgreSQL does"), "{failure}");
}

/// Reads what a client sends first, and answers with these bytes; or accepts and never answers.
struct Peer {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Peer {
    async fn start(answer: Option<Vec<u8>>) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answer.clone()));
            }
        });
        Peer { port, _tasks: tasks }
    }

    fn database(&self) -> Database {
        database(self.port)
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Option<Vec<u8>>>) {
    let mut first = [0; 1024];
    let _ = stream.read(&mut first).await;
    match answer.as_ref() {
        Some(answer) => drop(stream.write_all(answer).await),
        None => std::future::pending().await,
    }
}

fn database(port: u16) -> Database {
    Database {
        host: "127.0.0.1".to_owned(),
        port,
        user: "dify".to_owned(),
        password: Some(Secret::new("hunter2")),
        name: "dify".to_owned(),
        tls: Tls::Off,
    }
}

fn error(fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E".as_slice(), &length.to_be_bytes(), fields].concat()
}
