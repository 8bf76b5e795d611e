//! vLLM's own figures, from public logs: `tests/engines/vllm/README.md` says where they come from.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "test code"
)]

mod support;

use support::Case;
use vramplan::estimate::paged::Paging;
use vramplan::estimate::weights::{Weights, weights_per_rank};
use vramplan::estimate::{Holdings, Moment, Scenario, holdings};
use vramplan::recommend::Card;
use vramplan::spec::{Bounds, Headroom, Runtime, Serving, VllmVersion};
use vramplan::units::Bytes;

const LOGS: &str = include_str!("engines/vllm/logs.csv");

/// A row of the file, by column.
struct Log<'a> {
    line: &'a str,
    names: &'a str,
}

impl<'a> Log<'a> {
    fn text(&self, name: &str) -> &'a str {
        let column = self.names.split(',').position(|known| known == name).unwrap();
        self.line.split(',').nth(column).unwrap()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.text(name).parse().ok()
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// Weights with adapters' slots, or of a rank that has a part of the layers are another thing than
    /// what is planned.
    fn is_plain(&self) -> bool {
        self.text("pipeline") == "1" && self.text("lora") == "0"
    }

    /// Versions before February 2026 sort the vocabulary.
    fn version(&self) -> VllmVersion {
        let minor = self.text("version").split('.').nth(1).and_then(|n| n.parse().ok());
        if minor.unwrap_or(0) < 16 { VllmVersion::Sorting } else { VllmVersion::Current }
    }

    fn case(&self) -> Case {
        let gpu = match self.text("gpu") {
            "" => "H100",
            named => named,
        };
        let mut case = Case::new(gpu, self.text("profile"), Runtime::Vllm).cache(1);
        case = case.weights(self.text("weights")).kv(self.text("kv"));
        if let Some(total) = self.number("total_gib") {
            case.gpu.total.value = gib(total);
            case.gpu.reserved.value = Bytes::ZERO;
        }
        let serving = Serving {
            ranks: self.count("ranks").unwrap(),
            max_seqs: self.count("max_seqs").unwrap_or(Serving::on(&case.gpu).max_seqs),
            utilization: self
                .text("utilization")
                .parse()
                .unwrap_or(Serving::on(&case.gpu).utilization),
            version: self.version(),
            most_blocks: None,
        };
        case.workload.system_tokens = 0;
        case.workload.prefill_chunk =
            self.count("chunk").unwrap_or_else(|| Serving::default_chunk(&case.gpu));
        case.workload.serving = Some(serving);
        case
    }
}

fn logs() -> impl Iterator<Item = Log<'static>> {
    let (names, lines) = LOGS.split_once('\n').unwrap();
    lines.lines().map(move |line| Log { line, names })
}

fn gib(n: f64) -> Bytes {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Bytes::new((n * 1_073_741_824.0) as u64)
}

fn weights(case: &Case) -> Weights {
    let ranks = case.workload.serving.unwrap().ranks;
    weights_per_rank(&case.model, case.weights, &case.runtime, ranks).unwrap()
}

fn held(case: &Case) -> Holdings {
    let weights = weights(case);
    let Case { model, gpu, runtime, kv, workload, .. } = case;
    let workload = workload.clone();
    holdings(&Scenario { model, gpu, runtime, weights: &weights, kv: *kv, workload }).unwrap()
}

/// What vLLM calls weights: with what the allocator adds and the rotary tables.
fn loaded(case: &Case) -> Bytes {
    let weights = weights(case);
    let rope = held(case).buffers.iter().find(|b| b.name == "sines and cosines").unwrap().size;
    let tower = [weights.vision, weights.vision_rounding];
    Bytes::sum([weights.device, weights.rounding, rope.expected].into_iter().chain(tower)).unwrap()
}

/// What vLLM calls the peak of the profile run.
fn profile_run(case: &Case) -> Bounds {
    use vramplan::estimate::Life;
    let held = held(case);
    let stays = [
        "cuBLAS workspace",
        "inputs of a step",
        "workspaces of the experts",
        "pixels of images",
        "embeddings of images",
        "inputs of inner layers",
    ];
    let mut moments = [Bounds::ZERO; Moment::ALL.len()];
    for buffer in &held.buffers {
        for moment in Moment::ALL {
            let here = match buffer.life {
                Life::During(_, of) => of == moment,
                Life::From(_) => stays.contains(&buffer.name),
            };
            if here {
                moments[moment as usize] = moments[moment as usize].plus(buffer.size).unwrap();
            }
        }
    }
    moments.into_iter().fold(Bounds::ZERO, Bounds::max)
}

/// Errors of a quantity, in percent.
#[derive(Default)]
struct Errors(Vec<(f64, String)>);

impl Errors {
    fn add(&mut self, log: &Log<'_>, predicted: f64, logged: f64) {
        let percent = (predicted / logged - 1.0) * 100.0;
        println!(
            "{percent:+7.2} %  {predicted:12.3} for {logged:12.3}  {}",
            log.line.split(",http").next().unwrap()
        );
        self.0.push((percent, log.line.to_owned()));
    }

    /// Prints rows, median, 90th percentile and worst of the absolute errors; returns the median.
    fn summary(mut self, what: &str) -> f64 {
        self.0.sort_by(|(a, _), (b, _)| a.abs().total_cmp(&b.abs()));
        let at = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let index = ((self.0.len() - 1) as f64 * share).round() as usize;
            self.0[index].0
        };
        println!(
            "{what}: {} rows, median {:.2} %, 90th percentile {:.2} %, worst {:+.2} %",
            self.0.len(),
            at(0.5).abs(),
            at(0.9).abs(),
            at(1.0)
        );
        at(0.5).abs()
    }
}

#[test]
fn weights_of_a_rank() {
    let mut errors = Errors::default();
    for log in logs().filter(Log::is_plain) {
        let Some(logged) = log.number("weights_gib") else { continue };
        let predicted = loaded(&log.case()).as_mib() / 1024.0;
        errors.add(&log, predicted, logged);
    }
    assert!(errors.0.len() > 55);
    assert!(errors.summary("weights") < 0.5);
}

#[test]
fn peaks_of_the_profile_run() {
    let mut errors = Errors::default();
    let mut outside = Vec::new();
    for log in logs().filter(|log| log.text("pipeline") == "1" && !log.text("version").is_empty()) {
        let Some(logged) = log.number("activation_peak_gib") else { continue };
        let peak = profile_run(&log.case());
        errors.add(&log, peak.expected.as_mib() / 1024.0, logged);
        if !(peak.low.as_mib() / 1024.0..=peak.high.as_mib() / 1024.0).contains(&logged) {
            outside.push(log.line);
        }
    }
    println!("outside of their bounds: {outside:#?}");
    let rows = errors.0.len();
    assert!(rows > 55 && outside.len() * 20 <= rows);
    assert!(errors.summary("profile run") < 3.0);
}

/// With weights, non-torch memory and activations as logged, or with the pool itself.
#[test]
fn blocks_and_tokens_of_the_pool() {
    let mut errors = Errors::default();
    for log in logs() {
        if log.text("pipeline") != "1" {
            continue;
        }
        let case = log.case();
        let serving = case.workload.serving.unwrap();
        let paging = Paging::of(&case.model, case.kv, serving.ranks).unwrap();
        let parts = ["weights_gib", "non_torch_gib", "activation_peak_gib", "total_gib"];
        let parts: Option<Vec<f64>> = parts.into_iter().map(|name| log.number(name)).collect();
        let pool = match (parts, log.number("kv_cache_gib")) {
            (Some(parts), _) => {
                let limit = serving.utilization.of(gib(parts[3])).unwrap();
                limit.minus_or_zero(gib(parts[0] + parts[1] + parts[2]))
            }
            (None, Some(pool)) => gib(pool),
            (None, None) => continue,
        };
        let blocks = paging.blocks(pool);
        if let Some(tokens) = log.number("kv_tokens") {
            errors.add(&log, paging.tokens(blocks) as f64, tokens);
        } else if let Some(logged) = log.number("gpu_blocks") {
            errors.add(&log, blocks as f64, logged);
        }
    }
    assert!(errors.0.len() > 55);
    assert!(errors.summary("tokens of the pool") < 0.2);
}

/// Weights, non-torch memory and the profile run; with the pool and the graphs, all that a log counts.
#[test]
fn totals_are_within_their_bounds() {
    let (mut without, mut totals) = (Errors::default(), Errors::default());
    let (mut covered, mut above, mut over) = (0, 0, Vec::new());
    for log in logs().filter(Log::is_plain) {
        let parts = ["weights_gib", "non_torch_gib", "activation_peak_gib"];
        let parts: Option<Vec<f64>> = parts.into_iter().map(|name| log.number(name)).collect();
        let Some(parts) = parts else { continue };
        let logged: f64 = parts.iter().sum();
        let holdings = held(&log.case());
        let pool = holdings.pool.unwrap();
        without.add(&log, pool.fixed.expected.as_mib() / 1024.0, logged);
        over.push(pool.fixed.high.as_mib() / 1024.0 / logged - 1.0);
        covered += usize::from(pool.fixed.high.as_mib() / 1024.0 >= logged);
        above += usize::from(pool.fixed.low.as_mib() / 1024.0 <= logged);
        let (Some(cache), Some(graphs)) =
            (log.number("kv_cache_gib"), log.number("cuda_graph_gib"))
        else {
            continue;
        };
        let size = |name| {
            let found = holdings.buffers.iter().find(|buffer| buffer.name == name);
            found.map_or(0.0, |buffer| buffer.size.expected.as_mib() / 1024.0)
        };
        let pool_size = pool.block.times(pool.blocks).unwrap().as_mib() / 1024.0;
        let total = pool.fixed.expected.as_mib() / 1024.0 + pool_size + size("CUDA graphs");
        totals.add(&log, total, logged + cache + graphs.max(0.0));
    }
    over.sort_by(f64::total_cmp);
    let rows = without.0.len();
    println!(
        "high bound: {covered} of {rows}, {:.1} % over at the median; low bound: {above} of {rows}",
        over[rows / 2] * 100.0
    );
    assert!(covered * 100 >= rows * 97 && above * 100 >= rows * 97 && over[rows / 2] < 0.08);
    assert!(without.summary("all but the cache") < 2.0);
    assert!(totals.summary("all that a log counts") < 2.0);
}

/// Pipelines: a log shows the weights of some stage, and the blocks of the smallest pool.
#[test]
fn stages_of_pipelines() {
    let mut compared = 0;
    for log in logs().filter(|log| log.text("pipeline") != "1") {
        let stages = log.count("pipeline").unwrap();
        let mut case = log.case();
        let gpu = case.gpu.clone();
        case.others = (1..stages)
            .map(|_| Card { gpu: gpu.clone(), capacity: support::capacity(&gpu, NO_HEADROOM) })
            .collect();
        case.capacity = support::capacity(&case.gpu, NO_HEADROOM);
        let answer = case.answer();
        let logged = log.number("weights_gib").unwrap();
        let errors = answer.devices.iter().map(|device| {
            let weights = device.weights.0.as_mib() / 1024.0;
            println!(
                "stage of {} layers: {weights:.2} GiB for {logged}",
                device.part.layers.end - device.part.layers.start
            );
            (weights / logged - 1.0).abs()
        });
        assert!(errors.fold(f64::INFINITY, f64::min) < 0.01, "{}", log.line);
        let tokens = answer.plan.pool.unwrap().tokens as f64;
        if let Some(logged) = log.number("kv_tokens") {
            println!("{tokens} tokens for {logged}");
            assert!((tokens / logged - 1.0).abs() < 0.03, "{tokens} tokens for {}", log.line);
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
}

const NO_HEADROOM: Headroom = Headroom::Size(Bytes::ZERO);
