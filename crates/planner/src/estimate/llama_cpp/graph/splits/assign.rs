//! Which backend runs each operation (passes 1 to 4 of `ggml_backend_sched_split_graph`).

use super::super::tensors::{Graph, Note, Operation, Step};
use super::{Backends, OFFLOADED_ROWS, WeightAt};

/// The backend of every tensor; of those that are not computed, that of main memory.
pub(super) struct Assigned {
    pub(super) backends: Vec<usize>,
    /// The rows of the token embedding, looked up where the table is, each with the ids of the tokens.
    pub(super) lookups: Vec<[usize; 2]>,
}

struct Assigner<'a> {
    graph: &'a Graph,
    backends: &'a Backends<'a>,
    of: Vec<Option<usize>>,
    /// The operations in the order in which they run, lookups of tokens first.
    order: Vec<usize>,
}

pub(super) fn assign(graph: &Graph, backends: &Backends<'_>, lookups: &[[usize; 2]]) -> Assigned {
    let run = |step: &Step| match *step {
        Step::Run(id) => Some(id),
        Step::Unpin { .. } => None,
    };
    let looked_up = lookups.iter().map(|[rows, _]| *rows);
    let order = looked_up.chain(graph.steps.iter().filter_map(run)).collect();
    let mut assigner = Assigner { graph, backends, of: vec![None; graph.tensors.len()], order };
    assigner.by_location(lookups);
    let host = backends.host();
    assigner.expand(false, true, host);
    assigner.expand(true, true, host);
    assigner.expand(false, false, host);
    assigner.expand(true, false, host);
    assigner.by_inputs();
    Assigned {
        backends: assigner.of.into_iter().map(|backend| backend.unwrap_or(host)).collect(),
        lookups: lookups.to_vec(),
    }
}

impl Assigner<'_> {
    /// Pass 1: what is pinned, and what follows a weight.
    fn by_location(&mut self, lookups: &[[usize; 2]]) {
        for (id, tensor) in self.graph.tensors.iter().enumerate() {
            self.of[id] = match tensor.operation {
                Operation::Input if lookups.iter().any(|[rows, _]| *rows == id) => {
                    Some(self.of_table())
                }
                Operation::Input => Some(self.backends.host()),
                Operation::Effect => self.of_cache(&self.graph.notes[id]),
                Operation::Fresh | Operation::InPlace => {
                    self.pinned(id).or_else(|| self.of_weight(id))
                }
            };
        }
    }

    /// A lookup is never worth a transfer of the table.
    fn of_table(&self) -> usize {
        let table = (self.backends.find)(None, "token_embd", ".weight");
        table.map_or(self.backends.host(), |table| self.backends.of(table.home))
    }

    fn of_cache(&self, note: &Note) -> Option<usize> {
        let home = note.layer.map(|layer| self.backends.placed.cache_of(layer));
        home.map(|home| self.backends.of(home))
    }

    fn pinned(&self, id: usize) -> Option<usize> {
        let note = &self.graph.notes[id];
        let placed = self.backends.placed;
        if note.ends_attention && !placed.offloads_cache && !self.backends.flash {
            return Some(self.backends.host());
        }
        if !note.is_norm || !self.backends.places_norms {
            return None;
        }
        let layer = usize::try_from(note.layer?).ok()?;
        let backend = self.backends.of(*placed.layers.get(layer)?);
        self.runs_on(id, backend).then_some(backend)
    }

    fn of_weight(&self, id: usize) -> Option<usize> {
        let note = &self.graph.notes[id];
        // Matrices that rotate are weights to the scheduler.
        let backend = if note.rotation.is_some() {
            self.of_cache(note)?
        } else {
            let weight = self.backends.weight(id)?;
            self.backends.of(weight.home)
        };
        let host = self.backends.host();
        let is_large = note.batch >= OFFLOADED_ROWS;
        if backend == host && self.backends.placed.offloads_operations && is_large {
            return Some((0..host).find(|gpu| self.runs_on(id, *gpu)).unwrap_or(host));
        }
        Some(backend)
    }

    /// Whether a backend can run an operation: a GPU reads no other GPU's memory.
    fn runs_on(&self, id: usize, backend: usize) -> bool {
        let host = self.backends.host();
        let reachable = |home: usize| home == backend || home == host;
        backend == host || self.locations(id).iter().flatten().all(|home| reachable(*home))
    }

    /// Where the weights and the cache are that an operation reads.
    fn locations(&self, id: usize) -> [Option<usize>; 3] {
        let note = &self.graph.notes[id];
        let home = |weight: WeightAt| self.backends.of(weight.home);
        let reads_cache = note.cached[0] > 0 || note.rotation.is_some();
        let cache = if reads_cache { self.of_cache(note) } else { None };
        let [weight, beside] = [self.backends.weight(id), self.backends.beside(id)];
        [weight.map(home), beside.map(home), cache]
    }

    /// Pass 2: neighbours of what is assigned, GPUs first. Main memory ends a run of GPUs'.
    fn expand(&mut self, upwards: bool, of_gpus: bool, host: usize) {
        let mut current = None;
        for index in 0..self.order.len() {
            let index = if upwards { self.order.len() - 1 - index } else { index };
            let id = self.order[index];
            match (self.of[id], current) {
                (Some(backend), _) if of_gpus && backend == host => current = None,
                (Some(backend), _) => current = Some(backend),
                (None, Some(backend)) if self.runs_on(id, backend) => self.of[id] = Some(backend),
                (None, _) => {}
            }
        }
    }

    /// Pass 3: what no neighbour could run goes where most of its inputs are.
    fn by_inputs(&mut self) {
        for index in 0..self.order.len() {
            let id = self.order[index];
            if self.of[id].is_some() {
                continue;
            }
            let tensor = &self.graph.tensors[id];
            let mut best = None;
            for backend in (0..self.backends.count()).filter(|backend| self.runs_on(id, *backend)) {
                let sources = self.graph.sources_of(tensor).iter();
                let near = sources.filter(|source| self.of[source.id] == Some(backend)).count();
                let held = self.locations(id).into_iter().flatten();
                let near = near + held.filter(|home| *home == backend).count();
                if best.is_none_or(|(most, _)| near > most) {
                    best = Some((near, backend));
                }
            }
            self.of[id] = best.map(|(_, backend)| backend);
        }
    }
}
