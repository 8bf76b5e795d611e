//! Kernel arguments as the GPU's calling convention lays them out: little-endian, each aligned to 8.

use super::Span;

/// What a kernel takes. Structs of several fields have no padding: see `kernels/cache.cuh`.
pub trait Argument {
    /// Appends the argument in whole words.
    fn push(&self, words: &mut Vec<u64>);
}

impl Argument for Span {
    fn push(&self, words: &mut Vec<u64>) {
        words.push(self.address);
    }
}

/// A pointer that may be null.
impl Argument for Option<Span> {
    fn push(&self, words: &mut Vec<u64>) {
        words.push(self.map_or(0, |span| span.address));
    }
}

impl Argument for i32 {
    fn push(&self, words: &mut Vec<u64>) {
        words.push(u64::from(self.cast_unsigned()));
    }
}

impl Argument for f32 {
    fn push(&self, words: &mut Vec<u64>) {
        words.push(u64::from(self.to_bits()));
    }
}

/// Two neighbouring 32-bit fields.
impl Argument for [i32; 2] {
    fn push(&self, words: &mut Vec<u64>) {
        let [low, high] = self.map(|half| u64::from(half.cast_unsigned()));
        words.push(low | high << 32);
    }
}

/// The arguments of one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    words: Vec<u64>,
    starts: Vec<usize>,
}

impl Arguments {
    /// Of these arguments, in the kernel's order.
    pub fn new(arguments: &[&dyn Argument]) -> Self {
        let mut all = Self::default();
        for argument in arguments {
            all.starts.push(all.words.len());
            argument.push(&mut all.words);
        }
        all
    }

    /// The address of each argument, as `cuLaunchKernel` wants them. Valid while `self` lives.
    pub fn addresses(&self) -> impl Iterator<Item = *const u64> + '_ {
        self.starts.iter().map(|&start| self.words[start..].as_ptr())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_words() {
        let span = Span { address: 0x1234, bytes: 8 };
        let arguments = Arguments::new(&[&Some(span), &None::<Span>, &[1, -1], &1.0_f32, &-2]);
        let expected = [0x1234, 0, 0xffff_ffff_0000_0001, 0x3f80_0000, 0xffff_fffe];
        assert_eq!(arguments.words, expected);
        assert_eq!(arguments.len(), 5);
    }
}
