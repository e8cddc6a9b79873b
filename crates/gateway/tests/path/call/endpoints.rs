//! What is not a chat: where each provider is asked for it, and what of its answer passes.

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use mainstay_base::snapshot::{Dialect, Provider};
use mainstay_testkit::HttpServer;
use serde_json::json;

use super::{course, faulty, policy, provider, setup, target};
use crate::rig::{Got, Rig};

const FORM: &str = "multipart/form-data; boundary=b";

/// A form with a model, one more field and a file.
fn form(field: &str, value: &str, file: &str) -> String {
    format!(
        "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nsmall\r\n\
         --b\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n\
         --b\r\ncontent-disposition: form-data; name=\"{file}\"; filename=\"a\"\r\n\r\nbytes\r\n--b--\r\n"
    )
}

/// A call of an endpoint, as JSON or as a form.
fn body(endpoint: &str) -> (String, &'static str) {
    let json = "application/json";
    match endpoint {
        "/v1/chat/completions" => (super::body(false), json),
        "/v1/completions" => (json!({"model": "small", "prompt": "hi"}).to_string(), json),
        "/v1/audio/speech" => (json!({"model": "small", "input": "hi", "voice": "v"}).to_string(), json),
        "/v1/images/generations" => (json!({"model": "small", "prompt": "a hat"}).to_string(), json),
        "/v1/images/edits" => (form("prompt", "a hat", "image"), FORM),
        "/v1/images/variations" => (form("n", "1", "image"), FORM),
        "/v1/audio/transcriptions" | "/v1/audio/translations" => (form("language", "de", "file"), FORM),
        _ => (json!({"model": "small", "input": "hi"}).to_string(), json),
    }
}

async fn post(rig: &Rig, endpoint: &str, body: String, content_type: &str) -> Got {
    let mut request = rig.model_request(Method::POST, endpoint, body);
    request.headers_mut().insert("content-type", content_type.parse().unwrap());
    rig.got(request).await
}

/// The base below the resource, the version, the endpoint and where it is asked. `-`: Azure has no such endpoint, and
/// nothing is sent.
const ON_AZURE: [(&str, &str, &str, &str); 16] = [
    (
        "",
        "2024-10-21",
        "/v1/chat/completions",
        "/openai/deployments/gpt%204o/chat/completions?api-version=2024-10-21",
    ),
    (
        "/openai",
        "2024-10-21",
        "/v1/completions",
        "/openai/deployments/gpt%204o/completions?api-version=2024-10-21",
    ),
    ("", "2024-10-21", "/v1/embeddings", "/openai/deployments/gpt%204o/embeddings?api-version=2024-10-21"),
    (
        "",
        "2025-04-01-preview",
        "/v1/images/generations",
        "/openai/deployments/gpt%204o/images/generations?api-version=2025-04-01-preview",
    ),
    (
        "",
        "2025-04-01-preview",
        "/v1/images/edits",
        "/openai/deployments/gpt%204o/images/edits?api-version=2025-04-01-preview",
    ),
    (
        "",
        "2024-10-21",
        "/v1/audio/speech",
        "/openai/deployments/gpt%204o/audio/speech?api-version=2024-10-21",
    ),
    (
        "",
        "2024-10-21",
        "/v1/audio/transcriptions",
        "/openai/deployments/gpt%204o/audio/transcriptions?api-version=2024-10-21",
    ),
    (
        "",
        "2024-10-21",
        "/v1/audio/translations",
        "/openai/deployments/gpt%204o/audio/translations?api-version=2024-10-21",
    ),
    ("", "2025-04-01-preview", "/v1/responses", "/openai/responses?api-version=2025-04-01-preview"),
    ("", "v1", "/v1/chat/completions", "/openai/v1/chat/completions"),
    ("/openai/v1", "v1", "/v1/images/edits", "/openai/v1/images/edits"),
    ("/openai/v1", "v1", "/v1/responses", "/openai/v1/responses"),
    ("", "preview", "/v1/embeddings", "/openai/v1/embeddings?api-version=preview"),
    ("", "2024-10-21", "/v1/images/variations", "-"),
    ("", "v1", "/v1/moderations", "-"),
    ("", "2024-10-21", "/v1/rerank", "-"),
];

#[tokio::test]
async fn azure_is_asked_where_it_has_each_endpoint() {
    for (below, version, endpoint, expected) in ON_AZURE {
        let one = faulty().await;
        let azure = Provider {
            dialect: Dialect::Azure { api_version: version.to_owned() },
            base_url: format!("{}{below}", one.url()),
            ..provider("one", &one, 1)
        };
        let mut only = target(azure);
        only.model = "gpt 4o".to_owned();
        let mut rig = setup(vec![only], policy()).start().await;
        let (body, content_type) = match endpoint {
            "/v1/rerank" => {
                (json!({"model": "small", "query": "q", "documents": ["d"]}).to_string(), "application/json")
            }
            _ => body(endpoint),
        };
        let got = post(&rig, endpoint, body, content_type).await;
        let cell = format!("{version} {endpoint}: {} {:?}", got.status, got.body);
        let record = rig.only_record().await;
        let Some(call) = one.calls().into_iter().next() else {
            assert_eq!((expected, got.status), ("-", 400), "{cell}");
            assert_eq!(course(&record), ["one/key-0 first not_convertible"], "{cell}");
            continue;
        };
        assert_eq!((got.status, call.target.as_str()), (200, expected), "{cell}");
        assert_eq!(call.headers["api-key"], "sk-one-0", "{cell}");
        assert!(!call.headers.contains_key("authorization"), "{cell}");
        assert!(String::from_utf8_lossy(&call.body).contains("gpt 4o"), "{cell}");
    }
}

#[tokio::test]
async fn images_are_asked_for_by_their_own_paths_and_fall_over() {
    for endpoint in ["/v1/images/generations", "/v1/images/edits", "/v1/images/variations"] {
        let (one, two) = (faulty().await, faulty().await);
        let targets = vec![target(provider("one", &one, 1)), target(provider("two", &two, 1))];
        let mut rig = setup(targets, policy()).start().await;
        one.set(mainstay_faulty::Fault::Overloaded);
        let (body, content_type) = body(endpoint);
        let got = post(&rig, endpoint, body.clone(), content_type).await;
        assert_eq!(
            (got.status, got.json()["data"][0]["b64_json"].as_str()),
            (200, Some("//uQAA==")),
            "{endpoint}"
        );
        let record = rig.only_record().await;
        assert_eq!(course(&record), ["one/key-0 first overloaded", "two/key-0 fallback ok"], "{endpoint}");
        assert!(record.cost.is_some(), "{endpoint}");
        for call in [&one.calls()[0], &two.calls()[0]] {
            assert_eq!(call.target, endpoint);
            assert_eq!(call.body, body.replacen("small", "real-small", 1), "{endpoint}");
            assert_eq!(call.headers["content-type"], content_type, "{endpoint}");
        }
        // Nobody of another dialect makes images.
        for dialect in [Dialect::Anthropic, Dialect::Gemini, Dialect::Cohere] {
            let other = Provider { dialect, ..provider("one", &two, 1) };
            let mut rig = setup(vec![target(other)], policy()).start().await;
            assert_eq!(post(&rig, endpoint, body.clone(), content_type).await.status, 400, "{endpoint}");
            assert_eq!(course(&rig.only_record().await), ["one/key-0 first not_convertible"], "{endpoint}");
        }
        assert_eq!(two.count(), 1, "{endpoint}");
    }
}

/// Who knows no streams of what was heard or drawn says it whole, whatever was asked for.
#[tokio::test]
async fn what_comes_whole_where_a_stream_was_asked_for_passes() {
    let heard = form("stream", "true", "file");
    let drawn = json!({"model": "small", "prompt": "a hat", "stream": true}).to_string();
    let words = "event: transcript.text.delta\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"hi\"}\n\n\
        event: transcript.text.done\ndata: {\"type\":\"transcript.text.done\",\"text\":\"hi\"}\n\n";
    for (endpoint, kind, answer, status) in [
        (
            "/v1/audio/transcriptions",
            "application/json",
            "{\"text\":\"hi\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}",
            200,
        ),
        ("/v1/audio/transcriptions", "text/plain; charset=utf-8", "hi\n", 200),
        ("/v1/audio/transcriptions", "text/event-stream", words, 200),
        (
            "/v1/audio/transcriptions",
            "application/json",
            "{\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}",
            502,
        ),
        ("/v1/audio/transcriptions", "text/html", "<html></html>", 502),
        ("/v1/audio/transcriptions", "text/plain", "", 502),
        (
            "/v1/images/generations",
            "application/json",
            "{\"created\":0,\"data\":[{\"b64_json\":\"AA==\"}]}",
            200,
        ),
        // A response has a stream of its own, and is judged by it.
        ("/v1/responses", "application/json", "{\"object\":\"response\",\"output\":[]}", 502),
    ] {
        let odd = HttpServer::start(move |_| async move {
            let body = Full::new(Bytes::from(answer)).map_err(|never| match never {}).boxed_unsync();
            Response::builder().status(200).header("content-type", kind).body(body).unwrap()
        })
        .await;
        let one = provider("one", &faulty().await, 1);
        let only = target(Provider { base_url: format!("{}/v1", odd.url()), ..one });
        let mut rig = setup(vec![only], policy()).start().await;
        let (body, content_type) = match endpoint {
            "/v1/audio/transcriptions" => (heard.clone(), FORM),
            "/v1/images/generations" => (drawn.clone(), "application/json"),
            _ => (json!({"model": "small", "input": "hi", "stream": true}).to_string(), "application/json"),
        };
        let got = post(&rig, endpoint, body, content_type).await;
        let cell = format!("{endpoint} {kind} {answer}: {} {:?}", got.status, got.body);
        assert_eq!((got.status, got.body == answer), (status, status == 200), "{cell}");
        let record = rig.only_record().await;
        assert_eq!(record.streamed, status == 200 && kind == "text/event-stream", "{cell}");
        if status == 200 {
            assert!(got.headers["content-type"].to_str().unwrap().starts_with(kind), "{cell}");
        }
    }
}

/// What a caller names and a provider does not know is no missing model.
#[tokio::test]
async fn a_callers_own_404_is_passed_on_and_a_missing_model_is_not() {
    for (words, status, attempts) in [
        ("Previous response with id 'resp_1' not found.", 404, 1),
        ("No such File object: file-abc", 404, 1),
        ("The model `x` does not exist", 200, 2),
        ("Application not found", 200, 2),
    ] {
        let odd = HttpServer::start(move |_| async move {
            let body = json!({"error": {"message": words, "type": "invalid_request_error", "param": "p", "code": null}});
            let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
            Response::builder().status(404).header("content-type", "application/json").body(body).unwrap()
        })
        .await;
        let two = faulty().await;
        let first = Provider { base_url: format!("{}/v1", odd.url()), ..provider("one", &two, 1) };
        let mut rig = setup(vec![target(first), target(provider("two", &two, 1))], policy()).start().await;
        let got = super::ask(&rig, false).await;
        assert_eq!((got.status, rig.only_record().await.attempts.len()), (status, attempts), "{words}");
        if status == 404 {
            let error = got.json()["error"].clone();
            assert_eq!((error["message"].as_str(), error["param"].as_str()), (Some(words), Some("p")));
            assert_eq!(rig.gateway.standing().targets[0].failures, 0, "{words}");
        }
    }
}
