//! From a call and its fault to an answer.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use crate::{
    connection::{Body, Ending, LONGEST_WAIT, paced},
    dialect::{self, Ask, Dialect, Event, Part, Trouble},
    fault::Fault,
    mind::{Mind, Question, Said},
    server::{Ended, Pace},
};

/// Bytes that stand for speech or an image.
const MADE: &[u8] = &[0xFF, 0xFB, 0x90, 0x00, 0x4D, 0x61, 0x69, 0x6E];

pub(crate) struct Scene {
    pub(crate) dialect: Dialect,
    pub(crate) ask: Ask,
    pub(crate) fault: Fault,
    pub(crate) credential: String,
    pub(crate) path: String,
    pub(crate) pace: Pace,
    pub(crate) ended: Ended,
}

/// An error closes the connection without an answer.
pub(crate) async fn answer(scene: Scene, mind: &Mind) -> io::Result<Response<Body>> {
    let Scene { dialect, ask, fault, .. } = &scene;
    if let Some(trouble) = trouble(fault, ask, &scene.credential) {
        let (status, told) = dialect.trouble(&trouble);
        let retry_after_s = match fault {
            Fault::RateLimited { retry_after_s } => *retry_after_s,
            _ => None,
        };
        let mut response = json_answer(status, &told, scene.ended);
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        return Ok(response);
    }
    match fault {
        Fault::Close | Fault::Reset => return Err(io::Error::other("closes on purpose")),
        Fault::Hang => {
            tokio::time::sleep(LONGEST_WAIT).await;
            return Err(io::Error::other("hung long enough"));
        }
        Fault::SlowFirstByte { delay_ms } => wait(*delay_ms).await,
        Fault::Garbage => return Ok(json_answer(200, &json!({"surprise": true}), scene.ended)),
        Fault::Html { status } => {
            let page = "<!DOCTYPE html><html><head><title>524: A timeout occurred</title></head><body>cloud</body></html>";
            return Ok(whole(*status, "text/html; charset=UTF-8", page.into(), Ending::Whole, scene.ended));
        }
        _ => {}
    }
    tokio::time::sleep(scene.pace.first).await;
    Ok(match &scene.ask {
        Ask::Chat(_) | Ask::Completion(_) | Ask::Response(_) => talk(scene, mind),
        _ => other(scene),
    })
}

fn trouble(fault: &Fault, ask: &Ask, credential: &str) -> Option<Trouble> {
    Some(match fault {
        Fault::Status { status } => Trouble::Status(*status),
        Fault::RateLimited { .. } => Trouble::RateLimited,
        Fault::QuotaExhausted => Trouble::QuotaExhausted,
        Fault::Overloaded => Trouble::Overloaded,
        Fault::BadKey => Trouble::BadKey(credential.to_owned()),
        Fault::ModelMissing => Trouble::ModelMissing(ask.model().to_owned()),
        Fault::ContextOverflow => Trouble::ContextOverflow,
        Fault::FilteredPrompt => Trouble::FilteredPrompt,
        Fault::BadRequest => Trouble::BadRequest,
        _ => return None,
    })
}

async fn wait(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds).min(LONGEST_WAIT)).await;
}

fn talk(scene: Scene, mind: &Mind) -> Response<Body> {
    let question = match &scene.ask {
        Ask::Chat(question) | Ask::Completion(question) | Ask::Response(question) => question.clone(),
        _ => Question::default(),
    };
    let said = mind(&question);
    if scene.ask.streams()
        && !matches!(scene.fault, Fault::NotStreamed | Fault::TruncatedJson | Fault::ErrorInside)
    {
        stream(scene, &question, &said)
    } else {
        spoken(scene, &question, &said)
    }
}

/// A whole answer to a chat.
fn spoken(scene: Scene, question: &Question, said: &Said) -> Response<Body> {
    let filtered = scene.fault == Fault::FilteredAnswer;
    let value = match (&scene.fault, &scene.ask) {
        (Fault::Empty, Ask::Response(_)) => dialect::response(question, &Said::default(), false),
        (Fault::Empty, _) => scene.dialect.empty(question),
        (Fault::ErrorInside, _) => scene.dialect.trouble(&Trouble::Overloaded).1,
        (_, Ask::Completion(_)) => dialect::completion(question, said),
        (_, Ask::Response(_)) => dialect::response(question, said, filtered),
        _ => scene.dialect.whole(question, said, filtered),
    };
    document(scene, "application/json", value.to_string().into())
}

/// A document that comes whole, or the half of it that a fault leaves.
fn document(scene: Scene, kind: &'static str, mut body: Bytes) -> Response<Body> {
    let length = body.len();
    let ending = match scene.fault {
        Fault::Cut { .. } => Ending::Hangup,
        Fault::Stall { .. } => Ending::Silence,
        Fault::TruncatedJson => {
            body.truncate(length / 2);
            Ending::Whole
        }
        _ => Ending::Whole,
    };
    if ending == Ending::Whole {
        return whole(200, kind, body, ending, scene.ended);
    }
    body.truncate(length / 2);
    let mut response = whole(200, kind, body, ending, scene.ended);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn stream(scene: Scene, question: &Question, said: &Said) -> Response<Body> {
    let Scene { dialect, ask, fault, pace, ended, .. } = scene;
    let (first_wait, between) = match &fault {
        Fault::SlowFirstToken { delay_ms } => (Duration::from_millis(*delay_ms), pace.next),
        Fault::SlowTokens { gap_ms } => (Duration::from_millis(*gap_ms), Duration::from_millis(*gap_ms)),
        _ => (Duration::ZERO, pace.next),
    };
    let mut question = question.clone();
    question.wants_usage &= fault != Fault::NoUsage;
    let events = match &ask {
        Ask::Completion(_) => dialect::completion_events(&question, said),
        Ask::Response(_) => dialect::response_events(&question, said, fault == Fault::FilteredAnswer),
        _ => dialect.events(&question, said, fault == Fault::FilteredAnswer),
    };
    let (events, ending) = play(events, &fault, dialect, &ask);
    let mut is_first = true;
    let pieces = events
        .into_iter()
        .map(|event| {
            let wait = match event.part {
                Part::Content if std::mem::take(&mut is_first) => first_wait,
                Part::Content => between,
                _ => Duration::ZERO,
            };
            (wait, Bytes::from(event.bytes))
        })
        .collect();
    let mut response = Response::new(paced(pieces, ending, ended));
    let kind = HeaderValue::from_static(dialect.stream_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The events that a fault leaves, and how it ends.
fn play(mut events: Vec<Event>, fault: &Fault, dialect: Dialect, ask: &Ask) -> (Vec<Event>, Ending) {
    let after = |events: &[Event], count: usize| {
        let mut contents = events.iter().enumerate().filter(|(_, event)| event.part == Part::Content);
        contents.nth(count).map_or_else(
            || events.iter().position(|event| event.part == Part::Closing).unwrap_or(events.len()),
            |(index, _)| index,
        )
    };
    match fault {
        Fault::Stall { after_events } => {
            events.truncate(after(&events, *after_events));
            (events, Ending::Silence)
        }
        Fault::Cut { after_events, and_bytes } => {
            let at = after(&events, *after_events);
            let part: Vec<u8> = events.get(at).map_or_else(Vec::new, |next| {
                next.bytes[..(*and_bytes).min(next.bytes.len().saturating_sub(1))].to_vec()
            });
            events.truncate(at);
            events.push(Event { bytes: part, part: Part::Closing });
            (events, Ending::Hangup)
        }
        Fault::EndEarly { after_events } => {
            events.truncate(after(&events, *after_events));
            (events, Ending::Whole)
        }
        Fault::ErrorInBand { after_events } => {
            events.truncate(after(&events, *after_events));
            events.push(Event { bytes: dialect.error_event(ask), part: Part::Closing });
            (events, Ending::Whole)
        }
        Fault::Empty => {
            events.retain(|event| event.part != Part::Content);
            (events, Ending::Whole)
        }
        Fault::NoUsage => {
            events.retain(|event| event.part != Part::Usage);
            (events, Ending::Whole)
        }
        Fault::NoDone => {
            events.retain(|event| event.part != Part::Done);
            (events, Ending::Whole)
        }
        Fault::CarriageReturns if dialect != Dialect::Bedrock => {
            for event in &mut events {
                let text = String::from_utf8_lossy(&event.bytes).replace('\n', "\r\n");
                event.bytes = [b": still here\r\n\r\n", text.as_bytes()].concat();
            }
            (events, Ending::Whole)
        }
        _ => (events, Ending::Whole),
    }
}

/// Everything that is no chat.
fn other(mut scene: Scene) -> Response<Body> {
    let is_empty = scene.fault == Fault::Empty;
    match &mut scene.ask {
        Ask::Embeddings { inputs, .. } if is_empty => inputs.clear(),
        Ask::Rerank { documents, .. } if is_empty => documents.clear(),
        _ => {}
    }
    let value = match (&scene.ask, scene.dialect) {
        _ if scene.fault == Fault::ErrorInside => scene.dialect.trouble(&Trouble::Overloaded).1,
        // What breaks answers in the middle leaves so short a list whole.
        (Ask::Models, _) if matches!(scene.fault, Fault::Stall { .. } | Fault::Cut { .. }) => {
            return json_answer(200, &models(), scene.ended);
        }
        (Ask::Models, _) => models(),
        (Ask::Embeddings { model, inputs }, Dialect::OpenAi) => dialect::embeddings(model, inputs),
        (Ask::Embeddings { model, inputs }, Dialect::Cohere) => dialect::cohere_embeddings(model, inputs),
        (Ask::Embeddings { model, inputs }, _) => {
            let answer = dialect::embeddings(model, inputs);
            let vectors: Vec<Value> = answer["data"]
                .as_array()
                .map_or(&[][..], Vec::as_slice)
                .iter()
                .map(|item| json!({"values": item["embedding"]}))
                .collect();
            json!({ "embeddings": vectors })
        }
        (Ask::Rerank { query, documents, top_n, .. }, _) => dialect::rerank(query, documents, *top_n),
        _ if scene.path.ends_with("audio/speech") => {
            return document(scene, "audio/mpeg", if is_empty { &[] } else { MADE }.into());
        }
        _ if scene.path.contains("audio/") => json!({"text": "what was said"}),
        _ if scene.path.contains("images/") => json!({"created": 0, "data": [{"b64_json": "//uQAA=="}]}),
        _ if scene.path.ends_with("moderations") => json!({
            "id": "modr-faulty", "model": scene.ask.model(), "results": [{"flagged": false, "categories": {}, "category_scores": {}}],
        }),
        _ => json!({}),
    };
    document(scene, "application/json", value.to_string().into())
}

fn models() -> Value {
    json!({"object": "list", "data": [{"id": "faulty", "object": "model", "created": 0, "owned_by": "faulty"}]})
}

fn json_answer(status: u16, body: &Value, ended: Ended) -> Response<Body> {
    whole(status, "application/json", body.to_string().into(), Ending::Whole, ended)
}

fn whole(status: u16, kind: &'static str, body: Bytes, ending: Ending, mut ended: Ended) -> Response<Body> {
    use http_body_util::BodyExt;
    let body = match ending {
        Ending::Whole => {
            ended.complete();
            http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync()
        }
        Ending::Silence | Ending::Hangup => paced(vec![(Duration::ZERO, body)], ending, ended),
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
