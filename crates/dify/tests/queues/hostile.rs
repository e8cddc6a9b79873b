//! Redis that is not there, does not answer, or answers with an error: each is told by its cause, in time.

use std::time::{Duration, Instant};

use mainstay_base::Secret;
use mainstay_dify::{
    Deployment,
    celery::{Observer, Options},
    deployment::Redis,
    redis::{Error, Link, Waits, cmd},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::fixture::{PATIENT, World, now, redis};

const WAITS: Waits = Waits { connect: Duration::from_millis(300), response: Duration::from_millis(300) };

/// A peer that answers each command of a login with `+OK`, and every other one with this, or not at all.
async fn peer(answer: Option<&'static str>) -> Redis {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..read]).to_uppercase();
                    let is_login =
                        ["CLIENT", "SELECT", "AUTH", "HELLO"].iter().any(|word| text.contains(word));
                    let Some(answer) = answer else { continue };
                    let commands = text.lines().filter(|line| line.starts_with('*')).count();
                    for _ in 0..commands {
                        let line = if is_login { "+OK\r\n" } else { answer };
                        stream.write_all(line.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    redis("127.0.0.1", port, 0, "")
}

async fn failure(redis: &Redis) -> Error {
    let began = Instant::now();
    let mut link = Link::new(redis, WAITS);
    let error = link.ask::<i64>(cmd("LLEN").arg("dataset")).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for {:?}", began.elapsed());
    assert!(!error.remedy().is_empty());
    let mut deployment = Deployment::named("test");
    deployment.broker = Some(redis.clone());
    let mut observer = Observer::new(&deployment, Options { waits: WAITS, ..Options::default() }).unwrap();
    let look = observer.observe(now()).await.unwrap_err();
    assert_eq!(std::mem::discriminant(&look), std::mem::discriminant(&error), "{look} is not {error}");
    error
}

#[tokio::test]
async fn each_trouble_has_its_name_and_is_told_in_time() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = failure(&redis("127.0.0.1", closed, 0, "")).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let error = failure(&peer(None).await).await;
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    for (answer, wanted) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", "Loading"),
        ("-READONLY You can't write against a read only replica.\r\n", "ReadOnly"),
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OutOfMemory"),
        ("-MISCONF Redis is configured to save RDB snapshots\r\n", "CannotSave"),
        ("-NOAUTH Authentication required.\r\n", "WrongPassword"),
        ("-WRONGPASS invalid username-password pair\r\n", "WrongPassword"),
        ("-NOPERM this user has no permissions to run the 'llen' command\r\n", "NotPermitted"),
        ("-ERR something\r\n", "Answered"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "Answered"),
    ] {
        let error = failure(&peer(Some(answer)).await).await;
        assert!(format!("{error:?}").starts_with(wanted), "{answer:?} is {error:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_repeated() {
    let Some(world) = World::start("") else { return };
    let mut redis = world.deployment.broker.clone().unwrap();
    redis.user = Some("default-of-nobody".to_owned());
    redis.password = Some(Secret::new("not-the-password"));
    let error = Link::connect(&redis, PATIENT).await.err().unwrap();
    assert!(matches!(error, Error::WrongPassword { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("not-the-password"));
}

#[tokio::test]
async fn a_connection_that_broke_is_made_anew_and_there_is_never_more_than_one() {
    let Some(mut world) = World::start("") else { return };
    let mut other = Link::new(&world.deployment.broker.clone().unwrap(), PATIENT);
    let id: u64 = world.link.ask(cmd("CLIENT").arg("ID")).await.unwrap();
    other.ask::<u64>(cmd("CLIENT").arg("KILL").arg("ID").arg(id)).await.unwrap();
    assert!(world.link.ping().await.is_err(), "the loss is told once");
    world.link.ping().await.unwrap();
    let clients: String = other.ask(cmd("CLIENT").arg("LIST")).await.unwrap();
    let database = format!(" db={} ", world.broker.database);
    assert_eq!(clients.lines().filter(|line| line.contains(&database)).count(), 2, "{clients}");
}

#[tokio::test]
async fn sentinels_lead_to_the_master_and_one_that_knows_none_is_told() {
    let Some(world) = World::start("") else { return };
    let (host, port) = (world.broker.host.clone(), world.broker.port);
    let master = format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.to_string().len());
    let at = |sentinels: Vec<(String, u16)>| {
        let mut redis = world.deployment.broker.clone().unwrap();
        redis.at = mainstay_dify::deployment::RedisAt::Sentinel {
            sentinels,
            service: "mymaster".to_owned(),
            user: None,
            password: None,
        };
        redis
    };
    let place = |redis: &Redis| match &redis.at {
        mainstay_dify::deployment::RedisAt::Server { host, port } => (host.clone(), *port),
        mainstay_dify::deployment::RedisAt::Sentinel { .. } => unreachable!("a peer is a server"),
    };
    // Long enough for a busy machine, short enough to wait for the mute one.
    let two = Waits { connect: Duration::from_secs(3), response: Duration::from_secs(3) };
    let mute = place(&peer(None).await);
    let knows = place(&peer(Some(Box::leak(master.into_boxed_str()))).await);
    let ignorant = place(&peer(Some("*-1\r\n")).await);
    Link::connect(&at(vec![mute, ignorant.clone(), knows]), two).await.unwrap().ping().await.unwrap();
    let nobody = || ("127.0.0.1".to_owned(), 1);
    let error = Link::connect(&at(vec![ignorant, nobody()]), WAITS).await.err().unwrap();
    assert!(matches!(error, Error::NoMaster { .. }), "{error:?}");
    // Nobody who could know the master was asked: the name is not to blame.
    let error = Link::connect(&at(vec![nobody()]), WAITS).await.err().unwrap();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

/// A Redis that takes a second for each command is not waited for longer than a look may take.
#[tokio::test(start_paused = true)]
async fn a_redis_that_answers_slowly_ends_the_look() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    for _ in text.lines().filter(|line| line.starts_with('*')) {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        if stream.write_all(b":1\r\n").await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    let mut deployment = Deployment::named("test");
    deployment.broker = Some(redis("127.0.0.1", port, 0, ""));
    let waits = Waits { connect: Duration::from_secs(600), response: Duration::from_secs(600) };
    let mut observer = Observer::new(&deployment, Options { waits, ..Options::default() }).unwrap();
    let began = tokio::time::Instant::now();
    let error = observer.observe(now()).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { what: "a whole look", .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(31), "it took {:?}", began.elapsed());
}
