//! The engine over launches, beside the engine on the CPU.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use vramplan_engine::gpu::{self, OnDevice, Product};
use vramplan_engine::launch::{Gpu, Launch, Span};
use vramplan_engine::{
    Backend, Cpu, Engine, EngineError, Entry, Rope, Settings, Source as _, Yarn,
};
use vramplan_planner::dtype::{GgmlType, KvFormat, WeightFormat};
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Component, Scenario, buffers};
use vramplan_planner::spec::{Architecture, Capture, Logits, ModelShape, QkNorm, Runtime};

use crate::decoder;
use crate::kernels::device::Device as _;
use crate::kernels::emulator::Emulator;

/// An emulator as the engine's device. Its memory is the host's.
struct Emulated {
    emulator: RefCell<Emulator>,
    recording: RefCell<Option<Vec<Queued>>>,
    replays: Rc<Cell<usize>>,
}

/// What can be recorded.
#[derive(Clone, Debug)]
enum Queued {
    Launch(Launch),
    Product(Product),
}

impl Emulated {
    fn new() -> Self {
        let emulator = RefCell::new(Emulator::new(3));
        Self { emulator, recording: RefCell::default(), replays: Rc::default() }
    }

    /// Keeps what is recorded; says whether it is to run.
    fn is_run(&self, queued: impl FnOnce() -> Queued) -> bool {
        let mut recording = self.recording.borrow_mut();
        recording.as_mut().map(|all| all.push(queued())).is_none()
    }

    fn assert_not_recording(&self) {
        assert!(self.recording.borrow().is_none(), "this cannot be recorded");
    }
}

fn bytes<'a>(span: Span) -> &'a [u8] {
    // SAFETY: spans are of the emulator's memory, which lives as long as the test.
    unsafe { std::slice::from_raw_parts(span.address as *const u8, span.bytes as usize) }
}

fn bytes_mut<'a>(span: Span) -> &'a mut [u8] {
    // SAFETY: as for `bytes`; nothing else looks at it meanwhile.
    unsafe { std::slice::from_raw_parts_mut(span.address as *mut u8, span.bytes as usize) }
}

impl gpu::Device for Emulated {
    type Buffer = Span;
    type Graph = Vec<Queued>;

    fn gpu(&self) -> Gpu {
        self.emulator.borrow().gpu()
    }

    fn allocate(&self, bytes: usize) -> Result<Span, EngineError> {
        self.assert_not_recording();
        let span = self.emulator.borrow_mut().upload("buffer", &vec![0; bytes.max(1)]);
        Ok(Span { bytes: bytes as u64, ..span })
    }

    fn span(&self, buffer: &Span) -> Span {
        *buffer
    }

    unsafe fn upload(&self, to: Span, from: &[u8]) -> Result<(), EngineError> {
        self.assert_not_recording();
        bytes_mut(to).copy_from_slice(from);
        Ok(())
    }

    unsafe fn download(&self, from: Span, into: &mut [u8]) -> Result<(), EngineError> {
        self.assert_not_recording();
        into.copy_from_slice(bytes(from));
        Ok(())
    }

    unsafe fn fill(&self, span: Span, byte: u8) -> Result<(), EngineError> {
        self.assert_not_recording();
        bytes_mut(span).fill(byte);
        Ok(())
    }

    unsafe fn copy(&self, from: Span, to: Span) -> Result<(), EngineError> {
        self.assert_not_recording();
        bytes_mut(to).copy_from_slice(bytes(from));
        Ok(())
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), EngineError> {
        if self.is_run(|| Queued::Launch(launch.clone())) {
            self.emulator.borrow_mut().run(launch).unwrap();
        }
        Ok(())
    }

    /// In f32: candle's kernels are not emulated.
    unsafe fn multiply(&self, product: &Product) -> Result<(), EngineError> {
        if !self.is_run(|| Queued::Product(*product)) {
            return Ok(());
        }
        let Product { rows, width, columns, .. } = *product;
        assert_eq!(product.quantized.bytes as usize, Product::quantized_bytes(rows, width));
        assert_eq!(product.partial.bytes as usize, Product::partial_bytes(rows, self.gpu()));
        bytes_mut(product.quantized).fill(0xff);
        bytes_mut(product.partial).fill(0xff);
        let data = bytes(product.weight);
        let padding = Product::padding(product.ty, columns, width);
        let (data, padding) = data.split_at(data.len() - padding);
        assert!(padding.iter().all(|&byte| byte == 0));
        let matrix = expand(product.ty, data, columns, width);
        let (x, out) = (bytes(product.x), bytes_mut(product.out));
        let x: Vec<f32> =
            x.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        for (at, out) in out.chunks_exact_mut(4).enumerate() {
            let row = &x[at / columns * width..][..width];
            let column = &matrix[at % columns * width..][..width];
            let dot: f32 = row.iter().zip(column).map(|(x, w)| x * w).sum();
            out.copy_from_slice(&dot.to_le_bytes());
        }
        Ok(())
    }

    fn record(&self) -> Result<(), EngineError> {
        self.assert_not_recording();
        *self.recording.borrow_mut() = Some(Vec::new());
        Ok(())
    }

    fn recorded(&self) -> Result<Vec<Queued>, EngineError> {
        Ok(self.recording.borrow_mut().take().unwrap())
    }

    unsafe fn replay(&self, graph: &Vec<Queued>) -> Result<(), EngineError> {
        self.assert_not_recording();
        self.replays.set(self.replays.get() + 1);
        // SAFETY: as the caller says.
        graph.iter().try_for_each(|queued| unsafe {
            match queued {
                Queued::Launch(launch) => self.launch(launch),
                Queued::Product(product) => self.multiply(product),
            }
        })
    }
}

fn expand(ty: GgmlType, data: &[u8], rows: usize, width: usize) -> Vec<f32> {
    let dtype = match ty {
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q4K => GgmlDType::Q4K,
        _ => unreachable!("not in these tests"),
    };
    let cpu = candle_core::Device::Cpu;
    let tensor = qtensor_from_ggml(dtype, data, vec![rows, width], &cpu).unwrap();
    tensor.dequantize(&cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A decoder as small as the kernels' heads allow.
fn shape(architecture: Architecture) -> ModelShape {
    ModelShape { n_heads: 6, head_dim: 64, ..decoder::shape(architecture) }
}

fn families() -> Vec<(&'static str, ModelShape, GgmlType, Rope)> {
    let plain = Rope::plain(10_000.0);
    let yarn = Rope { scale: 0.25, yarn: Some(Yarn::new(64, 1e4, 64, 4.0, 1.0)), ..plain };
    let llama = shape(Architecture::Llama);
    let qwen2 = ModelShape { qkv_bias: true, ..shape(Architecture::Qwen2) };
    let qwen3 =
        ModelShape { qk_norm: QkNorm::PerHead, head_dim: 128, ..shape(Architecture::Qwen3) };
    vec![
        ("llama, tied", ModelShape { tied_embeddings: true, ..llama }, GgmlType::F16, plain),
        (
            "mistral",
            ModelShape { kv_heads: 1, ..shape(Architecture::Mistral) },
            GgmlType::F32,
            plain,
        ),
        ("qwen2, yarn", qwen2, GgmlType::F32, yarn),
        ("qwen3", qwen3, GgmlType::Q8_0, plain),
    ]
}

/// A cache whose sizes are odd, so that layers begin at odd places.
const SETTINGS: Settings = Settings {
    system_tokens: 7,
    max_cache_tokens: 23,
    recent_window: 9,
    prefill_chunk: 9,
    logits: Logits::All,
};

const IDS: [u32; 40] = [
    3, 1, 41, 5, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 38, 46, 2, 6, 43, 38, 3, 2, 7, 49, 12, 30, 41, 8,
    22, 0, 44, 17, 9, 9, 28, 33, 5, 14, 1, 39,
];

/// Of the largest logit: attention in f16, and products in 8 bits where the CPU has them.
fn tolerance(ty: GgmlType) -> f32 {
    if ty == GgmlType::Q8_0 { 0.1 } else { 0.02 }
}

/// Logits of a system prompt, chunks, tokens one by one, and a second conversation.
fn logits<B: Backend>(engine: &mut Engine<B>) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    engine.prefill_system(&IDS[..6]).unwrap();
    engine.score(&IDS[6..27], |_, logits| all.push(logits.to_vec())).unwrap();
    for &id in &IDS[27..33] {
        all.push(engine.step(id).unwrap().to_vec());
    }
    engine.score(&IDS[33..36], |_, logits| all.push(logits.to_vec())).unwrap();
    all.push(engine.step(IDS[36]).unwrap().to_vec());
    engine.reset_conversation().unwrap();
    for &id in &IDS[..3] {
        all.push(engine.step(id).unwrap().to_vec());
    }
    all
}

fn agree<B: Backend>(backend: impl Fn() -> B) {
    for (name, shape, ty, rope) in families() {
        let format = ty.name().to_ascii_lowercase();
        let mut source = decoder::source(shape, &format, 7).with_rope(rope);
        let table = SETTINGS.table(source.spec()).unwrap();
        let expected = logits(&mut Engine::load(Cpu, &mut source, &table).unwrap());
        let mut engine = Engine::load(backend(), &mut source, &table).unwrap();
        assert!(engine.memory_beside_table().get() > 0);
        let found = logits(&mut engine);
        assert_eq!(found.len(), expected.len());
        let mut worst = 0.0_f32;
        for (found, expected) in found.iter().zip(&expected) {
            let spread = expected.iter().fold(0.0_f32, |top, x| top.max(x.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let off = (found - expected).abs() / spread;
                worst = if off.is_nan() { f32::INFINITY } else { worst.max(off) };
            }
        }
        println!("{name}: logits are off by {worst:.1e} of the largest");
        assert!(worst < tolerance(ty), "{name}: {worst}");
    }
}

/// What the layers of a pass show.
fn captures_agree<B: Backend>(backend: B) {
    let mut source = decoder::source(shape(Architecture::Llama), "f32", 3);
    let capture = Capture { layers: 2, tokens: 5, attention: true, keep: true };
    let table = SETTINGS.table_with_capture(source.spec(), capture).unwrap();
    let mut cpu = Engine::load(Cpu, &mut source, &table).unwrap();
    let mut other = Engine::load(backend, &mut source, &table).unwrap();
    for tokens in [5, 1] {
        let expected = captured(&mut cpu, tokens);
        let found = captured(&mut other, tokens);
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(&expected).fold(0.0_f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off < 0.02, "captures are off by {off:.1e}");
    }
}

fn captured<B: Backend>(engine: &mut Engine<B>, tokens: usize) -> Vec<f32> {
    engine.reset().unwrap();
    engine.prefill_system(&IDS[..6]).unwrap();
    engine.prefill(&IDS[6..30]).unwrap();
    let captured = engine.capture(&IDS[30..30 + tokens], &[0, 1]).unwrap();
    let layers = captured.layers.into_iter();
    layers.flat_map(|layer| layer.attention.into_iter().chain(layer.hidden)).collect()
}

#[test]
fn every_family_equals_the_cpu() {
    let replays = Rc::new(Cell::new(0));
    agree(|| {
        let replays = Rc::clone(&replays);
        OnDevice::with(Emulated { replays, ..Emulated::new() })
    });
    // Of the five single tokens in a row after the first, and of two in the second conversation.
    assert_eq!(replays.get(), families().len() * (5 + 2));
}

/// Every row of a plan for such a GPU that is not the driver's, and what the engine says that it holds.
#[test]
fn it_holds_what_a_plan_for_this_gpu_lists() {
    let catalog = vramplan_disk::catalog(&[]);
    let (mut card, runtime) = (catalog.gpu("l4").unwrap(), catalog.runtime(Runtime::Vramplan));
    let runtime = runtime.unwrap();
    card.sm_count.value = gpu::Device::gpu(&Emulated::new()).multiprocessors.into();
    for prefill_chunk in [9, 5] {
        let mut source = decoder::source(shape(Architecture::Llama), "f16", 7);
        let settings = Settings { prefill_chunk, ..SETTINGS };
        let spec = source.spec().clone();
        let sized = weights_of(&spec, WeightFormat::AsStored, &runtime).unwrap();
        let plan = buffers(&Scenario {
            model: &spec,
            gpu: &card,
            runtime: &runtime,
            weights: &sized,
            kv: KvFormat::Int8,
            workload: settings.workload(spec.shape.context_len),
            cache_tokens: settings.max_cache_tokens,
        })
        .unwrap();
        let table = settings.table(&spec).unwrap();
        let backend = OnDevice::with(Emulated::new());
        let engine = Engine::load(backend, &mut source, &table).unwrap();
        let mut held = engine.memory().entries.clone();
        let drivers = [Component::RuntimeOverhead, Component::Fragmentation];
        for row in plan.iter().filter(|row| !drivers.contains(&row.component)) {
            let same = |entry: &Entry| {
                (entry.component, entry.id, entry.life, entry.size)
                    == (row.component, row.id, row.life, row.size.expected)
            };
            let at = held.iter().position(same).unwrap_or_else(|| panic!("{row:?}: {held:?}"));
            held.swap_remove(at);
        }
        assert_eq!(held, []);
    }
}

#[test]
fn captures_equal_the_cpus() {
    captures_agree(OnDevice::with(Emulated::new()));
}

#[test]
fn heads_without_kernels_are_refused() {
    let shape = ModelShape { head_dim: 80, ..shape(Architecture::Llama) };
    let mut source = decoder::source(shape, "f32", 7);
    let table = SETTINGS.table(source.spec()).unwrap();
    let backend = OnDevice::with(Emulated::new());
    let error = Engine::load(backend, &mut source, &table).err().unwrap().to_string();
    assert!(error.contains("`head_dim` = 80: expected 64, 128 or 256"), "{error}");
}

#[cfg(feature = "cuda")]
mod on_gpu {
    use vramplan_engine::cuda::Cuda;

    use super::*;

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn every_family_equals_the_cpu() {
        agree(|| Cuda::new(0).unwrap());
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn captures_equal_the_cpus() {
        captures_agree(Cuda::new(0).unwrap());
    }
}
