//! Mail: one message for a notice, to all its readers at once. The `Message-ID` is the delivery's, so that a mailbox that
//! drops what it has seen drops a repeat; messages of one group refer to it and stand together.
//!
//! What a server says for good (5yz of RFC 5321) to the message ends the delivery. What it says before, to the greeting or
//! the login, is about settings that somebody corrects, so the message comes again, and slowly: accounts are locked.

use std::{error::Error as _, time::Duration};

use lettre::{
    Message,
    message::{Mailbox, header},
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailParameter},
    },
};
use mainstay_wire::notify::{Answer, Email, Notice, Security, Words};
use tracing::warn;

use super::{Trust, tell::failed};

/// What stands behind the at sign of a message's id; it is not a place.
const ID_DOMAIN: &str = "mainstay.invalid";
/// A server that does not let us in is left alone for so long.
const LOCKED_OUT: Duration = Duration::from_secs(5 * 60);
/// A server asks for a login where it takes a sender: about settings too.
const LOGIN_WANTED: u16 = 530;

/// Whether a text can stand in `From` or `To`.
pub fn check_address(text: &str) -> Result<(), String> {
    text.parse::<Mailbox>().map(drop).map_err(|error| format!("is not a mail address: {error}"))
}

/// SMTP's reply code, where it decided, and what came of it.
pub(super) async fn send(
    mailbox: &Email,
    trust: Option<&Trust>,
    notice: &Notice,
    words: Words,
    id: &str,
    within: Duration,
) -> (Option<u16>, Answer) {
    let message = match message(mailbox, notice, words, id) {
        Ok(message) => message,
        Err(error) => return (None, failed(error, None)),
    };
    let exchange = async {
        let mut connection = connect(mailbox, trust, within).await.map_err(Trouble::Server)?;
        let taken = hand_over(&mut connection, mailbox, &message).await.map_err(Trouble::Message);
        // It has what it takes; how it says good-bye changes nothing.
        let _ = connection.quit().await;
        taken
    };
    match tokio::time::timeout(within, exchange).await {
        Ok(Ok(())) => (None, Answer::Delivered),
        Ok(Err(trouble)) => answer(mailbox, &trouble),
        Err(_) => (None, failed(format!("{}:{} did not take it in time", mailbox.host, mailbox.port), None)),
    }
}

enum Trouble {
    /// Before anything was said of the message.
    Server(Error),
    Message(Error),
}

fn answer(mailbox: &Email, trouble: &Trouble) -> (Option<u16>, Answer) {
    let (Trouble::Server(error) | Trouble::Message(error)) = trouble;
    let code = error.status().map(u16::from);
    let text = spelled(mailbox, error);
    let is_final = error.is_permanent();
    let answer = match trouble {
        Trouble::Message(_) if is_final && code != Some(LOGIN_WANTED) => Answer::Refused(text),
        _ => failed(text, is_final.then_some(LOCKED_OUT)),
    };
    (code, answer)
}

/// Connected, encrypted and logged in as the receiver says, or not at all.
async fn connect(
    mailbox: &Email,
    trust: Option<&Trust>,
    within: Duration,
) -> Result<AsyncSmtpConnection, Error> {
    let Email { host, port, security, login, .. } = mailbox;
    let (at_once, later) = match security {
        Security::Tls => (Some(encryption(host, trust)?), None),
        Security::Starttls => (None, Some(encryption(host, trust)?)),
        Security::None => (None, None),
    };
    let (place, name) = ((host.as_str(), *port), ClientId::default());
    let mut connection =
        AsyncSmtpConnection::connect_tokio1(place, Some(within), &name, at_once, None).await?;
    if let Some(encryption) = later {
        connection.starttls(encryption, &name).await?;
    }
    if let Some((user, password)) = login {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
    }
    Ok(connection)
}

fn encryption(host: &str, trust: Option<&Trust>) -> Result<TlsParameters, Error> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(trust) = trust {
        parameters = parameters.add_root_certificate(Certificate::from_pem(trust.pem())?);
    }
    parameters.build()
}

/// To all who are taken: a mailbox that is gone or full keeps the alert from nobody else.
async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    mailbox: &Email,
    message: &Message,
) -> Result<(), Error> {
    let envelope = message.envelope();
    let knows = connection.server_info().supports_feature(Extension::SmtpUtfEight);
    let is_ascii = envelope.to().iter().chain(envelope.from()).all(|address| address.to_string().is_ascii());
    let options = (knows && !is_ascii).then_some(MailParameter::SmtpUtfEight);
    connection.command(Mail::new(envelope.from().cloned(), options.into_iter().collect())).await?;
    let mut refused = Vec::new();
    for to in envelope.to() {
        match connection.command(Rcpt::new(to.clone(), Vec::new())).await {
            Ok(_) => {}
            // Only an answer leaves the conversation as it was.
            Err(error) if error.status().is_some() => refused.push((to, error)),
            Err(error) => return Err(error),
        }
    }
    if refused.len() == envelope.to().len() {
        // One who may be taken later is worth another try.
        let later = refused.iter().position(|(_, error)| error.is_transient()).unwrap_or(0);
        return match refused.into_iter().nth(later) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        };
    }
    connection.command(Data).await?;
    connection.message(&message.formatted()).await?;
    for (to, error) in &refused {
        warn!(mail.to = %to, error = spelled(mailbox, error), "one reader of a mail was not taken; the others were");
    }
    Ok(())
}

fn message(mailbox: &Email, notice: &Notice, words: Words, id: &str) -> Result<Message, String> {
    let parse = |text: &str| text.parse::<Mailbox>().map_err(|error| format!("{text}: {error}"));
    let thread = format!("<{}@{ID_DOMAIN}>", id_part(&notice.key));
    let mut message = Message::builder()
        .from(parse(&mailbox.from)?)
        .subject(words.title)
        .message_id(Some(format!("<{}@{ID_DOMAIN}>", id_part(id))))
        .in_reply_to(thread.clone())
        .references(thread)
        .header(header::ContentType::TEXT_PLAIN);
    for to in &mailbox.to {
        message = message.to(parse(to)?);
    }
    message.body(words.body).map_err(|error| error.to_string())
}

/// Ids and receivers' names as the left side of a message's id.
fn id_part(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// The server and every cause, outermost first, and what to do where that is known. What a server says may repeat what it
/// was told: whoever keeps it takes the password out.
fn spelled(mailbox: &Email, error: &Error) -> String {
    let mut text = format!("{}:{}: {error}", mailbox.host, mailbox.port);
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if text.contains("UnknownIssuer") {
        text.push_str(" (an authority of your own belongs into the receiver's `ca`)");
    }
    text
}
