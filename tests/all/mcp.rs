//! `vramplan mcp` as an agent's client runs it: messages on its standard input, answers on its standard output.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// The longest that an answer may take here, by far.
const PATIENCE: Duration = Duration::from_secs(120);

struct Server {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
        command.args(["mcp", "--offline"]).env("HOME", "/nonexistent");
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, lines }
    }

    fn send(&mut self, line: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(line).unwrap();
        input.write_all(b"\n").unwrap();
        input.flush().unwrap();
    }

    #[allow(clippy::needless_pass_by_value, reason = "written where it is asked")]
    fn ask(&mut self, id: u64, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(message.to_string().as_bytes());
    }

    /// The next line, which has to be a message.
    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("an answer");
        let message: Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    fn answer(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.ask(id, method, params);
        let message = self.next();
        assert_eq!(message["id"], id, "{message}");
        message
    }

    fn greet(&mut self) -> Value {
        let client = json!({ "name": "test", "version": "1" });
        let params =
            json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
        let greeted = self.answer(0, "initialize", params);
        self.send(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        greeted
    }

    /// Closes its input; it has to end well, having said nothing else.
    fn end(mut self) {
        drop(self.input.take());
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success(), "{status}: {said}");
        assert_eq!(said, "");
        assert!(self.lines.recv_timeout(PATIENCE).is_err(), "a line too many");
    }
}

#[test]
fn a_client_lists_the_tools_and_calls_one() {
    let mut server = Server::start();
    let greeted = server.greet();
    assert_eq!(greeted["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(greeted["result"]["serverInfo"]["name"], "vramplan");
    let listed = server.answer(1, "tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["budget", "quants", "compare", "why", "profiles"]);
    for tool in tools {
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["outputSchema"]["type"], "object");
    }
    let arguments = json!({ "gpu": "L4", "model": "qwen2.5-14b", "context": "16k" });
    let called =
        server.answer(2, "tools/call", json!({ "name": "budget", "arguments": arguments }));
    let result = &called["result"];
    assert_eq!(result["isError"], false);
    assert_eq!(result["structuredContent"]["schema"], "vramplan/plan/v2");

    // The figures are the command's.
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    command.args(["budget", "--gpu", "L4", "--model", "qwen2.5-14b", "--context", "16k"]);
    let table = command.output().unwrap().stdout;
    assert_eq!(result["content"][0]["text"], String::from_utf8(table).unwrap());
    let json = command.arg("--json").output().unwrap().stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(result["structuredContent"], json);
    server.end();
}

#[test]
fn mistakes_are_told_to_the_model_and_the_next_call_is_answered() {
    let mut server = Server::start();
    server.greet();
    let arguments = json!({ "gpu": "L5", "model": "qwen2.5-14b" });
    let refused =
        server.answer(1, "tools/call", json!({ "name": "budget", "arguments": arguments }));
    assert_eq!(refused["result"]["isError"], true);
    let said = refused["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.starts_with("error: ") && said.contains("hint: "), "{said}");
    let unknown = server.answer(2, "tools/call", json!({ "name": "rm" }));
    assert_eq!(unknown["error"]["code"], -32602);
    let unknown = server.answer(3, "resources/list", json!({}));
    assert_eq!(unknown["error"]["code"], -32601);
    assert_eq!(server.answer(4, "ping", json!({}))["result"], json!({}));
    server.end();
}

#[test]
fn hostile_lines_get_errors_and_end_nothing() {
    let mut server = Server::start();
    let deep = "[".repeat(200_000);
    let long = vec![b'x'; 9 << 20];
    let lines: [(&[u8], i64); 9] = [
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (deep.as_bytes(), -32700),
        (&long, -32600),
        (b"[]", -32600),
        (b"null", -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"budget"}}"#, -32600),
    ];
    for (line, code) in lines {
        server.send(line);
        let message = server.next();
        assert_eq!(message["error"]["code"], code, "{message}");
    }
    server.greet();
    let evil = "\u{1b}[2J\u{202e}evil\0";
    for (at, arguments) in [
        json!({ "model": evil, "gpu": evil }),
        json!({ "gpu": "L4", "model": "qwen2.5-14b", "context": u64::MAX }),
        json!({ "gpu": "L4", "model": "qwen2.5-14b", "batch": -1 }),
        json!({ "gpu": "L4", "model": "../../../../dev/zero" }),
        json!({ "gpu": [], "model": {} }),
    ]
    .into_iter()
    .enumerate()
    {
        let id = 100 + at as u64;
        let answer =
            server.answer(id, "tools/call", json!({ "name": "budget", "arguments": arguments }));
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let said = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(!said.contains(['\u{1b}', '\u{202e}', '\0']), "{said:?}");
    }
    server.end();
}

#[test]
fn calls_in_one_go_are_all_answered_and_one_that_was_taken_back_is_not() {
    let mut server = Server::start();
    server.greet();
    for id in 1..=20 {
        let arguments = json!({ "kind": "gpus", "matching": "L4" });
        server.ask(id, "tools/call", json!({ "name": "profiles", "arguments": arguments }));
    }
    let told = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 20 } });
    server.send(told.to_string().as_bytes());
    drop(server.input.take());
    let mut answered: Vec<u64> = Vec::new();
    while let Ok(line) = server.lines.recv_timeout(PATIENCE) {
        let message: Value = serde_json::from_str(&line).unwrap();
        answered.push(message["id"].as_u64().unwrap());
    }
    answered.retain(|id| *id != 20);
    assert_eq!(answered, (1..20).collect::<Vec<_>>());
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_request_of_the_stateless_protocol_needs_no_greeting() {
    let mut server = Server::start();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let found = server.answer(1, "server/discover", json!({ "_meta": meta }));
    assert_eq!(found["result"]["resultType"], "complete");
    let arguments = json!({ "log": "CUDA error: out of memory\n" });
    let params = json!({ "_meta": meta, "name": "why", "arguments": arguments });
    let why = server.answer(2, "tools/call", params);
    assert_eq!(why["result"]["structuredContent"]["schema"], "vramplan/why/v1", "{why}");
    server.end();
}
