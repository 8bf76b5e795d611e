//! Looking at a forward pass while it runs.

/// Is shown the hidden states between layers.
pub trait Observer {
    /// Whether the output of layer `layer` is wanted. What is not is not copied from the device.
    fn wants(&self, layer: usize) -> bool;

    /// The output of layer `layer`, f32 `[tokens, hidden]`, of tokens from position `first` on.
    fn hidden(&mut self, layer: usize, first: usize, states: &[f32]);
}

/// Wants nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn wants(&self, _: usize) -> bool {
        false
    }

    fn hidden(&mut self, _: usize, _: usize, _: &[f32]) {}
}
