//! From a deployment's words to the address that is dialled; through the sentinels where there are some.

use ::redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, cmd};
use mainstay_base::Secret;

use super::{Error, Waits, link::dial};
use crate::deployment::{Redis, RedisAt, Tls};

/// The server itself, where the sentinels say it is now.
pub(super) async fn client(redis: &Redis, waits: Waits) -> Result<(Client, String), Error> {
    let (host, port) = match &redis.at {
        RedisAt::Server { host, port } => (host.clone(), *port),
        RedisAt::Sentinel { sentinels, service, user, password } => {
            master(sentinels, service, user.as_deref(), password.as_ref(), redis.tls, waits).await?
        }
    };
    let at = format!("{host}:{port}");
    let login = login(redis.user.as_deref(), redis.password.as_ref()).set_db(redis.database.into());
    Ok((open(host, port, redis.tls, login, &at)?, at))
}

/// How the deployment is called in messages before an address is known.
pub(super) fn name(redis: &Redis) -> String {
    match &redis.at {
        RedisAt::Server { host, port } => format!("{host}:{port}"),
        RedisAt::Sentinel { sentinels, .. } => {
            let all: Vec<String> = sentinels.iter().map(|(host, port)| format!("{host}:{port}")).collect();
            all.join(",")
        }
    }
}

/// Asks one sentinel after the other; the first that knows the master decides. That none knows it is said only when one
/// was asked: what kept us from all of them is told as of any server.
async fn master(
    sentinels: &[(String, u16)],
    service: &str,
    user: Option<&str>,
    password: Option<&Secret>,
    tls: Tls,
    waits: Waits,
) -> Result<(String, u16), Error> {
    let at = sentinels.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",");
    let none = |reason: String| Error::NoMaster { at: at.clone(), service: service.to_owned(), reason };
    let mut last = none("no sentinel is configured".to_owned());
    let mut answered = None;
    for (host, port) in sentinels.iter().take(MAX_SENTINELS) {
        let at = format!("{host}:{port}");
        let client = open(host.clone(), *port, tls, login(user, password), &at)?;
        let mut connection = match dial(&client, &at, waits).await {
            Ok(connection) => connection,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        match question.query_async::<Option<(String, u16)>>(&mut connection).await {
            Ok(Some(master)) => return Ok(master),
            Ok(None) => answered = Some(format!("{at} does not know it")),
            Err(error) => last = Error::of(&error, &at, waits.response.as_millis() as u64),
        }
    }
    Err(answered.map_or(last, none))
}

/// More sentinels than this are not asked.
const MAX_SENTINELS: usize = 9;

fn login(user: Option<&str>, password: Option<&Secret>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_lib_name("mainstay", env!("CARGO_PKG_VERSION"));
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        login = login.set_username(user);
    }
    if let Some(password) = password.filter(|password| !password.expose().is_empty()) {
        login = login.set_password(password.expose());
    }
    login
}

fn open(host: String, port: u16, tls: Tls, login: RedisConnectionInfo, at: &str) -> Result<Client, Error> {
    let address = match tls {
        Tls::Off => ConnectionAddr::Tcp(host, port),
        Tls::Unchecked => ConnectionAddr::TcpTls { host, port, insecure: true, tls_params: None },
        Tls::Checked => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    };
    let info: Result<ConnectionInfo, _> = address.into_connection_info();
    let opened = info.map(|info| info.set_redis_settings(login)).and_then(Client::open);
    opened.map_err(|error| Error::of(&error, at, 0))
}
