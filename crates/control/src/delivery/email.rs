//! Mail: one message for a notice, to all its readers at once. The `Message-ID` is the delivery's, so that a mailbox that
//! drops what it has seen drops a repeat; messages of one group refer to it and stand together.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header},
    transport::smtp::authentication::Credentials,
};
use mainstay_wire::notify::{Answer, Email, Notice, Security, Words};

use super::tell::failed;

/// What stands behind the at sign of a message's id; it is not a place.
const ID_DOMAIN: &str = "mainstay.invalid";

/// Whether a text can stand in `From` or `To`.
pub fn check_address(text: &str) -> Result<(), String> {
    text.parse::<Mailbox>().map(drop).map_err(|error| format!("is not a mail address: {error}"))
}

pub(super) async fn send(
    mailbox: &Email,
    notice: &Notice,
    words: Words,
    id: &str,
    within: Duration,
) -> Answer {
    let message = match message(mailbox, notice, words, id) {
        Ok(message) => message,
        Err(error) => return failed(error, None),
    };
    let transport = match transport(mailbox, within) {
        Ok(transport) => transport,
        Err(error) => return failed(format!("mail cannot be encrypted: {error}"), None),
    };
    match tokio::time::timeout(within, transport.send(message)).await {
        Ok(Ok(_)) => Answer::Delivered,
        Ok(Err(error)) => failed(spelled(mailbox, &error), None),
        Err(_) => failed(format!("{}:{} did not take it in time", mailbox.host, mailbox.port), None),
    }
}

fn transport(
    mailbox: &Email,
    within: Duration,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
    let builder = match mailbox.security {
        Security::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(&mailbox.host)?,
        Security::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&mailbox.host)?,
        Security::None => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mailbox.host),
    };
    let mut builder = builder.port(mailbox.port).timeout(Some(within));
    if let Some((user, password)) = &mailbox.login {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
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

/// The server and every cause, outermost first; what a server says may repeat what it was told.
fn spelled(mailbox: &Email, error: &lettre::transport::smtp::Error) -> String {
    let mut text = format!("{}:{}: {error}", mailbox.host, mailbox.port);
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    match &mailbox.login {
        Some((_, password)) if !password.expose().is_empty() => text.replace(password.expose(), "…"),
        _ => text,
    }
}
