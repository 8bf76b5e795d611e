//! llama.cpp with layers, experts, tensors or caches in main memory: every device of a row.

use std::collections::HashMap;
use std::hash::BuildHasher;

use vramplan_planner::estimate::llama_cpp::gates_of;
use vramplan_planner::estimate::llama_cpp::graph::{LlamaCppGeneration, Outputs, split_bounds};
use vramplan_planner::estimate::llama_cpp::placement::{
    Placing, caches_on, compute_buffers, parts, weights_of,
};
use vramplan_planner::estimate::weights::file_layers;
use vramplan_planner::spec::{Bounds, Count, Launch, ModelSpec, TensorOverride};
use vramplan_planner::units::Bytes;

pub use vramplan_planner::estimate::llama_cpp::placement::TensorTable;

use super::csv::Row;
use super::llama_cpp::{context, format, generation};

/// What every device of a row holds, main memory last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Weights.
    pub weights: Vec<u64>,
    /// Caches.
    pub caches: Vec<u64>,
    /// Compute buffers.
    pub compute: Vec<u64>,
}

impl Devices {
    /// As the library said.
    pub fn measured(row: &Row) -> anyhow::Result<Self> {
        let list = |column| -> anyhow::Result<Vec<u64>> {
            row.text(column).split(';').map(|size| Ok(size.parse()?)).collect()
        };
        Ok(Self {
            weights: list("weights_bytes")?,
            caches: list("kv_bytes")?,
            compute: list("compute_bytes")?,
        })
    }

    /// What the plan says compute buffers may be.
    pub fn compute_bounds(
        &self,
        model: &ModelSpec,
        generation: LlamaCppGeneration,
    ) -> anyhow::Result<Vec<Bounds>> {
        let bounds = |size: &u64| Ok(split_bounds(model, generation, Bytes::new(*size))?);
        self.compute.iter().map(bounds).collect()
    }

    /// Whether the compute buffers that were measured are within the bounds of these.
    pub fn holds(
        &self,
        measured: &Self,
        model: &ModelSpec,
        generation: LlamaCppGeneration,
    ) -> anyhow::Result<bool> {
        let bounds = self.compute_bounds(model, generation)?;
        let mut both = bounds.iter().zip(&measured.compute);
        Ok(both.all(|(bounds, size)| (bounds.low.get()..=bounds.high.get()).contains(size)))
    }

    /// As is predicted, for a model whose tensors were listed before.
    pub fn predicted(row: &Row, model: &ModelSpec, table: &TensorTable) -> anyhow::Result<Self> {
        let launch = launch(row)?;
        let free = row.text("free_mib").split(';').map(|mib| Ok(Bytes::mib(mib.parse()?)?));
        let free: Vec<Bytes> = free.collect::<anyhow::Result<_>>()?;
        let placing = Placing {
            table,
            file_layers: file_layers(model),
            free: &free,
            launch: &launch,
            version: generation(row)?,
            output_first: true,
            by_rows: false,
            ada: true,
            turing: true,
        };
        let placed = placing.place(placing.counts()?)?;
        let mut params = context(row)?;
        if row.get::<u64>("n_outputs_max")? == 0 {
            params.outputs = Outputs::All;
        }
        let format = format(row.text("file_type"))?;
        let mut context = params.resolve_for(model)?;
        context.graph.gates = gates_of(model, format);
        let parts = parts(model, &placed.clone().into());
        let mut devices = Self { weights: Vec::new(), caches: Vec::new(), compute: Vec::new() };
        for part in &parts {
            let weights = weights_of(table, model, format, (&placed, part))?;
            devices.weights.push(weights.device.get());
            let caches = caches_on(part.home(), model, &placed, &context)?;
            let sum = Bytes::sum([caches.full, caches.window, caches.recurrent])?;
            devices.caches.push(sum.get());
        }
        let compute = compute_buffers(model, &placed, &context)?;
        devices.compute = compute.iter().map(|buffer| buffer.device.get()).collect();
        Ok(devices)
    }
}

/// Whether rows of a model are of the half at which nothing was mended: by the 33rd bit of the FNV-1a hash of its name.
pub fn is_held_out(model: &str) -> bool {
    let hash = model.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash >> 32 & 1 == 1
}

/// The tensors of the models of `rows`, listed once.
pub fn tables<S: BuildHasher>(
    rows: &[Row],
    models: &HashMap<String, ModelSpec, S>,
) -> anyhow::Result<HashMap<String, TensorTable>> {
    let mut tables = HashMap::new();
    for row in rows {
        let name = row.text("model");
        if !tables.contains_key(name) {
            let table = TensorTable::new(&models[name], format(row.text("file_type"))?)?;
            tables.insert(name.to_owned(), table);
        }
    }
    Ok(tables)
}

/// What llama.cpp was told in a row.
fn launch(row: &Row) -> anyhow::Result<Launch> {
    let gpu_layers: u64 = row.get("ngl")?;
    let cpu_moe: u64 = row.get("n_cpu_moe")?;
    let overrides = row.text("overrides").split(';').filter(|text| !text.is_empty());
    let overrides: Result<Vec<TensorOverride>, _> = overrides.map(str::parse).collect();
    let split = row.text("tensor_split").replace(';', ",");
    Ok(Launch {
        gpu_layers: Some(Count::Some(gpu_layers)),
        cpu_moe: (cpu_moe > 0).then_some(Count::Some(cpu_moe)),
        overrides: overrides.map_err(anyhow::Error::msg)?,
        tensor_split: match split.as_str() {
            "" => None,
            text => Some(text.parse().map_err(anyhow::Error::msg)?),
        },
        offloads_cache: !row.flag("no_kv_offload"),
        offloads_operations: !row.flag("no_op_offload"),
        ..Launch::default()
    })
}
