//! What a client is answered: which version of the protocol it speaks, and what it may ask in that. No input or output.

use serde_json::{Map, Value, json};
use vramplan_planner::text::printable;

use super::message::{
    Fault, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Notification, Request,
    UNSUPPORTED_VERSION,
};
use super::{Reply, Tool};

/// Versions that begin with `initialize`, the newest last.
const HANDSHAKE: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// The version in which every request says which it is of.
const STATELESS: &str = "2026-07-28";

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// For how long a client may keep the list of tools: it is the program's own, which does not change while it runs.
const LIST_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The program's name.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Its version.
    pub version: &'static str,
    /// How its tools go together, for the model.
    pub instructions: &'static str,
}

/// A connection.
pub struct Session {
    identity: Identity,
    tools: Vec<Tool>,
    /// The version of the handshake, once there was one.
    version: Option<&'static str>,
}

/// What follows from a request.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The answer is known.
    Answer(Value),
    /// A tool is to be called, and its answer put into words by [`Call::answer`].
    Call(Call),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    dialect: Dialect,
}

/// What every result says beside what was asked for.
#[derive(Clone, Debug, PartialEq)]
enum Dialect {
    /// Nothing.
    Handshake,
    /// That it is all, and whose it is.
    Stateless { server: Value },
}

impl Session {
    /// One that was not asked yet.
    pub fn new(identity: Identity, tools: Vec<Tool>) -> Self {
        Self { identity, tools, version: None }
    }

    /// Whether several messages may stand in one line: of one version alone.
    pub fn takes_batches(&self) -> bool {
        self.version == Some("2025-03-26")
    }

    /// What follows from a request.
    pub fn request(&mut self, request: Request) -> Result<Step, Fault> {
        let Request { method, params, .. } = request;
        let dialect = self.dialect(&params)?;
        let is_stateless = dialect != Dialect::Handshake;
        match (&*method, is_stateless) {
            ("initialize", false) => self.initialize(&params).map(Step::Answer),
            ("ping", false) => Ok(Step::Answer(json!({}))),
            ("server/discover", true) => Ok(Step::Answer(dialect.result(self.discovered()))),
            ("tools/list", _) => self.list(&params, &dialect).map(Step::Answer),
            ("tools/call", _) => self.call(params, dialect).map(Step::Call),
            ("server/discover", false) => {
                let missing = format!("`params._meta` is without `{VERSION_KEY}`");
                Err(Fault::new(INVALID_PARAMS, missing))
            }
            _ => {
                let message = format!("there is no `{}`", printable(&method));
                Err(Fault::new(METHOD_NOT_FOUND, message))
            }
        }
    }

    /// The request that a notification takes back.
    pub fn cancelled(notification: &Notification) -> Option<&Value> {
        let is_one = notification.method == "notifications/cancelled";
        notification.params.get("requestId").filter(|_| is_one)
    }

    /// Which version a request is of; in those of the handshake nothing is asked before it.
    fn dialect(&self, params: &Map<String, Value>) -> Result<Dialect, Fault> {
        let meta = params.get("_meta").and_then(Value::as_object);
        let Some(version) = meta.and_then(|meta| meta.get(VERSION_KEY)) else {
            return Ok(Dialect::Handshake);
        };
        let Some(version) = version.as_str() else {
            return Err(Fault::new(INVALID_PARAMS, format!("`{VERSION_KEY}` is not text")));
        };
        if version != STATELESS {
            let mut supported = HANDSHAKE.to_vec();
            supported.push(STATELESS);
            let data = json!({ "supported": supported, "requested": printable(version) });
            let fault = Fault::new(UNSUPPORTED_VERSION, "Unsupported protocol version");
            return Err(Fault { data: Some(data), ..fault });
        }
        if !meta.is_some_and(|meta| meta.contains_key(CAPABILITIES_KEY)) {
            let missing = format!("`params._meta` is without `{CAPABILITIES_KEY}`");
            return Err(Fault::new(INVALID_PARAMS, missing));
        }
        Ok(Dialect::Stateless { server: self.server() })
    }

    fn server(&self) -> Value {
        let Identity { name, title, version, .. } = self.identity;
        json!({ "name": name, "title": title, "version": version })
    }

    fn initialize(&mut self, params: &Map<String, Value>) -> Result<Value, Fault> {
        let Some(asked) = params.get("protocolVersion").and_then(Value::as_str) else {
            return Err(Fault::new(INVALID_PARAMS, "`protocolVersion` is not there"));
        };
        // A client that speaks another is told the newest, and leaves where it does not speak that.
        let newest = HANDSHAKE[HANDSHAKE.len() - 1];
        let version = HANDSHAKE.into_iter().find(|known| *known == asked).unwrap_or(newest);
        self.version = Some(version);
        Ok(json!({
            "protocolVersion": version,
            "capabilities": capabilities(),
            "serverInfo": self.server(),
            "instructions": self.identity.instructions,
        }))
    }

    fn discovered(&self) -> Value {
        let mut versions = HANDSHAKE.to_vec();
        versions.push(STATELESS);
        json!({
            "supportedVersions": versions,
            "capabilities": capabilities(),
            "instructions": self.identity.instructions,
            "ttlMs": LIST_KEPT_MS,
            "cacheScope": "public",
        })
    }

    fn list(&self, params: &Map<String, Value>, dialect: &Dialect) -> Result<Value, Fault> {
        self.is_open(dialect)?;
        if params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
            return Err(Fault::new(INVALID_PARAMS, "`cursor` is none that was given out"));
        }
        let tools: Vec<_> = self.tools.iter().map(tool).collect();
        let mut list = json!({ "tools": tools });
        if *dialect != Dialect::Handshake {
            list["ttlMs"] = json!(LIST_KEPT_MS);
            list["cacheScope"] = json!("public");
        }
        Ok(dialect.result(list))
    }

    fn call(&self, mut params: Map<String, Value>, dialect: Dialect) -> Result<Call, Fault> {
        self.is_open(&dialect)?;
        let Some(Value::String(tool)) = params.remove("name") else {
            return Err(Fault::new(INVALID_PARAMS, "`name` is not there: expected a tool"));
        };
        if !self.tools.iter().any(|known| known.name == tool) {
            let known: Vec<_> = self.tools.iter().map(|tool| tool.name).collect();
            let known = known.join("`, `");
            let message = format!("Unknown tool: {}: expected one of `{known}`", printable(&tool));
            return Err(Fault::new(INVALID_PARAMS, message));
        }
        let arguments = match params.remove("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(Fault::new(INVALID_PARAMS, "`arguments` is not an object")),
        };
        Ok(Call { tool, arguments, dialect })
    }

    fn is_open(&self, dialect: &Dialect) -> Result<(), Fault> {
        if *dialect == Dialect::Handshake && self.version.is_none() {
            let message = "nothing was agreed on yet: expected `initialize` first";
            return Err(Fault::new(INVALID_REQUEST, message));
        }
        Ok(())
    }
}

impl Call {
    /// The result of the call.
    pub fn answer(&self, replied: Result<Reply, String>) -> Value {
        let text = |text: String| json!({ "type": "text", "text": text });
        self.dialect.result(match replied {
            Ok(Reply { texts, data }) => {
                let texts: Vec<_> = texts.into_iter().map(text).collect();
                json!({ "content": texts, "structuredContent": data, "isError": false })
            }
            Err(message) => json!({ "content": [text(message)], "isError": true }),
        })
    }
}

impl Dialect {
    fn result(&self, mut result: Value) -> Value {
        if let Self::Stateless { server } = self {
            result["resultType"] = json!("complete");
            result["_meta"] = json!({ SERVER_KEY: server });
        }
        result
    }
}

fn capabilities() -> Value {
    json!({ "tools": { "listChanged": false } })
}

fn tool(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input,
        "outputSchema": tool.output,
        "annotations": {
            "title": tool.title,
            "readOnlyHint": true,
            "destructiveHint": false,
            "idempotentHint": true,
            "openWorldHint": tool.asks_servers,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::message::{Message, read};

    fn session() -> Session {
        let tool = Tool {
            name: "echo",
            title: "Echo",
            description: "says it again",
            input: json!({ "type": "object" }),
            output: json!({ "type": "object" }),
            asks_servers: false,
        };
        let identity = Identity { name: "t", title: "T", version: "1", instructions: "ask" };
        Session::new(identity, vec![tool])
    }

    #[allow(clippy::needless_pass_by_value, reason = "written where it is asked")]
    fn ask(session: &mut Session, method: &str, params: Value) -> Result<Step, Fault> {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        match read(message).unwrap() {
            Message::Request(request) => session.request(request),
            other => panic!("{other:?}"),
        }
    }

    fn answered(session: &mut Session, method: &str, params: Value) -> Value {
        match ask(session, method, params).unwrap() {
            Step::Answer(answer) => answer,
            Step::Call(call) => panic!("{call:?}"),
        }
    }

    #[test]
    fn a_version_is_agreed_on_or_the_newest_is_offered() {
        for (asked, told) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-06-18", "2025-06-18"),
            ("1999-01-01", "2025-11-25"),
        ] {
            let mut session = session();
            let result = answered(&mut session, "initialize", json!({ "protocolVersion": asked }));
            assert_eq!(result["protocolVersion"], told);
            assert!(!session.takes_batches());
        }
    }

    #[test]
    fn nothing_but_a_ping_is_answered_before_the_handshake() {
        let mut session = session();
        let refused = ask(&mut session, "tools/list", json!({})).unwrap_err();
        assert_eq!(refused.code, INVALID_REQUEST);
        assert_eq!(answered(&mut session, "ping", json!({})), json!({}));
        answered(&mut session, "initialize", json!({ "protocolVersion": "2025-03-26" }));
        assert!(session.takes_batches());
        let list = answered(&mut session, "tools/list", json!({}));
        assert_eq!(list["tools"][0]["name"], "echo");
        assert!(list.get("resultType").is_none());
    }

    #[test]
    fn a_request_that_says_its_version_needs_no_handshake() {
        let mut session = session();
        let of = |version: &str| json!({ "_meta": { VERSION_KEY: version, CAPABILITIES_KEY: {} } });
        let found = answered(&mut session, "server/discover", of(STATELESS));
        assert_eq!(found["resultType"], "complete");
        assert_eq!(found["_meta"][SERVER_KEY]["name"], "t");
        let list = answered(&mut session, "tools/list", of(STATELESS));
        assert_eq!(
            (&list["cacheScope"], &list["resultType"]),
            (&json!("public"), &json!("complete"))
        );
        let refused = ask(&mut session, "tools/list", of("2030-01-01")).unwrap_err();
        assert_eq!(refused.code, UNSUPPORTED_VERSION);
        assert!(refused.data.unwrap()["supported"].as_array().unwrap().contains(&json!(STATELESS)));
        // Its handshake is gone.
        let refused = ask(&mut session, "ping", of(STATELESS)).unwrap_err();
        assert_eq!(refused.code, METHOD_NOT_FOUND);
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        let mut session = session();
        answered(&mut session, "initialize", json!({ "protocolVersion": "2025-11-25" }));
        for params in [
            json!({}),
            json!({ "name": 3 }),
            json!({ "name": "rm" }),
            json!({ "name": "echo", "arguments": [] }),
        ] {
            let refused = ask(&mut session, "tools/call", params).unwrap_err();
            assert_eq!(refused.code, INVALID_PARAMS);
        }
        let step = ask(&mut session, "tools/call", json!({ "name": "echo" })).unwrap();
        let Step::Call(call) = step else { panic!("{step:?}") };
        let failed = call.answer(Err("no".to_owned()));
        assert_eq!(
            (&failed["isError"], &failed["content"][0]["text"]),
            (&json!(true), &json!("no"))
        );
    }

    #[test]
    fn messages_that_are_none_are_told_apart() {
        let fault = |value: Value| read(value).unwrap_err();
        assert_eq!(fault(json!(3)).1.code, INVALID_REQUEST);
        assert_eq!(fault(json!({ "id": 7, "method": "ping" })).0, json!(7));
        assert_eq!(fault(json!({ "jsonrpc": "2.0", "id": 1.5, "method": "a" })).0, Value::Null);
        let params = fault(json!({ "jsonrpc": "2.0", "id": "a", "method": "b", "params": [] }));
        assert_eq!((params.0, params.1.code), (json!("a"), INVALID_PARAMS));
        let response = read(json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
        assert_eq!(response.unwrap(), Message::Response);
    }
}
