//! What the page may rely on: requests and answers, without a browser. `scripts/check-web` asks the same of the page.

#![allow(clippy::unwrap_used, reason = "tests")]

mod files;
mod flags;
mod requests;

use serde_json::{Value, json};
use vramplan_web::Session;

/// An answer, whatever it is.
fn answered(session: &mut Session, request: &Value) -> Value {
    serde_json::from_str(&session.answer(request.to_string().as_bytes())).unwrap()
}

/// What is answered to a question that has an answer.
fn told(session: &mut Session, request: &Value) -> Value {
    let answer = answered(session, request);
    assert!(answer.get("ok").is_some(), "{request}: {answer}");
    answer["ok"].clone()
}

/// The message and the hints to one that has none.
fn refused(session: &mut Session, request: &Value) -> String {
    let answer = answered(session, request);
    let hints: Vec<String> = serde_json::from_value(answer["error"]["hints"].clone()).unwrap();
    format!("{} | {}", answer["error"]["message"].as_str().unwrap(), hints.join(" | "))
}

/// A plan of these keys.
fn plan(question: &Value) -> Value {
    json!({"ask": "plan", "question": question})
}
