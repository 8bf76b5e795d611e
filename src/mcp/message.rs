//! JSON-RPC 2.0: what a line says, and the lines that answer it.

use serde_json::{Map, Value, json};

/// It is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// It is no message.
pub const INVALID_REQUEST: i64 = -32600;
/// Nothing goes by that name.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// What stands in it is not what the method takes.
pub const INVALID_PARAMS: i64 = -32602;
/// The protocol's version is none that is spoken here.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// One that is to be answered.
    Request(Request),
    /// One that is not.
    Notification(Notification),
    /// An answer: nothing is ever asked of a client.
    Response,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// A text or a whole number, which the answer repeats.
    pub id: Value,
    /// What is asked for.
    pub method: String,
    /// What is said with it.
    pub params: Map<String, Value>,
}

/// A notification.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// What is told.
    pub method: String,
    /// What is said with it.
    pub params: Map<String, Value>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// A number of JSON-RPC's or the protocol's.
    pub code: i64,
    /// What is wrong, and what was expected.
    pub message: String,
    /// More of it, for programs.
    pub data: Option<Value>,
}

impl Fault {
    /// A fault without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// What a value says; a fault with the id that it is to be answered under, as far as there is one.
pub fn read(value: Value) -> Result<Message, (Value, Fault)> {
    let Value::Object(mut fields) = value else {
        return Err((Value::Null, invalid("a message is an object")));
    };
    let id = fields.remove("id");
    let shown = id.clone().filter(is_id).unwrap_or(Value::Null);
    if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err((shown, invalid("`jsonrpc` is not \"2.0\"")));
    }
    let method = match fields.remove("method") {
        Some(Value::String(method)) => method,
        None if fields.contains_key("result") || fields.contains_key("error") => {
            return Ok(Message::Response);
        }
        _ => return Err((shown, invalid("there is no `method`"))),
    };
    let params = match fields.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => {
            let fault = Fault::new(INVALID_PARAMS, "`params` is not an object");
            return Err((shown, fault));
        }
    };
    match id {
        None => Ok(Message::Notification(Notification { method, params })),
        Some(id) if is_id(&id) => Ok(Message::Request(Request { id, method, params })),
        Some(_) => Err((Value::Null, invalid("`id` is neither a text nor a whole number"))),
    }
}

fn invalid(why: &str) -> Fault {
    Fault::new(INVALID_REQUEST, why)
}

fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

/// The message that answers a request.
#[allow(clippy::needless_pass_by_value, reason = "it becomes a part of the message")]
pub fn result(id: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// The message that refuses one.
pub fn fault(id: &Value, fault: &Fault) -> Value {
    let mut error = json!({ "code": fault.code, "message": fault.message });
    if let (Some(data), Some(error)) = (&fault.data, error.as_object_mut()) {
        error.insert("data".to_owned(), data.clone());
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}
