//! Mail to servers that encrypt, ask who writes and refuse, from a real outbox.

use std::time::Duration;

use mainstay_base::Secret;
use mainstay_store::model::{Delivery, DeliveryState};
use mainstay_testkit::{
    Authority,
    smtp::{Encryption, Said, SmtpOptions, SmtpServer},
};
use mainstay_wire::notify::{Channel, Email, Notice, Security, What};

use super::{
    Receiver, Trust,
    tests::{Bench, START},
    told_tests::{enqueue, receiver, until},
};
use crate::options::Options;

const PASSWORD: &str = "hunter2";
/// Of `\0mainstay\0hunter2`.
const LOGIN: &str = "AG1haW5zdGF5AGh1bnRlcjI=";

fn mailbox(server: &SmtpServer, security: Security, password: Option<&str>) -> Receiver {
    let login = password.map(|password| ("mainstay".to_owned(), Secret::new(password)));
    let channel = Channel::Email(Email {
        host: "127.0.0.1".to_owned(),
        port: server.address.port(),
        security,
        login,
        from: "Mainstay <mainstay@example.com>".to_owned(),
        to: vec!["a@example.com".to_owned(), "b@example.com".to_owned()],
    });
    receiver("mail", channel)
}

/// What becomes of one notice, once it has been tried.
async fn sent(mail: Receiver, state: DeliveryState) -> Delivery {
    let options = Options { receivers: vec![mail], ..Options::new("test", "here") };
    let bench = Bench::start(1, options).await;
    let id = enqueue(&bench, "mail", &Notice::sample(What::Firing, START)).await;
    until(&bench, &id, state).await
}

fn has(said: &Said, begins: &str) -> bool {
    said.iter().any(|line| line.starts_with(begins))
}

#[tokio::test]
async fn mail_is_handed_to_its_server_with_a_stable_id() {
    let server = SmtpServer::start("250 taken").await;
    let id = sent(mailbox(&server, Security::None, None), DeliveryState::Delivered).await.id;
    let said = server.messages().remove(0);
    let key = Notice::sample(What::Firing, START).key;
    for begins in [
        "MAIL FROM:<mainstay@example.com>",
        "RCPT TO:<a@example.com>",
        "RCPT TO:<b@example.com>",
        "Subject: [page] Firing: Test: provider:example is down",
        &format!("Message-ID: <{id}@mainstay.invalid>"),
        &format!("References: <{key}@mainstay.invalid>"),
        "Reason: 12 of 12 attempts failed",
    ] {
        assert!(has(&said, begins), "{begins} in {said:#?}");
    }
}

#[tokio::test]
async fn it_is_encrypted_for_a_server_whose_authority_is_trusted_and_logs_in_there() {
    let authority = Authority::new();
    let config = authority.server("127.0.0.1");
    let trust = Trust::new(authority.pem().as_bytes()).unwrap();
    for (security, encryption, in_clear) in [
        (Security::Tls, Encryption::Tls(config.clone()), 0),
        (Security::Starttls, Encryption::Starttls(config.clone()), 2),
    ] {
        let options = SmtpOptions { encryption, login: Some(LOGIN), ..SmtpOptions::default() };
        let server = SmtpServer::start_with(options).await;
        let mail = Receiver { trust: Some(trust.clone()), ..mailbox(&server, security, Some(PASSWORD)) };
        sent(mail, DeliveryState::Delivered).await;
        assert!(has(&server.messages()[0], "RCPT TO:<b@example.com>"));
        let said = server.in_clear();
        assert!(said.len() == in_clear && !has(&said, "AUTH") && !has(&said, "MAIL"), "{said:?}");
    }
}

#[tokio::test]
async fn it_says_nothing_to_a_server_that_cannot_prove_who_it_is_or_does_not_encrypt() {
    let (ours, other) = (Authority::new(), Authority::new());
    let trust = Trust::new(ours.pem().as_bytes()).unwrap();
    let (tls, starttls) = (Security::Tls, Security::Starttls);
    for (what, security, encryption, says) in [
        ("an unknown authority", tls, Encryption::Tls(other.server("127.0.0.1")), "UnknownIssuer"),
        ("its advice", tls, Encryption::Tls(other.server("127.0.0.1")), "into the receiver's `ca`"),
        ("after the greeting", starttls, Encryption::Starttls(other.server("127.0.0.1")), "UnknownIssuer"),
        ("another name", tls, Encryption::Tls(ours.server("mail.example.com")), "not valid for"),
        ("no STARTTLS", starttls, Encryption::None, "STARTTLS is not supported"),
        ("STARTTLS only", tls, Encryption::Starttls(ours.server("127.0.0.1")), "corrupt"),
    ] {
        let server = SmtpServer::start_with(SmtpOptions { encryption, ..SmtpOptions::default() }).await;
        let mail = Receiver { trust: Some(trust.clone()), ..mailbox(&server, security, Some(PASSWORD)) };
        let error = sent(mail, DeliveryState::Pending).await.last_error.unwrap();
        assert!(error.contains(says), "{what}: {error}");
        let said = server.in_clear();
        assert!(
            server.messages().is_empty() && !has(&said, "AUTH") && !has(&said, "MAIL"),
            "{what}: {said:?}"
        );
    }
}

// A mailbox that is gone is gone tomorrow too; a server that is busy, or does not know us yet, may take it later.
#[tokio::test]
async fn what_a_server_answers_decides_whether_the_mail_comes_again() {
    let plain = Security::None;
    for (what, answers, password, state, code, again_s) in [
        ("busy", vec![(".", "451 4.3.0 not now")], None, DeliveryState::Pending, 451, 3),
        ("too large", vec![(".", "552 5.3.4 too large")], None, DeliveryState::Failed, 552, 0),
        ("no such sender", vec![("MAIL", "550 5.7.1 not you")], None, DeliveryState::Failed, 550, 0),
        ("nobody there", vec![("RCPT", "550 5.1.1 no such user")], None, DeliveryState::Failed, 550, 0),
        (
            "full",
            vec![("RCPT TO:<b", "452 full"), ("RCPT", "550 gone")],
            None,
            DeliveryState::Pending,
            452,
            3,
        ),
        ("no service", vec![("EHLO", "554 no"), ("HELO", "554 no")], None, DeliveryState::Pending, 554, 300),
        ("wrong password", vec![], Some("wrong"), DeliveryState::Pending, 535, 300),
        ("no login", vec![], None, DeliveryState::Pending, 530, 300),
    ] {
        let login = (again_s == 300 && code != 554).then_some(LOGIN);
        let server = SmtpServer::start_with(SmtpOptions { login, answers, ..SmtpOptions::default() }).await;
        let told = sent(mailbox(&server, plain, password), state).await;
        let error = told.last_error.unwrap();
        assert_eq!(told.last_status, Some(code), "{what}: {error}");
        assert!(error.contains("127.0.0.1") && !error.contains("wrong "), "{what}: {error}");
        let pause = told.next_at.map(|at| at.since(START));
        let expected = (again_s > 0).then(|| Duration::from_secs(again_s));
        assert!(pause <= expected && pause.is_some() == expected.is_some(), "{what}: {pause:?}");
        assert!(again_s < 300 || pause == expected, "{what}: an account may be locked: {pause:?}");
    }
}

#[tokio::test]
async fn a_reader_who_is_gone_keeps_the_mail_from_no_other() {
    let answers = vec![("RCPT TO:<a@", "550 5.1.1 no such user")];
    let server = SmtpServer::start_with(SmtpOptions { answers, ..SmtpOptions::default() }).await;
    sent(mailbox(&server, Security::None, None), DeliveryState::Delivered).await;
    assert_eq!(server.messages().len(), 1);
}
