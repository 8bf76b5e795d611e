//! Evidence: what logs teach, what plans take from it, and that nothing of it names anybody.

use std::path::{Path, PathBuf};

use vramplan_planner::deployment::{Deployment, Question, resolve};
use vramplan_planner::evidence::{
    Book, CardDoc, Digest, Ended, EngineDoc, How, ReadIn, Record, SCHEMA, TermDoc, TermId, Where,
    one, several, summarise, thread,
};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, explain};
use vramplan_planner::spec::{Basis, Runtime};
use vramplan_planner::units::Bytes;
use vramplan_planner::why::{Finding, LearnError, Log, explain as why, learn};

fn found(log: &str, user: &Question) -> Finding {
    let mut read = Log::default();
    read.feed(log.as_bytes());
    let catalog = Catalog::built_in();
    why(read.finish(), user, &|question| {
        resolve(question, &catalog, &MemoryFiles::default(), None)
            .map_err(|error| error.to_string())
    })
}

fn taught(log: &str) -> Record {
    learn(&found(log, &Question::default()), &Question::default()).unwrap()
}

fn size(record: &Record, term: TermId) -> Option<String> {
    record.largest(term).map(|found| found.size.to_string())
}

fn deployment(toml: &str) -> Deployment {
    let question: Question = toml::from_str(toml).unwrap();
    resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap()
}

fn document(deployment: &Deployment) -> Document {
    Document::new(deployment, &answer(deployment).unwrap())
}

/// A start of vLLM in the form of 0.11 with figures that are made up: of no card, but told as one's.
const STARTED: &str = "\
INFO 10-01 10:00:00 [api_server.py:1896] vLLM API server version 0.11.2
INFO 10-01 10:00:01 [core.py:93] Initializing a V1 LLM engine (v0.11.2) with config: model='Qwen/Qwen2.5-7B-Instruct', dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, enforce_eager=False, kv_cache_dtype=auto
|   0  NVIDIA L4                      Off |   00000000:01:00.0 Off |                    0 |
| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |
INFO 10-01 10:00:30 [gpu_model_runner.py:2653] Model loading took 14.2500 GiB and 11.1 seconds
INFO 10-01 10:01:00 [gpu_worker.py:298] Available KV cache memory: 3.97 GiB
INFO 10-01 10:01:20 [gpu_worker.py:391] Free memory on device (21.66/22.03 GiB) on startup. Desired GPU memory utilization is (0.9, 19.83 GiB). Actual usage is 14.25 GiB for weight, 1.42 GiB for peak activation, 0.19 GiB for non-torch memory, and 0.61 GiB for CUDAGraph memory. Replace gpu_memory_utilization config with `--kv-cache-memory=3446538240` to fit into requested memory, or `--kv-cache-memory=5412388864` to fully utilize gpu memory. Current kv cache memory in use is 4262789120 bytes.
INFO:     Application startup complete.
";

#[test]
fn a_start_of_vllm_teaches_what_it_prints() {
    let record = taught(STARTED);
    assert_eq!(
        record.engine,
        EngineDoc { runtime: Runtime::Vllm, version: Some("0.11.2".to_owned()) }
    );
    assert_eq!((record.card.name.as_str(), record.card.count), ("L4", 1));
    assert_eq!((record.driver.as_deref(), record.ended), (Some("550.54.15"), Ended::Well));
    assert_eq!(record.deployment.model.as_deref(), Some("qwen2.5-7b"));
    for (term, expected) in [
        (TermId::Weights, "14.25 GiB"),
        (TermId::Activations, "1.42 GiB"),
        (TermId::NonTorch, "194.56 MiB"),
        (TermId::Graphs, "624.64 MiB"),
        (TermId::Pool, "3.97 GiB"),
    ] {
        assert_eq!(size(&record, term).as_deref(), Some(expected), "{term:?}");
    }
    assert_eq!(record.largest(TermId::Pool).unwrap().size, Bytes::new(4_262_789_120));
    assert_eq!(record.largest(TermId::NonTorch).unwrap().line, Some(7));
    assert_eq!(one(&record.to_line()), Ok(record));
}

#[test]
fn plans_take_what_was_measured_in_the_release_and_the_setting() {
    let book = Book::new([taught(STARTED)]);
    let asked = "gpu = 'L4'\nmodel = 'qwen2.5-7b'\nruntime = 'vllm'\nruntime_version = '0.11.2'\nmax_model_len = 8192\ngpu_memory_utilization = 0.9\n";
    let plain = deployment(asked);
    let applied = book.apply(plain.clone());
    let first = applied.cards.first();
    let libraries = first.gpu.calibrated.libraries.as_ref().unwrap();
    assert_eq!(libraries.basis, Basis::Calibrated);
    assert_eq!(libraries.source, "1 run, at a time that is not known, under driver 550.54.15");
    assert_eq!(libraries.value.expected.get() >> 20, 194);
    let document = document(&applied);
    // The pool is the one that was printed: whole blocks of it.
    let pool = document.pool.as_ref().unwrap();
    let held = pool.block.times(pool.blocks).unwrap();
    let short = Bytes::new(4_262_789_120).minus(held).unwrap();
    assert!(short < pool.block, "{held}");
    let text = explain(&document, None);
    assert!(text.contains("calibrated\n    = measured on this card in this setting"), "{text}");
    assert!(text.contains("source: 1 run, at a time"), "{text}");

    // Another model takes the constant, and not the pool; another release takes nothing.
    let other = book.apply(deployment(
        &asked.replace("7b", "14b").replace("'vllm'", "'vllm'\nweights = 'awq-int4'"),
    ));
    assert!(other.cards.first().gpu.calibrated.libraries.is_some());
    assert_eq!(other.cards.first().gpu.calibrated.served, None);
    for change in [("0.11.2", "0.12.0"), ("'L4'", "'T4'"), ("'vllm'", "'vllm'\ngpus = 2")] {
        let other = deployment(&asked.replace(change.0, change.1));
        assert_eq!(book.apply(other.clone()), other, "{change:?}");
    }
    // What is advised in another format is planned as without the pool of this one.
    let smaller = applied.with_formats("awq-int4".parse().unwrap(), applied.cache_formats());
    let without = plain.with_formats("awq-int4".parse().unwrap(), plain.cache_formats());
    let blocks = |deployment| document_pool(deployment);
    let difference = blocks(&smaller).abs_diff(blocks(&without));
    assert!(difference < 200, "only non-torch memory differs: {difference} blocks");
}

fn document_pool(deployment: &Deployment) -> u64 {
    document(deployment).pool.unwrap().blocks
}

#[test]
fn a_message_of_pytorch_teaches_what_a_process_holds_beside_it() {
    let log = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of \
               22.03 GiB of which 1.05 GiB is free. Including non-PyTorch memory, this process has 20.97 GiB memory in \
               use. Of the allocated memory 20.25 GiB is allocated by PyTorch, and 470.00 MiB is reserved by PyTorch \
               but unallocated.";
    let user: Question = toml::from_str("gpu = 'L4'\nmodel = 'qwen2.5-7b'").unwrap();
    let record = learn(&found(log, &user), &user).unwrap();
    let overhead = record.largest(TermId::Overhead).unwrap();
    assert_eq!((overhead.size.get() >> 20, overhead.read), (267, ReadIn::LogDifference));
    assert_eq!(record.ended, Ended::Failed);
    let applied = Book::new([record])
        .apply(deployment("gpu = 'L4'\nmodel = 'qwen2.5-7b'\nruntime = 'transformers'"));
    assert!(applied.cards.first().gpu.is_calibrated());
}

#[test]
fn a_log_that_teaches_nothing_says_why() {
    let of = |log| learn(&found(log, &Question::default()), &Question::default()).unwrap_err();
    assert_eq!(of("hello\n"), LearnError::NoEngine);
    assert_eq!(of("llama_model_load: error\n"), LearnError::NoTerms);
    assert_eq!(
        of("load_tensors:        CUDA0 model buffer size =  4096.00 MiB\n"),
        LearnError::NoCard
    );
}

/// Whatever a log holds of its user, a record of it holds nothing of that.
#[test]
fn nothing_of_a_users_own_is_learned() {
    const SECRET: &str = "xaliceq";
    let mut learned = 0;
    for Case { log: text, .. } in cases() {
        // A user's name in every path, address, version and sentence.
        let smuggled = text
            .replace('/', &format!("/{SECRET}/"))
            .replace(
                "model=",
                &format!("model='/home/{SECRET}/{SECRET}', prompt='{SECRET}', model="),
            )
            .replace("0.", &format!("0.{SECRET}."))
            .replace("INFO", &format!("INFO {SECRET}@{SECRET} "));
        for log in [text, smuggled] {
            let Ok(record) = learn(&found(&log, &Question::default()), &Question::default()) else {
                continue;
            };
            learned += 1;
            let line = record.to_line();
            assert!(!line.contains(SECRET), "{line}");
            assert!(
                !line.contains('/') || line.matches('/').count() == SCHEMA.matches('/').count(),
                "{line}"
            );
            assert_eq!(one(&line), Ok(record), "what is learned can be read");
        }
    }
    assert!(learned > 50, "only {learned} logs taught something");
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/why")
}

/// A case of `tests/corpus/why`: the thread that its figures are from, the card where that says it, and the log.
struct Case {
    source: String,
    gpu: Option<String>,
    log: String,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in fs_err::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let case: toml::Table = toml::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
        let text = |key: &str| case.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let log = fs_err::read(path.with_extension("log")).unwrap();
        cases.push(Case {
            source: text("source").unwrap(),
            gpu: text("gpu"),
            log: String::from_utf8_lossy(&log).into_owned(),
        });
    }
    cases
}

fn community() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../evidence/community")
}

/// The records of the committed logs, one a line.
fn of_the_corpus() -> String {
    let mut lines = Vec::new();
    for Case { source, gpu, log } in cases() {
        let address = source.split('#').next().unwrap_or_default();
        let Some(address) = thread(address) else { continue };
        let user = Question { gpu, ..Question::default() };
        if let Ok(record) = learn(&found(&log, &user), &user) {
            lines.push(Record { thread: Some(address.to_owned()), ..record }.to_line() + "\n");
        }
    }
    lines.sort();
    lines.dedup();
    lines.concat()
}

/// `VRAMPLAN_WRITE_EVIDENCE=1 cargo test -p vramplan-planner --test all evidence::` writes it anew.
#[test]
fn the_logs_records_are_up_to_date() {
    let path = community().join("from-logs.jsonl");
    let fresh = of_the_corpus();
    if std::env::var_os("VRAMPLAN_WRITE_EVIDENCE").is_some() {
        fs_err::write(&path, &fresh).unwrap();
    }
    let committed = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "{}: write it anew", path.display());
}

#[test]
fn every_record_of_the_community_is_one() {
    let mut records = Vec::new();
    for entry in fs_err::read_dir(community()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        let text = fs_err::read_to_string(&path).unwrap();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl") => {
                for (line, record) in several(&text) {
                    records.push(record.unwrap_or_else(|error| panic!("{name}:{line}: {error}")));
                }
            }
            Some("json") => {
                records.push(one(&text).unwrap_or_else(|error| panic!("{name}: {error}")));
            }
            Some("md") => {}
            _ => panic!(
                "{name}: expected a record (`.json`), several (`.jsonl`), or the page about them"
            ),
        }
    }
    assert!(records.len() > 20, "only {} records", records.len());
    for record in &records {
        assert!(
            record.thread.is_some(),
            "a record of the community names its thread: {}",
            record.id()
        );
        assert!(
            record.host.is_none(),
            "a host's name can be guessed from its digest: {}",
            record.id()
        );
        assert!(
            record
                .terms
                .iter()
                .all(|term| !term.size.is_zero() || term.term == TermId::Unallocated)
        );
    }
    assert!(!summarise(&records).is_empty());
}

#[test]
fn a_rehearsal_is_of_no_card() {
    let term = TermDoc {
        term: TermId::Overhead,
        size: Bytes::GIB,
        within: Bytes::ZERO,
        at: Where::Card,
        read: ReadIn::VirtualCard,
        line: None,
    };
    let record = |how| Record {
        schema: SCHEMA.to_owned(),
        how,
        date: None,
        thread: None,
        ended: Ended::Well,
        engine: EngineDoc { runtime: Runtime::Transformers, version: None },
        card: CardDoc { name: "L4".to_owned(), total: None, count: 1 },
        driver: None,
        deployment: Question::default(),
        left_out: std::collections::BTreeSet::new(),
        terms: vec![term],
        host: Some(Digest::of("host", b"a")),
        gpu: None,
        job: None,
    };
    let plain = deployment("gpu = 'L4'\nmodel = 'qwen2.5-7b'\nruntime = 'transformers'");
    let context = |how| {
        let applied = Book::new([record(how)]).apply(plain.clone());
        applied.cards.first().gpu.context().value.expected
    };
    assert_eq!(context(How::Observed), Bytes::GIB);
    assert_eq!(context(How::Rehearsed), plain.cards.first().gpu.context().value.expected);
    assert!(summarise(&[record(How::Rehearsed)]).is_empty());
}
