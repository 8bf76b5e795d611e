//! Logs of engines in the forms in which they write them, with the figures of public threads: `tests/corpus/why`.
//!
//! A case is a log and, beside it, what is true of it: its source, the engine, the terms and the cause. Texts are no
//! copies: the lines have the form of the engine, the figures are the thread's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::estimate::runtimes::file_size;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::spec::Runtime;
use vramplan_planner::units::Bytes;
use vramplan_planner::why::{
    CauseKind, Checked, Compared, Engine, Evidence, Finding, Log, Place, Term, TermKind, decisive,
    explain,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    source: String,
    engine: Engine,
    cause: String,
    asked: Option<String>,
    short: Option<String>,
    place: Option<u64>,
    model: Option<String>,
    version: Option<String>,
    /// The code of a remedy that must be among those named, and its flags.
    remedy: Option<String>,
    flags: Option<String>,
    #[serde(rename = "static")]
    static_share: Option<String>,
    cache_tokens: Option<u64>,
    sentence: Option<String>,
    /// What one of the further sentences says; what a note does.
    because: Option<String>,
    noted: Option<String>,
    /// Whether all that is measured is within the plan's bounds, and some is.
    #[serde(default)]
    within: bool,
    /// The code of a remedy that must not be among those named.
    absent: Option<String>,
    /// Between which shares of the card that remedy lies.
    share: Option<[f64; 2]>,
    /// What the user says besides.
    gpu: Option<String>,
    /// Whether a message of it is broken over lines, between which no program may write.
    #[serde(default)]
    wrapped: bool,
    /// What the thread says of it; and what of the log is not the thread's own.
    #[serde(rename = "said")]
    _said: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    cards: Vec<Card>,
    #[serde(default)]
    terms: Vec<Stated>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    index: u64,
    name: String,
    free: Option<String>,
    total: Option<String>,
    used: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    kind: TermKind,
    card: Option<u64>,
    #[serde(default)]
    host: bool,
    size: String,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/why")
}

/// Every case with its name and its log.
fn cases() -> Vec<(String, Case, Vec<u8>)> {
    let mut cases = Vec::new();
    for entry in fs_err::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs_err::read_to_string(&path).unwrap();
        let case = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        cases.push((name, case, fs_err::read(path.with_extension("log")).unwrap()));
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 205, "only {} cases", cases.len());
    cases
}

fn read(bytes: &[u8]) -> Evidence {
    let mut log = Log::default();
    for part in bytes.chunks(1000) {
        log.feed(part);
    }
    log.finish()
}

fn found(evidence: Evidence, user: &Question) -> Finding {
    let catalog = Catalog::built_in();
    explain(evidence, user, &|question| {
        resolve(question, &catalog, &MemoryFiles::default(), None)
            .map_err(|error| error.to_string())
    })
}

fn bytes(text: &str) -> Bytes {
    text.parse().unwrap()
}

/// What is not as the case says.
fn wrong(case: &Case, finding: &Finding) -> Vec<String> {
    let evidence = &finding.evidence;
    let mut wrong = Vec::new();
    let mut expect = |what: &str, is_right: bool, found: &dyn std::fmt::Debug| {
        if !is_right {
            wrong.push(format!("{what}: {found:?}"));
        }
    };
    let engine = evidence.engine.map(|(engine, _)| engine);
    expect("engine", engine == Some(case.engine), &engine);
    let kind = serde_json::to_value(finding.cause.kind).unwrap();
    expect("cause", kind == case.cause.as_str(), &(&kind, &finding.cause.sentence));
    let failure = decisive(evidence);
    if let Some(asked) = &case.asked {
        let found = failure.and_then(|failure| failure.asked);
        let other = evidence.run.failures.iter().filter_map(|failure| failure.asked);
        let is_right = found.into_iter().chain(other).any(|size| size.is(bytes(asked)));
        expect("asked", is_right, &found);
    }
    if let Some(short) = &case.short {
        // The figures are rounded to a hundredth of a GiB, each of two.
        let found = finding.cause.short_by;
        let near = |found: Bytes| found.diff(bytes(short)).unsigned_abs() <= 11 << 20;
        expect("short by", found.is_some_and(near), &found);
    }
    if let Some(place) = case.place {
        let found = evidence.run.failures.iter().find_map(|failure| failure.place);
        expect("place", found == Some(Place::Card(place)), &found);
    }
    if let Some(model) = &case.model {
        expect("model", evidence.models.contains(model), &evidence.models);
    }
    if case.version.is_some() {
        expect("version", evidence.version == case.version, &evidence.version);
    }
    if case.static_share.is_some() {
        expect("static share", evidence.static_share == case.static_share, &evidence.static_share);
    }
    if case.cache_tokens.is_some() {
        let found = evidence.counts.cache_tokens;
        expect("tokens", found == case.cache_tokens, &found);
    }
    if let Some(words) = &case.sentence {
        expect("sentence", finding.cause.sentence.contains(words), &finding.cause.sentence);
    }
    if let Some(words) = &case.because {
        let because = &finding.cause.because;
        expect("because", because.iter().any(|why| why.contains(words)), because);
    }
    if let Some(words) = &case.noted {
        expect("note", finding.notes.iter().any(|note| note.contains(words)), &finding.notes);
    }
    if case.within {
        let rows = &finding.compared;
        let is_right = !rows.is_empty() && rows.iter().all(Compared::is_within);
        expect("within", is_right, &(rows, &finding.notes));
    }
    let settings = toml::Table::try_from(&evidence.run.question).unwrap();
    for (key, value) in &case.settings {
        expect(key, settings.get(key) == Some(value), &settings.get(key));
    }
    for card in &case.cards {
        let found = evidence.cards.iter().find(|found| found.index == card.index);
        let same = |said: &Option<String>, found: Option<Bytes>| {
            said.as_ref().is_none_or(|said| found == Some(bytes(said)))
        };
        let is_right = found.is_some_and(|found| {
            found.name.as_deref() == Some(&*card.name)
                && same(&card.free, found.free)
                && same(&card.total, found.total)
                && same(&card.used, found.used)
        });
        expect("card", is_right, &found);
    }
    for stated in &case.terms {
        let place = match (stated.host, stated.card) {
            (true, _) => Place::Host,
            (false, Some(card)) => Place::Card(card),
            (false, None) => Place::Cards,
        };
        let is = |term: &&Term| {
            term.kind == stated.kind && term.place == place && term.size.is(bytes(&stated.size))
        };
        let is_right = evidence.run.terms.iter().any(|term| is(&term));
        expect("term", is_right, &(stated.kind, place, &stated.size));
    }
    wrong.extend(wrong_remedies(case, finding));
    wrong
}

/// What is not as the case says of what mends it.
fn wrong_remedies(case: &Case, finding: &Finding) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: &str, is_right: bool, found: &dyn std::fmt::Debug| {
        if !is_right {
            wrong.push(format!("{what}: {found:?}"));
        }
    };
    let codes: Vec<_> =
        finding.remedies.iter().map(|remedy| (remedy.code, &remedy.flags)).collect();
    if let Some(remedy) = &case.remedy {
        let is_right = finding.remedies.iter().any(|found| {
            found.code == remedy && case.flags.as_ref().is_none_or(|flags| *flags == found.flags)
        });
        expect("remedy", is_right, &codes);
    }
    if let Some(absent) = &case.absent {
        expect("absent", codes.iter().all(|(code, _)| code != absent), &codes);
    }
    if let Some([low, high]) = case.share {
        let share = finding.remedies.iter().find(|found| found.code == "other-share");
        let share = share.and_then(|found| found.flags.split(' ').nth(1)?.parse::<f64>().ok());
        expect("share", share.is_some_and(|share| (low..=high).contains(&share)), &codes);
    }
    wrong
}

#[test]
fn engines_terms_and_causes_are_as_their_threads_say() {
    let cases = cases();
    let mut report = String::new();
    let mut wrong_cases = 0;
    for (name, case, log) in &cases {
        let user = Question { gpu: case.gpu.clone(), ..Question::default() };
        let finding = found(read(log), &user);
        let wrong = wrong(case, &finding);
        wrong_cases += usize::from(!wrong.is_empty());
        for line in wrong {
            let _ = writeln!(report, "{name} ({}): {line}", case.source);
        }
    }
    assert!(report.is_empty(), "{wrong_cases} of {} cases:\n{report}", cases.len());
}

#[test]
fn a_buffer_over_vulkans_limit_is_not_a_full_card() {
    let cases = cases();
    let (_, _, log) = cases.iter().find(|(name, ..)| name == "llama-12728").unwrap();
    let finding = found(read(log), &Question::default());
    let because = finding.cause.because.join("\n");
    assert!(because.contains("no single buffer as large as this"), "{because}");
}

/// A log as another program would pass it on.
type Variant = (&'static str, fn(&str) -> Vec<u8>);

fn each_line(text: &str, line: impl Fn(&str) -> String) -> Vec<u8> {
    text.lines().map(|text| line(text) + "\n").collect::<String>().into_bytes()
}

const VARIANTS: [Variant; 10] = [
    ("CRLF", |text| text.replace('\n', "\r\n").into_bytes()),
    ("byte order mark", |text| [b"\xef\xbb\xbf", text.as_bytes()].concat()),
    ("UTF-16", |text| {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    }),
    ("colours", |text| each_line(text, |line| format!("\u{1b}[1;31m{line}\u{1b}[0m"))),
    ("journald", |text| {
        each_line(text, |line| format!("Nov 30 04:00:00 host engine[4242]: {line}"))
    }),
    ("Docker", |text| {
        each_line(text, |line| {
            serde_json::json!({ "log": format!("{line}\n"), "stream": "stderr" }).to_string()
        })
    }),
    ("compose", |text| each_line(text, |line| format!("engine-1  | {line}"))),
    ("kubectl", |text| each_line(text, |line| format!("[pod/engine-7d9/engine] {line}"))),
    ("timestamps", |text| each_line(text, |line| format!("2026-11-30T04:00:00.123456789Z {line}"))),
    ("a huge line before", |text| {
        [vec![b'x'; 300_000], b"\n".to_vec(), text.as_bytes().to_vec()].concat()
    }),
];

#[test]
fn whoever_passes_a_log_on_it_says_the_same() {
    let mut checked = 0;
    for (name, case, log) in cases() {
        let text = String::from_utf8(log).unwrap();
        for (how, variant) in VARIANTS {
            // A command over several lines is broken by what stands before each of them, as the tables of
            // `nvidia-smi` and wrapped messages may be.
            let wrapped = case.wrapped || text.contains("\\\n") || name.starts_with("bnb-cookbook");
            let changes_lines =
                !matches!(how, "CRLF" | "byte order mark" | "UTF-16" | "a huge line before");
            if wrapped && changes_lines {
                continue;
            }
            let user = Question { gpu: case.gpu.clone(), ..Question::default() };
            let wrong = wrong(&case, &found(read(&variant(&text)), &user));
            assert!(wrong.is_empty(), "{name} through {how}: {wrong:#?}");
            checked += 1;
        }
    }
    assert!(checked > 1800, "only {checked} variants");
}

#[test]
fn a_log_that_is_cut_anywhere_is_read() {
    for (_, _, log) in cases() {
        for at in (0..log.len()).step_by(97) {
            let (head, tail) = log.split_at(at);
            let _ = read(head);
            let evidence = read(tail);
            assert!(evidence.lines <= log.len() as u64);
        }
    }
}

/// Where nothing is left for the cache the start ends, also where the log was cut before it says so.
#[test]
fn a_start_whose_error_was_cut_off_is_told() {
    let (_, case, log) = cases().into_iter().find(|(name, ..)| name == "vllm-13882").unwrap();
    let text = String::from_utf8(log).unwrap();
    let (before, error) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(error.contains("No available memory for the cache blocks"), "{error}");
    let wrong = wrong(&case, &found(read(before.as_bytes()), &Question::default()));
    assert!(wrong.is_empty(), "{wrong:?}");
    let served = format!("{before}\nINFO:     Application startup complete.\n");
    assert!(decisive(&read(served.as_bytes())).is_none());
}

/// Text that could command a terminal is neither kept nor printed.
#[test]
fn what_is_printed_is_safe() {
    let hostile = "\u{1b}]0;x\u{7}\u{202e}";
    for (name, _, log) in cases() {
        let text = String::from_utf8(log).unwrap();
        let marked =
            text.replace('a', &format!("a{hostile}")).replace("model", &format!("model{hostile}"));
        for text in [text.clone() + hostile, marked] {
            let finding = found(read(text.as_bytes()), &Question::default());
            let document = vramplan_planner::render::WhyDoc::new(&finding);
            for format in
                [vramplan_planner::render::Format::Table, vramplan_planner::render::Format::Json]
            {
                let printed =
                    vramplan_planner::render::WHY.print(&document, format).unwrap().unwrap();
                let safe = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
                assert!(printed.chars().all(safe), "{name}: {printed:?}");
            }
        }
    }
}

#[test]
fn a_remedy_that_is_planned_again_says_so() {
    let log = fs_err::read(corpus().join("../why-planned.log")).unwrap();
    let finding = found(read(&log), &Question::default());
    let planned = finding.remedies.iter().filter(|remedy| remedy.checked == Checked::Fits).count();
    assert!(planned >= 3, "{:#?}", finding.remedies);
}

/// Rows of a corpus of logs that others recorded.
fn rows(name: &str) -> Vec<std::collections::HashMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus").join(name);
    let mut reader = csv::Reader::from_reader(fs_err::File::open(path).unwrap());
    reader.deserialize().map(Result::unwrap).collect()
}

/// Every recorded log of llama.cpp, written again in its form: what it measured is within the plan that is made of it.
#[test]
fn recorded_llama_cpp_logs_are_planned_as_measured() {
    let (mut planned, mut within, mut all, mut outside) = (0, 0, 0, String::new());
    let rows = rows("llama_cpp.csv");
    // Of cards that no profile describes nothing is planned.
    let catalog = Catalog::built_in();
    let usual = |row: &&std::collections::HashMap<String, String>| {
        row["left_out"].is_empty() && catalog.gpu(&row["gpu"]).is_ok()
    };
    let rows: Vec<_> = rows.iter().filter(usual).collect();
    for row in &rows {
        let of = |key: &str| row[key].as_str();
        let build = of("version").strip_prefix('b').map(|build| format!("build: {build} (0)\n"));
        let log = format!(
            "ggml_cuda_init: found 1 CUDA devices:\n  Device 0: {gpu}, compute capability 8.6, VMM: yes\n{build}\
             llama_model_loader: loaded meta data with 1 key-value pairs and 2 tensors from /m/{model}-{weights}.gguf (version GGUF V3 (latest))\n\
             load_tensors: offloaded 99/99 layers to GPU\nload_tensors:        CUDA0 model buffer size =  {weights_mib} MiB\n\
             llama_context: constructing llama_context\nllama_context: n_seq_max     = {n_seq_max}\nllama_context: n_ctx         = {n_ctx}\n\
             llama_context: n_batch       = {n_batch}\nllama_context: n_ubatch      = {n_ubatch}\nllama_context: flash_attn    = {flash}\n\
             llama_kv_cache:      CUDA0 KV buffer size =  {kv_mib} MiB\nllama_kv_cache: size = {kv_mib} MiB, K ({kv}): 1.00 MiB, V ({kv}): 1.00 MiB\n\
             sched_reserve:      CUDA0 compute buffer size =   {compute_mib} MiB\n",
            gpu = of("gpu"),
            build = build.unwrap_or_default(),
            model = of("model"),
            weights = of("weights"),
            weights_mib = of("weights_mib"),
            n_seq_max = of("n_seq_max"),
            n_ctx = of("n_ctx"),
            n_batch = of("n_batch"),
            n_ubatch = of("n_ubatch"),
            flash = of("flash"),
            kv_mib = of("kv_mib"),
            kv = of("kv"),
            compute_mib = of("compute_mib"),
        );
        let version = Some(of("version").to_owned()).filter(|version| !version.starts_with('b'));
        let user = Question { runtime_version: version, ..Question::default() };
        let finding = found(read(log.as_bytes()), &user);
        assert_eq!(finding.evidence.engine.map(|(engine, _)| engine), Some(Engine::LlamaCpp));
        planned += usize::from(finding.plan.is_some());
        if finding.plan.is_none() {
            let _ = writeln!(outside, "{} not planned: {:?}", of("model"), finding.notes);
        }
        all += finding.compared.len();
        for row in &finding.compared {
            within += usize::from(row.is_within());
            if !row.is_within() {
                let _ = writeln!(outside, "{} {}: {:?}", of("model"), of("source"), row);
            }
        }
    }
    // Weights and compute of each, caches of most.
    assert!(all >= 45, "only {all} terms");
    assert!(rows.len() >= 16, "only {} rows", rows.len());
    assert_eq!(planned, rows.len(), "{outside}");
    assert!(within * 100 >= all * 95, "{within} of {all} within their bounds:\n{outside}");
}

/// The same of vLLM.
#[test]
fn recorded_vllm_logs_are_planned_as_measured() {
    let (mut planned, mut within, mut all, mut outside) = (0, 0, 0, String::new());
    let rows = rows("vllm.csv");
    let catalog = Catalog::built_in();
    let usual = |row: &&std::collections::HashMap<String, String>| {
        catalog.gpu(&row["gpu"]).is_ok()
            && row["left_out"].is_empty()
            && row["ranks"] == "1"
            && row["pipeline"] == "1"
            && row["lora"] == "0"
    };
    let rows: Vec<_> = rows.iter().filter(usual).collect();
    for row in &rows {
        let of = |key: &str| row[key].as_str();
        let fp8 = if of("kv").starts_with("fp8") { "fp8" } else { "auto" };
        let log = format!(
            "INFO [core.py:1] Initializing a V1 LLM engine ({version}) with config: model='{model}', dtype=torch.bfloat16, tensor_parallel_size=1, \
             quantization=None, enforce_eager=False, kv_cache_dtype={fp8}\n\
             INFO args: Namespace(max_num_seqs={max_seqs}, max_num_batched_tokens={chunk}, gpu_memory_utilization={share})\n\
             INFO [gpu_model_runner.py:1] Model loading took {weights} GiB memory and 3.0 seconds\n\
             INFO [gpu_worker.py:1] Available KV cache memory: {kv} GiB\n",
            version = of("version"),
            model = of("profile"),
            max_seqs = of("max_seqs"),
            chunk = of("chunk"),
            share = of("utilization"),
            weights = of("weights_gib"),
            kv = of("kv_cache_gib"),
        );
        let user = Question {
            gpu: Some(of("gpu").to_owned()),
            weights: of("weights").parse().ok(),
            images: (of("vision") == "0").then_some(0),
            context: of("chunk").parse().ok(),
            ..Question::default()
        };
        let finding = found(read(log.as_bytes()), &user);
        assert_eq!(finding.evidence.engine.map(|(engine, _)| engine), Some(Engine::Vllm));
        planned += usize::from(finding.plan.is_some());
        if finding.plan.is_none() {
            let _ = writeln!(outside, "{} not planned: {:?}", of("profile"), finding.notes);
        }
        for row in &finding.compared {
            all += 1;
            within += usize::from(row.is_within());
            if !row.is_within() {
                let _ = writeln!(outside, "{}: {:?}", of("profile"), row);
            }
        }
    }
    assert!(rows.len() > 35, "only {} rows", rows.len());
    assert_eq!(planned, rows.len(), "{outside}");
    assert!(within * 100 >= all * 95, "{within} of {all} within their bounds:\n{outside}");
}

/// `SGLang`'s recorded starts, in the form of its log, are planned, and what they say is what is planned.
#[test]
fn recorded_starts_of_sglang_are_planned() {
    let rows = rows("sglang.csv");
    let (mut planned, mut all, mut within) = (0, 0, 0);
    let mut outside = String::new();
    for row in &rows {
        let of = |key: &str| row[key].as_str();
        let said = |key: &str, name: &str| match of(key) {
            "" => String::new(),
            value => format!(", {name}={value}"),
        };
        let mut log = format!(
            "[2025-08-08 03:34:38] server_args=ServerArgs(model_path='{}', tp_size={}{}{}, disable_cuda_graph={})\n",
            of("profile"),
            of("gpus"),
            said("fraction", "mem_fraction_static"),
            said("chunk", "chunked_prefill_size"),
            if of("eager") == "1" { "True" } else { "False" },
        );
        if !of("before_gib").is_empty() {
            let used: f64 =
                of("before_gib").parse::<f64>().unwrap() - of("after_gib").parse::<f64>().unwrap();
            let _ = write!(
                log,
                "[2025-08-08 03:34:39] Load weight begin. avail mem={} GB\n\
                 [2025-08-08 03:34:41] Load weight end. type=X, dtype=torch.bfloat16, avail mem={} GB, mem usage={used:.2} GB.\n",
                of("before_gib"),
                of("after_gib"),
            );
        }
        let _ =
            writeln!(log, "[2025-08-08 03:34:41] KV Cache is allocated. #tokens: {}", of("tokens"));
        log.push_str(
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.\n",
        );
        let user = Question {
            gpu: (!of("gpu").is_empty()).then(|| of("gpu").to_owned()),
            weights: of("weights").parse().ok(),
            ..Question::default()
        };
        let finding = found(read(log.as_bytes()), &user);
        assert_eq!(finding.evidence.engine.map(|(engine, _)| engine), Some(Engine::Sglang));
        planned += usize::from(finding.plan.is_some());
        if finding.plan.is_none() {
            let _ = writeln!(outside, "{} not planned: {:?}", of("id"), finding.notes);
        }
        for row in &finding.compared {
            all += 1;
            within += usize::from(row.is_within());
            if !row.is_within() {
                let _ = writeln!(outside, "{}: {:?}", of("id"), row);
            }
        }
    }
    assert!(rows.len() > 10, "only {} rows", rows.len());
    assert_eq!(planned, rows.len(), "{outside}");
    assert!(within * 100 >= all * 95, "{within} of {all} within their bounds:\n{outside}");
}

/// A message that is cut before it says what `PyTorch` holds accuses no other process.
#[test]
fn a_message_that_is_cut_accuses_nobody() {
    let whole = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB of \
                 which 1.02 GiB is free. Process 99 has 22.60 GiB memory in use.";
    let kind = |log: &str| found(read(log.as_bytes()), &Question::default()).cause.kind;
    assert_eq!(kind(whole), vramplan_planner::why::CauseKind::CardFull);
    let more = format!(
        "{whole} Including non-PyTorch memory, this process has 0.50 GiB memory in use. Of the allocated memory 0.20 GiB is allocated by PyTorch, and 0.01 GiB is reserved by PyTorch but unallocated."
    );
    assert_eq!(kind(&more), vramplan_planner::why::CauseKind::OtherProcesses);
}

/// A share that is too small is mended by one that is planned again.
#[test]
fn a_static_share_is_planned_again() {
    let log = "server_args=ServerArgs(model_path='meta-llama/Llama-3.1-8B-Instruct', mem_fraction_static=0.7, context_length=32768, \
               chunked_prefill_size=2048)\n\
               [2025-08-08 03:34:39] Load weight begin. avail mem=21.63 GB\n\
               [2025-08-08 03:34:45] Load weight end. type=LlamaForCausalLM, avail mem=6.48 GB, mem usage=15.15 GB.\n\
               RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.\n";
    for gpu in [None, Some("L4".to_owned())] {
        let finding = found(read(log.as_bytes()), &Question { gpu, ..Question::default() });
        assert!(finding.plan.is_some(), "{:?}", finding.notes);
        let share = finding.remedies.iter().find(|remedy| remedy.code == "other-share").unwrap();
        assert_eq!(share.checked, vramplan_planner::why::Checked::Fits, "{share:?}");
        assert!(share.flags.starts_with("--mem-fraction-static 0.8"), "{share:?}");
    }
}

/// A context beside the first, such as a draft's, is told of as one.
#[test]
fn a_second_context_is_named() {
    let log = "load_tensors: loading model tensors, this can take a while... (mmap = true)\n\
               llama_context: constructing llama_context\n\
               llama_kv_cache:      CUDA0 KV buffer size =  1024.00 MiB\n\
               sched_reserve:      CUDA0 compute buffer size =   300.00 MiB\n\
               srv    load_model: creating MTP draft context against the target model 'x.gguf'\n\
               llama_context: constructing llama_context\n\
               ggml_backend_cuda_buffer_type_alloc_buffer: allocating 1042.00 MiB on device 0: cudaMalloc failed: out of memory\n\
               ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 1092616192\n\
               graph_reserve: failed to allocate compute buffers\n";
    let finding = found(read(log.as_bytes()), &Question::default());
    let sentence = &finding.cause.sentence;
    assert!(
        sentence.contains("compute buffer of 1.02 GiB for a context beside the first"),
        "{sentence}"
    );
    assert_eq!(finding.evidence.run.failures.len(), 1);
}

/// The last run that failed counts, and one that went well after it is told of.
#[test]
fn of_several_runs_the_last_that_failed_is_told() {
    let run = |asked: &str| {
        format!(
            "llama_model_loader: loaded meta data with 1 key-value pairs and 2 tensors from /m/x.gguf (version GGUF V3 (latest))\n\
             load_tensors: loading model tensors, this can take a while... (mmap = true)\n\
             ggml_backend_cuda_buffer_type_alloc_buffer: allocating {asked} MiB on device 0: cudaMalloc failed: out of memory\n"
        )
    };
    let well = "llama_model_loader: loaded meta data with 1 key-value pairs and 2 tensors from /m/x.gguf (version GGUF V3 (latest))\n\
                load_tensors:        CUDA0 model buffer size =  1.00 MiB\nmain: server is listening on http://x\n";
    let evidence = read((run("100.00") + &run("200.00")).as_bytes());
    assert_eq!((evidence.earlier, evidence.recovered), (1, None));
    let asked = decisive(&evidence).and_then(|failure| failure.asked).map(|asked| asked.bytes);
    assert_eq!(asked, Some(Bytes::mib(200).unwrap()));
    let evidence = read((run("100.00") + well).as_bytes());
    assert_eq!((evidence.earlier, evidence.recovered), (0, Some(4)));
    assert!(decisive(&evidence).is_some());
    assert!(decisive(&read(well.as_bytes())).is_none());
}

/// Whatever a log holds it is explained: nothing panics, nothing is kept without bound.
#[test]
fn mutated_logs_are_explained() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    let numbers =
        ["0", "-1", "18446744073709551615", "99999999999999999999", "1e9", "", "NaN", "é"];
    for (_, _, log) in cases() {
        let text = String::from_utf8(log).unwrap();
        for _ in 0..6 {
            let mut words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
            for _ in 0..3 {
                let (at, other) = (random(words.len()), random(words.len()));
                match random(4) {
                    0 => words.swap(at, other),
                    1 => words[at] = numbers[random(numbers.len())].to_owned() + " ",
                    2 => words[at] = words[at].repeat(1 + random(50)),
                    _ => words[at].clear(),
                }
            }
            let evidence = read(words.concat().as_bytes());
            assert!(evidence.run.terms.len() <= 4096 && evidence.cards.len() <= 128);
            let finding = found(evidence, &Question::default());
            let document = vramplan_planner::render::WhyDoc::new(&finding);
            let table = vramplan_planner::render::Format::Table;
            vramplan_planner::render::WHY.print(&document, table).unwrap().unwrap();
        }
    }
}

/// What is ended by force after it failed by itself did not run out of memory by that.
#[test]
fn what_failed_by_itself_was_not_ended_for_want_of_memory() {
    let kind = |log: &str| found(read(log.as_bytes()), &Question::default()).cause.kind;
    let start = "INFO 04-23 23:45:36 [loader.py:402] Loading weights onto GPU.\n";
    for end in [
        "Killed",
        "server-1  | Killed",
        "./run.sh: line 3:  7 Killed   vllm serve x",
        "x exited with code 137",
    ] {
        let killed = format!("{start}{end}\n");
        assert_eq!(kind(&killed), CauseKind::MainMemory, "{end}");
        let raised =
            format!("{start}RuntimeError: 'tuple' object has no attribute 'ndim'\n{end}\n");
        assert_eq!(kind(&raised), CauseKind::None, "{end}");
    }
    for no in [
        "Killed all humans",
        "code 1370",
        "Exit Code: 1370",
        "\"ExitCode\": 1",
        "0 Workers (tasks / actors) killed due to memory pressure (OOM)",
    ] {
        assert_eq!(kind(no), CauseKind::None, "{no}");
    }
}

/// What no reader knows is quoted, and not said to be no failure; what only warns of it is none.
#[test]
fn words_that_are_not_known_are_quoted() {
    let cause = |log: &str| found(read(log.as_bytes()), &Question::default()).cause;
    for log in [
        // antirez/ds4#78, #410 and a variant of a check before a start.
        "ds4: CUDA q8 fp16 cache alloc failed (64.00 MiB): out of memory\n",
        "ds4: ROCm tensor alloc failed: out of memory\n",
        "ValueError: Available memory on device cuda:0 (28.49/124.0 GiB) is below required\n",
        "the 27B ran out of memory on my card\n",
    ] {
        let found = cause(log);
        assert_eq!(found.kind, CauseKind::Unknown, "{}", found.sentence);
        assert!(found.sentence.contains(log.trim_end()), "{}", found.sentence);
        assert_eq!((found.line, found.short_by), (Some(1), None));
    }
    for log in [
        "WARNING: a long context may cause out of memory while profiling\n",
        "set `max_split_size_mb` where you run out of memory\n",
        "ds4: alloc failed: out of memory\nINFO: Application startup complete.\n",
    ] {
        assert_eq!(cause(log).kind, CauseKind::None, "{log}");
    }
}

/// A card that a server's pool fills is not one that its model is larger than (sgl-project/sglang#4547).
#[test]
fn a_message_alone_may_be_a_server_s() {
    let message = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 79.14 GiB of which \
                   1.15 GiB is free. Process 12 has 77.98 GiB memory in use. Of the allocated memory 73.96 GiB is allocated by PyTorch, \
                   and 2.20 GiB is reserved by PyTorch but unallocated.\n";
    let of =
        |before: &str| found(read(format!("{before}{message}").as_bytes()), &Question::default());
    let alone = of("");
    assert!(alone.cause.because[0].contains("the message alone does not tell"));
    assert!(alone.remedies.iter().any(|remedy| remedy.text.contains("--mem-fraction-static")));
    assert!(alone.remedies.iter().all(|remedy| remedy.flags != "load_in_4bit=True"));
    let server = of("  File \"/env/sglang/srt/managers/scheduler.py\", line 9, in run\n");
    assert!(server.cause.because[0].contains("a pool that fills the server's share"));
    let script = of("  File \"/env/peft/tuners/lora/layer.py\", line 9, in forward\n");
    assert!(script.cause.because[0].contains("are larger than the card"));
}

/// A context that nobody said is not the run's.
#[test]
fn a_context_that_is_taken_for_granted_is_said() {
    let log = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 16000.00 MiB on device 0: cudaMalloc failed: out of memory\n";
    let user = Question {
        model: Some("qwen3-30b-a3b".to_owned()),
        gpu: Some("RTX 4090".to_owned()),
        ..Question::default()
    };
    let notes = |user: &Question| found(read(log.as_bytes()), user).notes.join("\n");
    let taken = notes(&user);
    assert!(taken.contains("the log does not say the context: the plan's "), "{taken}");
    let said = notes(&Question { cache_tokens: Some(40_000), ..user });
    assert!(!said.contains("does not say the context"), "{said}");
}

/// Each program around llama.cpp has its own words, and is told no other's.
#[test]
fn koboldcpp_is_told_in_its_own_words() {
    let log = "Welcome to KoboldCpp - Version 1.104\n\
               Namespace(batchsize=512, contextsize=32768, flashattention=False, gpulayers=49, model=['E:\\\\m\\\\Qwen2.5-14B-Instruct-Q4_K_M.gguf'])\n\
               llama_model_loader: loaded meta data with 1 key-value pairs and 2 tensors from E:\\m\\Qwen2.5-14B-Instruct-Q4_K_M.gguf (version GGUF V3 (latest))\n\
               load_tensors: offloaded 49/49 layers to GPU\n\
               llama_context: constructing llama_context\n\
               llama_context: n_ctx         = 32768\n\
               ggml_backend_cuda_buffer_type_alloc_buffer: allocating 6144.00 MiB on device 0: cudaMalloc failed: out of memory\n\
               llama_kv_cache_init: failed to allocate buffer for kv cache\n";
    for gpu in [None, Some("RTX 3060".to_owned())] {
        let finding = found(read(log.as_bytes()), &Question { gpu, ..Question::default() });
        assert_eq!(finding.evidence.engine.map(|(engine, _)| engine), Some(Engine::KoboldCpp));
        assert_eq!(finding.cause.kind, CauseKind::Cache, "{}", finding.cause.sentence);
        let flags: Vec<_> = finding.remedies.iter().map(|remedy| remedy.flags.as_str()).collect();
        assert!(flags.iter().any(|flags| flags.starts_with("--contextsize ")), "{flags:?}");
        assert!(flags.contains(&"--flashattention --quantkv 1"), "{flags:?}");
        let of_others = |flags: &&str| {
            ["-c ", "-ctk", "-ub", "-ngl", "num_"].iter().any(|word| flags.contains(word))
        };
        assert!(!flags.iter().any(of_others), "{flags:?}");
    }
}

/// A message that a terminal broke in the middle of words is read as one that it broke between them.
#[test]
fn a_message_may_be_broken_anywhere() {
    let whole = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB of \
                 which 1.02 GiB is free. Including non-PyTorch memory, this process has 22.62 GiB memory in use. Of the allocated \
                 memory 22.10 GiB is allocated by PyTorch, and 10.00 MiB is reserved by PyTorch but unallocated.";
    let of = |log: &str| {
        let evidence = read(log.as_bytes());
        decisive(&evidence).cloned().map(|failure| (failure.kind, failure.asked, failure.place))
    };
    // Its first words say that it is one: those have to be whole, and the words of a size.
    for width in [80, 93, 100, 120, 132] {
        let broken: Vec<String> = whole
            .as_bytes()
            .chunks(width)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        assert_eq!(of(&broken.join("\n")), of(whole), "{width}");
    }
}

/// The finding of some lines, without anything that a user says.
fn of_lines(lines: &str) -> Finding {
    found(read(lines.as_bytes()), &Question::default())
}

/// What is stated as allocated of a kind on a card.
fn allocated(finding: &Finding, kind: TermKind, card: u64) -> Vec<Bytes> {
    let here =
        |term: &&Term| term.kind == kind && term.place == Place::Card(card) && !term.estimated;
    finding.evidence.run.terms.iter().filter(here).map(|term| term.size.bytes).collect()
}

/// Ollama deals out layers by what it expects; llama.cpp, which loads the model, prints what it allocates.
#[test]
fn what_ollama_expects_of_llama_cpp_is_not_counted() {
    let layout = "msg=\"model weights\" device=CUDA0 size=\"13.3 GiB\"\n\
        source=device.go:251 msg=\"kv cache\" device=CUDA0 size=\"6.1 GiB\"\n";
    let loaded = "llama_model_loader: loaded meta data with 35 key-value pairs and 771 tensors from /m/x.gguf (version GGUF V3)\n\
        load_tensors: offloaded 49/65 layers to GPU\n\
        load_tensors:        CUDA0 model buffer size = 13613.88 MiB\n\
        llama_kv_cache:      CUDA0 KV buffer size =  6272.00 MiB\n";
    let finding = of_lines(&format!("time=2026-04-02 source=device.go:240 {layout}{loaded}"));
    assert_eq!(allocated(&finding, TermKind::Weights, 0), [bytes("13613.88 MiB")]);
    assert_eq!(allocated(&finding, TermKind::Cache, 0), [bytes("6272 MiB")]);
    // Its own engine has allocated what it states.
    let own = of_lines(&format!("time=2026-04-02 source=device.go:240 {layout}"));
    assert_eq!(allocated(&own, TermKind::Weights, 0), [bytes("13.3 GiB")]);
}

/// A llama.cpp log of a card and a model, with these lines behind.
fn llama_log(device: &str, model: &str, behind: &str) -> Finding {
    of_lines(&format!(
        "{device}\nllama_model_loader: loaded meta data with 1 key-value pairs and 2 tensors from /m/{model}.gguf (version GGUF V3 (latest))\n{behind}"
    ))
}

const L4: &str = "  Device 0: NVIDIA L4, compute capability 8.9, VMM: yes";

/// Slots that are not unified have each their part of the cells, once: lines of the slots say it again.
#[test]
fn slots_of_their_own_divide_the_context_once() {
    let finding = llama_log(
        L4,
        "Qwen3-8B-Q4_K_M",
        "load_tensors: offloaded 37/37 layers to GPU\nllama_context: constructing llama_context\nllama_context: n_seq_max     = 8\n\
         llama_context: n_ctx         = 32768\nllama_context: n_ctx_seq     = 4096\nllama_context: kv_unified    = false\n\
         llama_kv_cache:      CUDA0 KV buffer size =  4608.00 MiB\n\
         llama_kv_cache: size = 4608.00 MiB (  4096 cells,  36 layers,  8/8 seqs), K (f16): 2304.00 MiB, V (f16): 2304.00 MiB\n\
         slot   load_model: id  0 | task -1 | new slot, n_ctx = 4096\nslot   load_model: id  1 | task -1 | new slot, n_ctx = 4096\n",
    );
    let caches = finding.compared.iter().find(|row| row.group.title() == "caches").unwrap();
    assert_eq!(caches.planned.expected, bytes("4608 MiB"));
    assert!(caches.is_within());
}

/// A benchmark's command line is read as a server's is, and the layers of several cards are dealt by what was free of each.
#[test]
fn commands_of_benchmarks_and_free_memory_place_layers() {
    let finding = of_lines(&format!(
        "./build/bin/llama-sweep-bench -m /m/Qwen3-235B-A22B-Q8_0.gguf -fa -c 32768 -ngl 99 -ot \"blk\\.[2-9][0-9]\\.ffn.*=CPU\" -ot exps=CPU\n{L4}\n"
    ));
    assert_eq!(finding.evidence.run.question.override_tensor.len(), 2);

    let two = |free: [u64; 2]| {
        let device = format!(
            "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 4090) - {} MiB free\n\
             llama_model_load_from_file_impl: using device CUDA1 (NVIDIA GeForce RTX 5090) - {} MiB free",
            free[0], free[1]
        );
        let behind = "load_tensors: offloaded 49/49 layers to GPU\nllama_context: constructing llama_context\n\
            llama_context: n_ctx         = 16384\nllama_kv_cache_unified:      CUDA0 KV buffer size =   384.00 MiB\n\
            llama_kv_cache_unified:      CUDA1 KV buffer size =  1152.00 MiB\n";
        let finding = llama_log(&device, "Qwen3-30B-A3B-Q4_K_M", behind);
        let caches = finding.compared.iter().filter(|row| row.group.title() == "caches");
        caches.map(|row| row.planned.expected).collect::<Vec<_>>()
    };
    assert_eq!(two([9862, 31_518]), [bytes("384 MiB"), bytes("1152 MiB")]);
    assert_eq!(two([20_000, 20_000]), [bytes("800 MiB"), bytes("736 MiB")]);
}

/// What was tuned is planned as what it was tuned from, where the log prints its layers and width.
#[test]
fn what_is_tuned_is_planned_as_its_base() {
    let shape = "print_info: n_embd           = 2560\nprint_info: n_layer          = 36\n";
    let with = |name: &str, behind: &str| llama_log(L4, name, behind);
    let finding = with("Qwen3-4B-abliterated-q6_k", shape);
    let plan = finding.plan.as_ref().unwrap();
    assert_eq!(plan.deployment.model.name, "qwen3-4b");
    assert!(
        finding.notes.iter().any(|note| note.contains("`Qwen3-4B` is planned")),
        "{:?}",
        finding.notes
    );
    let base = format!(
        "llama_model_loader: - kv  10:   general.base_model.0.name str              = Qwen3 4B\n{shape}"
    );
    assert_eq!(with("my-own-tune", &base).plan.unwrap().deployment.model.name, "qwen3-4b");
    // llama.cpp's fitting counts layers of cards, in the same words.
    let fitted =
        format!("common_params_fit_impl: id=0, n_layer= 2, n_part= 0, mem=  1806 MiB\n{shape}");
    assert!(with("Qwen3-4B-Q6_K", &fitted).plan.is_some());
    // Without the shape, or with another, a part of a name is no model.
    assert!(with("Qwen3-4B-abliterated-q6_k", "").plan.is_none());
    assert!(with("Qwen3-8B-abliterated-q6_k", shape).plan.is_none());
}

/// A card that no profile is of is planned by the size that the log prints; Apple's by the memory that it is of.
#[test]
fn cards_without_a_profile_have_the_printed_size() {
    let laptop = "  - Vulkan0 : NVIDIA GeForce GTX 960 (3962 MiB, 3367 MiB free)";
    let finding =
        llama_log(laptop, "Llama-3.2-1B-Instruct-Q4_K_M", "llama_context: n_ctx = 4096\n");
    let plan = finding.plan.as_ref().unwrap();
    // Sizes are said to a hundredth of a GiB.
    let total = plan.deployment.cards.first().capacity.total;
    assert!(total.diff(bytes("3962 MiB")).unsigned_abs() < 6 << 20, "{total}");
    assert!(
        finding.notes.iter().any(|note| note.contains("no profile is of `NVIDIA GeForce GTX 960`"))
    );
    let radeon = "llama_model_load_from_file_impl: using device Vulkan0 (Radeon 8060S Graphics (RADV STRIX_HALO)) (0000:c6:00.0) - 129924 MiB free";
    let finding =
        llama_log(radeon, "Llama-3.2-1B-Instruct-Q4_K_M", "llama_context: n_ctx = 4096\n");
    let name = finding.evidence.cards[0].name.as_deref();
    assert_eq!(name, Some("Radeon 8060S Graphics (RADV STRIX_HALO)"));
    let apple = "llama_model_load_from_file_impl: using device MTL0 (Apple M4) (unknown id) - 12123 MiB free";
    let finding = llama_log(apple, "Llama-3.2-1B-Instruct-Q4_K_M", "llama_context: n_ctx = 4096\n");
    assert_eq!(finding.plan.unwrap().deployment.cards.first().gpu.name, "M4 16GB");
}

/// Cards that Ollama lists and llama.cpp does not use are not planned with.
#[test]
fn cards_that_are_not_used_are_left_out() {
    let listed = "time=2026-07-29 msg=\"inference compute\" id=0 library=Vulkan name=Vulkan1 description=\"NVIDIA L4\" total=\"22.0 GiB\" available=\"21.0 GiB\"";
    let used = "llama_prepare_model_devices: using device Vulkan0 (NVIDIA L4) (0000:01:00.0) - 21504 MiB free";
    let finding =
        llama_log(&format!("{listed}\n{used}"), "Qwen3-8B-Q4_K_M", "llama_context: n_ctx = 4096\n");
    assert_eq!(finding.plan.unwrap().deployment.cards.len(), 1);
}

#[test]
fn the_card_and_the_context_of_a_message_are_those_that_it_names() {
    let line = "ERROR Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization. Original error: CUDA out of \
        memory. Tried to allocate 448.00 MiB. GPU 1 has a total capacity of 23.52 GiB of which 310.81 MiB is free.";
    let finding = of_lines(line);
    assert_eq!(decisive(&finding.evidence).unwrap().place, Some(Place::Card(1)));

    let user = Question {
        model: Some("llama-3.1-8b".to_owned()),
        gpu: Some("RTX 4090".to_owned()),
        ..Question::default()
    };
    let line = "ValueError: The model's max seq len (29000) is larger than the maximum number of tokens that can be stored in KV cache (21000). \
        Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.";
    let finding = found(read(line.as_bytes()), &user);
    assert_eq!(finding.plan.unwrap().question.context, Some(29_000));
}

/// Scores of a whole context are in a compute buffer unless flash attention is on.
#[test]
fn a_large_compute_buffer_names_what_it_grows_with() {
    let lines = "llama_context: n_ctx         = 131072\n\
        ggml_backend_cuda_buffer_type_alloc_buffer: allocating 14131.20 MiB on device 0: cudaMalloc failed: out of memory\n\
        ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 14817636352\n\
        graph_reserve: failed to allocate compute buffers\n";
    let codes = |finding: &Finding| {
        finding.remedies.iter().map(|found| found.flags.clone()).collect::<Vec<_>>()
    };
    let told = codes(&of_lines(lines));
    assert!(
        told.contains(&"-fa on".to_owned()) && told.contains(&"-c 65536".to_owned()),
        "{told:?}"
    );
    let with_flash = codes(&of_lines(&format!("llama_context: flash_attn    = enabled\n{lines}")));
    assert!(!with_flash.contains(&"-fa on".to_owned()), "{with_flash:?}");
}

/// A file whose makers chose types of their own has the size that the log prints, and not that of its type's rule.
#[test]
fn a_file_that_mixes_types_has_the_size_that_is_printed() {
    let with = |size: &str| {
        let behind = format!(
            "print_info: file type   = Q4_K - Medium\n{size}load_tensors: offloaded 37/37 layers to GPU\n\
             load_tensors:        CUDA0 model buffer size =  4260.00 MiB\nllama_context: n_ctx = 4096\n"
        );
        let finding = llama_log(L4, "Qwen3-8B-UD-Q4_K_XL", &behind);
        let weights = finding.compared.iter().find(|row| row.group.title() == "weights");
        (weights.unwrap().planned, finding.notes)
    };
    let (by_rule, _) = with("");
    let (printed, notes) = with("print_info: file size   = 4.50 GiB (4.72 BPW)\n");
    let model = Catalog::built_in().model("qwen3-8b").unwrap();
    let whole = file_size(&model, "q4_k_m".parse().unwrap(), Runtime::LlamaCpp).unwrap();
    let expected = by_rule.expected.scale(bytes("4.5 GiB").get(), whole.get()).unwrap();
    let away = printed.expected.diff(expected).unsigned_abs();
    assert!(
        away < 4 << 20,
        "{} for {expected}, {} by the rule",
        printed.expected,
        by_rule.expected
    );
    assert!(printed.low < expected && expected < printed.high);
    assert!(notes.iter().any(|note| note.contains("`q4_k_m in 4.50 GiB`")), "{notes:?}");
    // A size that is the rule's own changes nothing.
    let same = format!("print_info: file size   = {whole} (4.9 BPW)\n");
    assert_eq!(with(&same).0.expected, by_rule.expected);
}
