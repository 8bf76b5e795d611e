//! What a server that fails, lies or is hostile comes to: a clear error, few requests, few bytes.

use std::time::Duration;

use vramplan_planner::read::Catalog;
use vramplan_sources::{HubErrorKind as Kind, Limits, SourcesError};

use super::fake_hub::{CONFIG, FakeHub, checkpoint, gguf, not_found};
use super::hub::{Machine, Q8, serve, small_gguf};
use super::loopback::{Loopback, Reply, Request, Sparse};

const GGUF: &str = "me/SmolLM2-135M-GGUF";

/// The error of a model that is located or read; its kind, where a server is at fault.
fn refused(machine: &Machine, hub: &Loopback, text: &str) -> (Option<Kind>, String) {
    match machine.locate(hub, text) {
        Err(SourcesError::Hub(error)) => (Some(error.kind), error.to_string()),
        Err(error) => (None, error.to_string()),
        Ok(located) => (None, located.read(&Catalog::built_in()).unwrap_err().to_string()),
    }
}

/// A hub that answers like this whatever it is asked for.
fn always(reply: Reply) -> Loopback {
    Loopback::start(move |_| reply.clone())
}

/// A hub whose answers about files are changed on the way.
fn files_changed(
    files: FakeHub,
    change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> Loopback {
    Loopback::start(move |request| {
        let reply = files.reply(request);
        if request.path.contains("/resolve/") { change(request, reply) } else { reply }
    })
}

#[test]
fn every_refusal_says_who_refused_what_and_what_helps() {
    let machine = Machine::new();
    let busy = |after: &str| Reply::new(429, "").header("Retry-After", after);
    for (reply, kind, words, requests) in [
        (
            Reply::new(401, r#"{"error":"Invalid username or password."}"#),
            Kind::Refused,
            "(401): “Invalid username",
            1,
        ),
        (
            Reply::new(403, "").header("X-Error-Code", "GatedRepo"),
            Kind::Refused,
            "asks to accept terms first (403)",
            1,
        ),
        (
            not_found("RepoNotFound"),
            Kind::NotFound,
            "has no `api/models/me/SmolLM2-135M-GGUF/revision/main`: “not here”",
            1,
        ),
        (busy("3600"), Kind::Limited, "asked too often (429), to be asked again in 3600 s", 1),
        (busy("0"), Kind::Limited, "asked too often (429)", 3),
        (Reply::new(500, "<html>"), Kind::Failed, "answers 500", 3),
        (Reply::new(503, ""), Kind::Failed, "answers 503", 3),
        (Reply::new(418, ""), Kind::Failed, "answers 418", 1),
    ] {
        let hub = always(reply);
        let (found, message) = refused(&machine, &hub, GGUF);
        assert_eq!(found, Some(kind), "{message}");
        assert!(message.contains(words) && message.contains(&hub.authority()), "{message}");
        assert_eq!(hub.requests().len(), requests, "{message}");
    }
    let hub = always(Reply::new(401, ""));
    let hint = machine.locate(&hub, GGUF).err().unwrap().hint().unwrap();
    assert!(hint.contains("HF_TOKEN"), "{hint}");
}

#[test]
fn a_name_that_nobody_knows_says_so_with_names_that_are_like_it() {
    let hub = always(not_found("RepoNotFound"));
    let (_, message) = refused(&Machine::new(), &hub, "Qwen/Qwen2.5-14C");
    assert!(message.starts_with("unknown model `Qwen/Qwen2.5-14C`, and no local"), "{message}");
    assert!(message.contains("did you mean `qwen2.5-14b`"), "{message}");
    assert!(
        message.contains("no local cache has it") && message.contains("has no `api/models"),
        "{message}"
    );
    let offline = Machine { offline: true, ..Machine::new() };
    let (_, message) = refused(&offline, &hub, "nobody/nothing");
    assert!(message.contains("the network is not to be asked"), "{message}");
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn nobody_there_is_said_after_three_times() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hub = always(Reply::new(200, ""));
    drop(gone);
    let machine = Machine::new();
    let home = machine.home.path();
    let endpoint = std::path::Path::new("http://127.0.0.1:1");
    let environment = vramplan_sources::Environment::made_up(&[("HF_ENDPOINT", endpoint)], home);
    let sources = vramplan_sources::Sources::new(environment, false).with_limits(machine.limits);
    let error = sources.locate("hf:me/it", &Catalog::built_in()).err().unwrap();
    assert!(error.to_string().starts_with("`127.0.0.1:1` does not answer"), "{error}");
    assert!(error.hint().unwrap().contains("--offline"));
    assert!(hub.requests().is_empty());
    let wrong = vramplan_sources::Environment::made_up(
        &[("HF_ENDPOINT", std::path::Path::new("nowhere"))],
        home,
    );
    let error =
        vramplan_sources::Sources::new(wrong, false).locate("hf:me/it", &Catalog::built_in());
    assert_eq!(
        error.err().unwrap().to_string(),
        "`HF_ENDPOINT=nowhere`: expected `https://…` or `http://…`"
    );
}

#[test]
fn redirects_that_lead_nowhere_are_not_followed() {
    let machine = Machine::new();
    for (location, words) in [
        ("/again", "redirects more than 5 times"),
        ("file:///etc/passwd", "expected `https://…` or `http://…`"),
        ("https://user:password@example.org/", "expected an address without a password"),
        ("", "redirects more than 5 times"),
    ] {
        let hub = always(Reply::redirect(location));
        let (kind, message) = refused(&machine, &hub, GGUF);
        assert_eq!(kind, Some(Kind::Redirect), "{message}");
        assert!(message.contains(words), "{location}: {message}");
        assert!(hub.requests().len() <= 6);
    }
}

#[test]
fn an_answer_that_breaks_off_every_time_is_an_error() {
    let hub = files_changed(small_gguf(), |_, reply| reply.cut_after(10));
    let (_, message) = refused(&Machine::new(), &hub, GGUF);
    assert!(message.contains("the answer broke off"), "{message}");
    assert!(hub.requests().len() <= 4, "{:?}", hub.requests());
}

#[test]
fn an_answer_that_hardly_comes_is_given_up() {
    let drip = files_changed(small_gguf(), |_, reply| reply.slowly(Duration::from_millis(100), 1));
    let dead = files_changed(small_gguf(), |_, reply| reply.slowly(Duration::from_secs(60), 1));
    for hub in [drip, dead] {
        let quick = Limits {
            stall: Duration::from_millis(300),
            whole: Duration::from_millis(900),
            ..Machine::new().limits
        };
        let machine = Machine { limits: quick, ..Machine::new() };
        let started = std::time::Instant::now();
        let (_, message) = refused(&machine, &hub, GGUF);
        assert!(message.contains("timeout"), "{message}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}

#[test]
fn lengths_that_contradict_each_other_are_no_answer() {
    let longer = files_changed(small_gguf(), |_, reply| reply.claiming(1 << 40));
    // More than there is was promised: the header is in what came, and nothing behind it is waited for.
    let (model, _) = Machine::new().read(&longer, GGUF);
    assert_eq!(model.stored.unwrap().label, "q8_0");
    let other_size = files_changed(small_gguf(), |request, reply| {
        let until = request.range().unwrap().1;
        reply
            .without("Content-Range")
            .header("Content-Range", format!("bytes 0-{}/999999999999", until - 1))
    });
    let (_, message) = refused(&Machine::new(), &other_size, GGUF);
    assert!(message.contains("999999999999 B by the answer: expected 1"), "{message}");
    let elsewhere = files_changed(small_gguf(), |_, reply| {
        reply.without("Content-Range").header("Content-Range", "bytes 7-99/100")
    });
    let (_, message) = refused(&Machine::new(), &elsewhere, GGUF);
    assert!(message.contains("bytes from 0 were asked for"), "{message}");
    let gzip = files_changed(small_gguf(), |_, reply| reply.header("Content-Encoding", "gzip"));
    let (_, message) = refused(&Machine::new(), &gzip, GGUF);
    assert!(message.contains("an answer in `gzip`, which was not asked for"), "{message}");
}

#[test]
fn a_header_that_promises_a_hundred_megabytes_is_not_fetched() {
    let mut head = 100_000_000u64.to_le_bytes().to_vec();
    head.extend(b"{\"");
    let files = FakeHub::new("me/it")
        .with("config.json", Sparse::whole(CONFIG))
        .with("model.safetensors", Sparse { head, size: 1 << 33 });
    let hub = serve(files);
    let (kind, message) = refused(&Machine::new(), &hub, "hf:me/it");
    assert_eq!(kind, Some(Kind::TooMuch), "{message}");
    assert!(
        message.contains("`hf:me/it/model.safetensors`: its header would take more than 64.00 MiB"),
        "{message}"
    );
    assert!(hub.sent() < 1 << 20, "{} B", hub.sent());
    // A GGUF file's header is as long as it takes: until it takes too much.
    let endless = Limits { most_of_file: 1 << 20, ..Machine::new().limits };
    let mut file = gguf("smollm2-135m", Q8);
    file.head[16..24].copy_from_slice(&(1u64 << 15).to_le_bytes());
    let hub = serve(FakeHub::new("me/it-GGUF").with("a.gguf", file));
    let (_, message) = refused(&Machine { limits: endless, ..Machine::new() }, &hub, "me/it-GGUF");
    assert!(!message.is_empty());
    assert!(hub.sent() < 8 << 20, "{} B", hub.sent());
}

#[test]
fn all_that_is_read_is_bounded_too() {
    let little = Limits { most: 2000, ..Machine::new().limits };
    let hub = serve(small_gguf());
    let (_, message) = refused(&Machine { limits: little, ..Machine::new() }, &hub, GGUF);
    assert!(message.contains("more than 1.95 KiB would have to be read"), "{message}");
    let listing = Loopback::start(|_| Reply::new(200, "[").zeros(40 << 20));
    let (kind, message) = refused(&Machine::new(), &listing, GGUF);
    assert_eq!(kind, Some(Kind::TooMuch), "{message}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let machine = Machine::new();
    let hub = serve(FakeHub::new("me/it").with("../../x.gguf", Sparse::whole("GGUF")));
    let (_, message) = refused(&machine, &hub, "me/it");
    assert!(message.contains("it lists a file `../../x.gguf`: expected a plain path"), "{message}");
    let index = r#"{"weight_map":{"model.norm.weight":"../../../etc/passwd"}}"#;
    let files = checkpoint("me/other").with("model.safetensors.index.json", Sparse::whole(index));
    let hub = serve(files);
    let (_, message) = refused(&machine, &hub, "me/other");
    assert!(
        message.contains("`weight_map` = \"../../../etc/passwd\": expected names of safetensors"),
        "{message}"
    );
    assert!(hub.requests().iter().all(|asked| !asked.path.contains("passwd")));
    let inside: Vec<_> =
        walk(machine.home.path()).into_iter().filter(|path| path.contains("passwd")).collect();
    assert!(inside.is_empty(), "{inside:?}");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap().flatten() {
        found.push(entry.path().to_string_lossy().into_owned());
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

#[test]
fn nothing_that_a_server_says_commands_a_terminal() {
    let machine = Machine::new();
    let escape = "\u{1b}]0;pwned\u{7}";
    let json = r#"{"error":"\u001b]0;pwned\u0007 \u202e"}"#;
    let sha = r#"{"sha":"\u001b[2J","siblings":[]}"#;
    for reply in [
        Reply::new(403, json),
        Reply::new(200, sha),
        Reply::new(200, format!("{escape} no JSON")),
        Reply::redirect("ftp://\u{1b}[31mred"),
    ] {
        let (_, message) = refused(&machine, &always(reply), &format!("hf:{GGUF}"));
        assert!(!message.contains(['\u{1b}', '\u{7}', '\u{202e}', '\n']), "{message:?}");
    }
    let (_, message) = refused(&machine, &serve(small_gguf()), "hf:me/SmolLM2-135M-GGUF:Q9_9");
    assert_eq!(message, "`hf:me/SmolLM2-135M-GGUF` has no `Q9_9`: it has `Q8_0`");
    for text in ["hf:\u{1b}[2J", "https://\u{1b}[2J/x.gguf", "lmstudio:\u{1b}[2J"] {
        let (_, message) = refused(&machine, &serve(small_gguf()), text);
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
}

#[test]
fn several_formats_are_listed_and_not_guessed_among() {
    let file = || gguf("smollm2-135m", Q8);
    let files = FakeHub::new(GGUF).with("a-Q6_K.gguf", file()).with("a-Q8_0.gguf", file());
    let hub = serve(files);
    let machine = Machine::new();
    let error = machine.locate(&hub, GGUF).err().unwrap();
    assert_eq!(error.to_string(), format!("`hf:{GGUF}` is several models: it has `Q6_K`, `Q8_0`"));
    assert!(error.hint().unwrap().contains(&format!("`{GGUF}:Q6_K`")));
    assert!(machine.locate(&hub, &format!("{GGUF}:q8_0")).is_ok());
}
