//! What a hub that answers is asked for, and what comes of it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vramplan_planner::deployment::{Form, Origin, OriginKind};
use vramplan_planner::dtype::{FileType, WeightFormat};
use vramplan_planner::read::{Catalog, gguf};
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::synth::SynthModel;
use vramplan_planner::units::Bytes;
use vramplan_sources::{Environment, Limits, Located, Sources, SourcesError};

use super::fake_hub::{COMMIT, CONFIG, FakeHub, checkpoint, gguf as gguf_file};
use super::loopback::{Loopback, Reply, Request, Sparse};

pub const Q8: WeightFormat = WeightFormat::Gguf(FileType::Q8_0);

/// A user's machine with nothing on it, before a hub.
pub struct Machine {
    pub home: TempDir,
    pub limits: Limits,
    pub offline: bool,
}

impl Machine {
    pub fn new() -> Self {
        let quick = Limits {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(5),
            whole: Duration::from_secs(30),
            pause: Duration::from_millis(1),
            ..Limits::default()
        };
        Self { home: tempfile::tempdir().unwrap(), limits: quick, offline: false }
    }

    pub fn sources(&self, hub: &Loopback) -> Sources {
        let (url, token) = (hub.url(), Path::new("hf_secret"));
        let variables = [
            ("HF_ENDPOINT", Path::new(&url)),
            ("VRAMPLAN_OLLAMA_REGISTRY", Path::new(&url)),
            ("HF_TOKEN", token),
        ];
        let environment = Environment::made_up(&variables, self.home.path());
        Sources::new(environment, self.offline).with_limits(self.limits)
    }

    pub fn locate(&self, hub: &Loopback, text: &str) -> Result<Located, SourcesError> {
        self.sources(hub).locate(text, &Catalog::built_in())
    }

    pub fn read(&self, hub: &Loopback, text: &str) -> (ModelSpec, Origin) {
        let located = self.locate(hub, text).unwrap();
        let model = located.read(&Catalog::built_in()).unwrap();
        (model, located.origin.unwrap())
    }
}

pub fn serve(hub: FakeHub) -> Loopback {
    Loopback::start(move |request| hub.reply(request))
}

const ID: &str = "me/SmolLM2-135M-GGUF";

pub fn small_gguf() -> FakeHub {
    FakeHub::new(ID)
        .with("SmolLM2-135M-Q8_0.gguf", gguf_file("smollm2-135m", Q8))
        .with("mmproj-F16.gguf", Sparse::whole("not read"))
        .with("README.md", Sparse::whole("#"))
}

fn size_of(model: &ModelSpec) -> Bytes {
    model.stored.as_ref().unwrap().size().unwrap()
}

fn paths(hub: &Loopback) -> Vec<String> {
    hub.requests().into_iter().map(|request| request.path).collect()
}

#[test]
fn a_gguf_header_takes_two_requests_and_then_none() {
    let hub = serve(small_gguf());
    let machine = Machine::new();
    let (model, origin) = machine.read(&hub, ID);
    assert_eq!(model.name, "SmolLM2-135M-Q8_0");
    assert_eq!(model.stored.as_ref().unwrap().label, "q8_0");
    let synthetic =
        SynthModel::new(&Catalog::built_in().model("smollm2-135m").unwrap(), Q8, 0).unwrap();
    let weights: u64 = synthetic.tensors.iter().map(|tensor| tensor.entry.size.get()).sum();
    assert_eq!(size_of(&model).get(), weights);
    assert_eq!((origin.kind, origin.revision.as_deref()), (OriginKind::Hub, Some("ad44e777")));
    assert_eq!(origin.place, hub.authority());
    let asked = paths(&hub);
    let listing = format!("/api/models/{ID}/revision/main?blobs=true");
    assert_eq!(asked, [listing, format!("/{ID}/resolve/{COMMIT}/SmolLM2-135M-Q8_0.gguf")]);
    for request in hub.requests() {
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"));
    }
    // Again: by name, by revision, offline. Nothing is asked.
    let pinned = format!("{ID}@{COMMIT}:Q8_0");
    let offline = Machine { offline: true, ..machine };
    for text in [ID, &pinned, "hf:me/SmolLM2-135M-GGUF:q8_0"] {
        let (again, origin) = offline.read(&hub, text);
        assert_eq!(again, model, "{text}");
        assert_eq!(origin.kind, OriginKind::Kept);
    }
    assert_eq!(hub.requests().len(), 2);
}

#[test]
fn of_a_long_header_little_more_is_read_than_it_has() {
    let spec = Catalog::built_in().model("smollm2-135m").unwrap();
    let mut synthetic = SynthModel::new(&spec, Q8, 0).unwrap();
    let words = (0..150_000).map(|n| format!("word-{n}")).collect();
    synthetic.metadata.push(("tokenizer.ggml.more".to_owned(), gguf::Field::Texts(words)));
    let head = synthetic.header();
    let header = head.len() as u64;
    let size = header + synthetic.data_size().get();
    let hub = serve(FakeHub::new(ID).with("a-Q8_0.gguf", Sparse { head, size }));
    let machine = Machine::new();
    let (_, origin) = machine.read(&hub, ID);
    assert_eq!(hub.requests().len(), 2);
    assert!(header > 2_000_000, "{header}");
    let note = origin.note.unwrap();
    let read: f64 = note.rsplit(", ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
    let mib = f64::from(u32::try_from(header).unwrap()) / 1_048_576.0;
    assert!(note.ends_with("MiB") && read < mib + 0.5, "{note} of {mib} MiB");
}

#[test]
fn a_split_checkpoint_takes_a_request_for_each_file_and_three_round_trips() {
    let hub = serve(checkpoint("me/Small-Test"));
    let machine = Machine::new();
    let located = machine.locate(&hub, "me/Small-Test").unwrap();
    assert_eq!(located.form, Some(Form::Checkpoint));
    // Everything is there before the readers begin: listing; configuration and index; both shards.
    assert_eq!(hub.requests().len(), 5);
    let model = located.read(&Catalog::built_in()).unwrap();
    assert_eq!(hub.requests().len(), 5);
    assert_eq!(model.name, "Small-Test");
    assert_eq!(size_of(&model).get(), 2 * model.parameters());
    assert_eq!(model.unexplained_elements(), Some(0));
}

#[test]
fn the_rounds_of_a_split_checkpoint_are_side_by_side() {
    // Ten shards, each answered after 300 ms: one after the other that is three seconds.
    let mut hub = checkpoint("me/Small-Test");
    let mut map = String::new();
    for n in 1..=10 {
        let name = format!("model-{n:05}-of-00010.safetensors");
        let tensor = format!("model.layers.{n}.x");
        let comma = if n == 1 { "" } else { "," };
        write!(map, r#"{comma}"{tensor}":"{name}""#).unwrap();
        hub = hub.with(&name, super::fake_hub::safetensors(&[(&tensor, [4, 4])]));
    }
    hub = hub.with(
        "model.safetensors.index.json",
        Sparse::whole(format!(r#"{{"weight_map":{{{map}}}}}"#)),
    );
    let slow = Loopback::start(move |request| {
        if request.path.contains("-of-00010") {
            std::thread::sleep(Duration::from_millis(300));
        }
        hub.reply(request)
    });
    let started = std::time::Instant::now();
    Machine::new().locate(&slow, "me/Small-Test").unwrap();
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
    assert_eq!(slow.requests().len(), 13);
}

#[test]
fn redirects_are_followed_and_the_token_stays_behind() {
    let files = small_gguf();
    let cdn = {
        let files = files.clone();
        Loopback::start(move |request| files.file("SmolLM2-135M-Q8_0.gguf").unwrap().reply(request))
    };
    let to = format!("{}/blobs/xyz?signature=a%2Fb", cdn.url());
    let hub = Loopback::start(move |request| match request.path.as_str() {
        path if path.starts_with("/moved/") => Reply::redirect(&to),
        path if path.contains("/resolve/") => Reply::redirect("/moved/here").status(307),
        _ => files.reply(request),
    });
    let (model, origin) = Machine::new().read(&hub, ID);
    assert_eq!(model.stored.unwrap().label, "q8_0");
    assert_eq!(origin.note.unwrap().split(", ").nth(1), Some("4 requests"));
    let [request] = cdn.requests().try_into().unwrap();
    assert_eq!(request.path, "/blobs/xyz?signature=a%2Fb");
    assert_eq!(request.header("authorization"), None);
    assert!(request.range().is_some());
    assert!(hub.requests().iter().all(|asked| asked.header("authorization").is_some()));
}

/// A hub whose answers about files are changed on the way.
fn mirror(change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Loopback {
    let files = small_gguf();
    Loopback::start(move |request| {
        let reply = files.reply(request);
        if request.path.contains("/resolve/") { change(request, reply) } else { reply }
    })
}

#[test]
fn mirrors_that_leave_out_the_range_or_send_everything_are_understood() {
    let silent = mirror(|_, reply| reply.without("Content-Range"));
    let whole = {
        let file = gguf_file("smollm2-135m", Q8);
        mirror(move |_, _| {
            Reply::new(200, file.head.clone()).zeros(file.size - file.head.len() as u64)
        })
    };
    // One that compresses where it is allowed to, and then forgets the range.
    let gzip = mirror(|request, reply| {
        let encodings = request.header("accept-encoding").unwrap_or("gzip");
        if encodings.contains("gzip") {
            Reply::new(200, [0x1f, 0x8b]).header("Content-Encoding", "gzip")
        } else {
            reply
        }
    });
    for hub in [silent, whole, gzip] {
        let (model, _) = Machine::new().read(&hub, ID);
        assert_eq!(model.stored.unwrap().label, "q8_0");
        assert_eq!(hub.requests().len(), 2);
    }
}

#[test]
fn what_is_lost_on_the_way_is_asked_for_again_from_there() {
    let cut = mirror(|request, reply| {
        let from = request.range().unwrap().0;
        if from == 0 { reply.cut_after(1000) } else { reply }
    });
    let (model, _) = Machine::new().read(&cut, ID);
    assert_eq!(model.stored.unwrap().label, "q8_0");
    let ranges: Vec<_> = cut.requests().iter().filter_map(|asked| Some(asked.range()?.0)).collect();
    assert_eq!(ranges, [0, 1000]);
}

#[test]
fn a_server_that_is_busy_is_asked_again_when_it_says() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for status in [429, 500, 503] {
        let times = Arc::new(AtomicUsize::new(0));
        let hub = mirror(move |_, reply| match times.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::new(status, "").header("Retry-After", "0"),
            _ => reply,
        });
        let (model, _) = Machine::new().read(&hub, ID);
        assert_eq!(model.stored.unwrap().label, "q8_0", "{status}");
        assert_eq!(hub.requests().len(), 3);
    }
}

#[test]
fn a_revision_is_asked_for_as_it_is() {
    let hub = Loopback::start(|_| Reply::new(404, ""));
    let _ = Machine::new().locate(&hub, "hf:me/it@refs/pr/7");
    assert_eq!(paths(&hub), ["/api/models/me/it/revision/refs%2Fpr%2F7?blobs=true"]);
}

#[test]
fn a_profile_answers_before_the_network_unless_the_repository_itself_is_asked_for() {
    let hub = serve(checkpoint("HuggingFaceTB/SmolLM2-135M"));
    let machine = Machine::new();
    let (model, origin) = machine.read(&hub, "HuggingFaceTB/SmolLM2-135M");
    assert_eq!(model.name, "smollm2-135m");
    assert_eq!((origin.kind, origin.place.as_str()), (OriginKind::Profile, "smollm2-135m"));
    assert!(hub.requests().is_empty());
    let (model, _) = machine.read(&hub, "hf:HuggingFaceTB/SmolLM2-135M");
    assert_eq!(model.name, "SmolLM2-135M");
    assert!(!hub.requests().is_empty());
}

#[test]
fn a_branch_that_moved_is_noticed_after_a_day_and_nothing_is_lost_where_nobody_answers() {
    let hub = serve(small_gguf());
    let machine = Machine::new();
    machine.read(&hub, ID);
    let folder =
        machine.home.path().join(".cache/vramplan/hub").join(hub.authority().replace(':', "%3A"));
    let reference = folder.join("models--me--SmolLM2-135M-GGUF/refs/main");
    let days_ago = std::time::SystemTime::now() - Duration::from_secs(3 * 86_400);
    fs_err::File::options()
        .write(true)
        .open(&reference)
        .unwrap()
        .file()
        .set_modified(days_ago)
        .unwrap();
    let (_, origin) = machine.read(&hub, ID);
    // The list was asked for again; the commit is the same, so that its header is at hand.
    assert_eq!((origin.kind, hub.requests().len()), (OriginKind::Hub, 3));
}

#[test]
fn ollamas_registry_is_asked_for_a_manifest_and_a_header() {
    let file = gguf_file("smollm2-135m", Q8);
    let digest = "c0ffee00".repeat(8);
    let manifest = format!(
        r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:0","size":1}},
        {{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{digest}","size":{}}}]}}"#,
        file.size
    );
    let registry = Loopback::start(move |request| match request.path.as_str() {
        "/v2/library/some-model/manifests/7b" => Reply::new(200, manifest.clone()),
        path if path == format!("/v2/library/some-model/blobs/sha256:{digest}") => {
            file.reply(request)
        }
        _ => Reply::new(404, ""),
    });
    let machine = Machine::new();
    let (model, origin) = machine.read(&registry, "some-model:7b");
    assert_eq!(model.name, "some-model:7b");
    assert_eq!(model.stored.as_ref().unwrap().label, "q8_0");
    assert_eq!((origin.kind, origin.revision.as_deref()), (OriginKind::Hub, Some("c0ffee00")));
    assert_eq!(registry.requests().len(), 2);
    let (again, origin) = machine.read(&registry, "ollama:some-model:7b");
    assert_eq!((again, origin.kind), (model, OriginKind::Kept));
    assert_eq!(registry.requests().len(), 2);
    assert!(
        registry.requests().iter().all(|asked| asked.header("authorization").is_some()),
        "it is HF_ENDPOINT here"
    );
}

#[test]
fn a_file_is_read_at_its_address() {
    let file = gguf_file("smollm2-135m", Q8);
    let elsewhere = Loopback::start(move |request| match request.path.as_str() {
        "/models/my%20model-Q8_0.gguf?download=true" => file.reply(request),
        "/x/model.safetensors" => {
            super::fake_hub::safetensors(&[("model.norm.weight", [1, 64])]).reply(request)
        }
        "/x/config.json" => Sparse::whole(CONFIG).reply(request),
        _ => Reply::new(404, ""),
    });
    let hub = serve(small_gguf());
    let machine = Machine::new();
    let address = format!("{}/models/my%20model-Q8_0.gguf?download=true", elsewhere.url());
    let (model, origin) = machine.read(&hub, &address);
    assert_eq!(model.name, "my model-Q8_0");
    assert_eq!(origin.place, elsewhere.authority());
    assert_eq!(elsewhere.requests().len(), 1);
    let (model, _) = machine.read(&hub, &format!("{}/x/model.safetensors", elsewhere.url()));
    assert_eq!(size_of(&model).get(), 128);
    assert!(elsewhere.requests().iter().all(|asked| asked.header("authorization").is_none()));
    assert!(hub.requests().is_empty());
}

#[test]
fn a_model_in_parts_is_read_part_by_part_at_once() {
    let spec = Catalog::built_in().model("smollm2-135m").unwrap();
    let synthetic = SynthModel::new(&spec, Q8, 0).unwrap();
    let parts = split(&synthetic, 3);
    let mut files = FakeHub::new(ID);
    for (index, part) in parts.into_iter().enumerate() {
        files = files.with(&format!("Q8_0/x-Q8_0-{:05}-of-00003.gguf", index + 1), part);
    }
    let hub = serve(files);
    let located = Machine::new().locate(&hub, ID).unwrap();
    assert_eq!(hub.requests().len(), 4);
    let model = located.read(&Catalog::built_in()).unwrap();
    assert_eq!(hub.requests().len(), 4);
    let weights: u64 = synthetic.tensors.iter().map(|tensor| tensor.entry.size.get()).sum();
    assert_eq!(size_of(&model).get(), weights);
}

/// The files of a split model, as `llama-gguf-split` writes them.
fn split(model: &SynthModel, parts: u16) -> Vec<Sparse> {
    let each = model.tensors.len().div_ceil(usize::from(parts));
    let count = i32::try_from(model.tensors.len()).unwrap();
    let file = |(number, tensors): (usize, &[vramplan_planner::synth::SynthTensor])| {
        let mut metadata = if number == 0 { model.metadata.clone() } else { Vec::new() };
        let field = |key: &str, n: u32| (format!("split.{key}"), gguf::Field::U32(n));
        metadata.push(field("no", u32::try_from(number).unwrap()));
        metadata.push(field("count", u32::from(parts)));
        metadata.push(field("tensors.count", u32::try_from(count).unwrap()));
        let mut at = 0;
        let mut entries: Vec<_> = tensors.iter().map(|tensor| tensor.entry.clone()).collect();
        for entry in &mut entries {
            entry.offset = at;
            at = gguf::aligned(at + entry.size.get()).unwrap();
        }
        let head = gguf::header_bytes(&metadata, &entries);
        Sparse { size: head.len() as u64 + at, head }
    };
    model.tensors.chunks(each).enumerate().map(file).collect()
}

#[test]
fn of_a_models_other_formats_only_the_tensor_tables_are_read() {
    let spec = Catalog::built_in().model("smollm2-135m").unwrap();
    let types = [FileType::Q2K, FileType::Q4KM, FileType::Q6K, FileType::Q8_0];
    let mut files = FakeHub::new(ID);
    for (index, file_type) in types.into_iter().enumerate() {
        let mut synthetic = SynthModel::new(&spec, WeightFormat::Gguf(file_type), 0).unwrap();
        let words = (0..100_000).map(|n| format!("word-{n}")).collect();
        // Metadata of other lengths, as an importance matrix leaves it.
        let note = "x".repeat(index * 100);
        synthetic.metadata.push(("tokenizer.ggml.more".to_owned(), gguf::Field::Texts(words)));
        synthetic.metadata.push(("quantize.note".to_owned(), gguf::Field::Text(note)));
        let head = synthetic.header();
        let size = head.len() as u64 + synthetic.data_size().get();
        files = files
            .with(&format!("a-{}.gguf", file_type.name().to_uppercase()), Sparse { head, size });
    }
    let hub = serve(files.clone());
    let machine = Machine::new();
    let wanted = || match machine.sources(&hub).asked(ID) {
        Some(vramplan_sources::Asked::Repository { wanted, .. }) => wanted,
        other => panic!("{other:?}"),
    };
    let formats = machine.sources(&hub).formats(&wanted()).unwrap();
    // The list, one header of some megabytes, three tables of some kilobytes.
    assert_eq!((formats.traffic.requests, hub.requests().len()), (5, 5));
    let longest = files.files.values().map(|file| file.head.len() as u64).max().unwrap();
    assert!(longest > 1_500_000 && formats.traffic.bytes < longest + 600_000, "{formats:?}");
    for format in &formats.formats {
        let (whole, _) = machine.read(&hub, &format!("hf:{ID}/{}", format.group.files[0]));
        assert_eq!(
            whole.stored.as_ref().unwrap().tensors,
            format.model.stored.as_ref().unwrap().tensors
        );
        assert_eq!(
            whole.stored.as_ref().unwrap().label,
            format.model.stored.as_ref().unwrap().label
        );
        assert_eq!(whole.shape, format.model.shape);
        assert_eq!(format.size, Some(files.files[&format.group.files[0]].size));
    }
    let asked = hub.requests().len();
    let offline = Machine { offline: true, ..machine };
    let again = offline.sources(&hub).formats(&match offline.sources(&hub).asked(ID) {
        Some(vramplan_sources::Asked::Repository { wanted, .. }) => wanted,
        other => panic!("{other:?}"),
    });
    assert_eq!(again.unwrap().formats, formats.formats);
    assert_eq!(hub.requests().len(), asked);
}

#[test]
fn a_table_that_does_not_fill_its_file_is_not_believed() {
    // The second file is another model's: its header is read in full.
    let other = gguf_file("smollm2-360m", Q8);
    let files = FakeHub::new(ID)
        .with("a-Q2_K.gguf", gguf_file("smollm2-135m", WeightFormat::Gguf(FileType::Q2K)));
    let hub = serve(files.with("b-Q8_0.gguf", other));
    let machine = Machine::new();
    let Some(vramplan_sources::Asked::Repository { wanted, .. }) = machine.sources(&hub).asked(ID)
    else {
        panic!("no repository")
    };
    let formats = machine.sources(&hub).formats(&wanted).unwrap().formats;
    assert_eq!(formats[1].model.shape, machine.read(&hub, "hf:me/SmolLM2-135M-GGUF:Q8_0").0.shape);
    assert_ne!(formats[1].model.shape, formats[0].model.shape);
}
