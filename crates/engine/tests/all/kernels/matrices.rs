//! Products with quantized matrices on a GPU, beside f64: candle's kernels on our memory.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device as Candle, Tensor};
use vramplan_engine::cuda::Cuda;
use vramplan_engine::gpu::{Device as _, Product};
use vramplan_engine::launch::Span;
use vramplan_planner::dtype::GgmlType;

use crate::kernels::random::Random;

/// Of a product's standard deviation: 8-bit activations are off by 0.7% of it, and of tens of thousands
/// some by several times that.
const TOLERANCE: f64 = 5e-2;
/// Standard deviation of weights.
const SPREAD: f32 = 0.5;

const TYPES: [(GgmlType, GgmlDType); 10] = [
    (GgmlType::Q4_0, GgmlDType::Q4_0),
    (GgmlType::Q4_1, GgmlDType::Q4_1),
    (GgmlType::Q5_0, GgmlDType::Q5_0),
    (GgmlType::Q5_1, GgmlDType::Q5_1),
    (GgmlType::Q8_0, GgmlDType::Q8_0),
    (GgmlType::Q2K, GgmlDType::Q2K),
    (GgmlType::Q3K, GgmlDType::Q3K),
    (GgmlType::Q4K, GgmlDType::Q4K),
    (GgmlType::Q5K, GgmlDType::Q5K),
    (GgmlType::Q6K, GgmlDType::Q6K),
];

/// A matrix as a file has it, and its numbers.
fn matrix(
    dtype: GgmlDType,
    columns: usize,
    width: usize,
    random: &mut Random,
) -> (Vec<u8>, Vec<f32>) {
    let values = random.normals(columns * width, SPREAD);
    let values = Tensor::from_vec(values, (columns, width), &Candle::Cpu).unwrap();
    let quantized = QTensor::quantize(&values, dtype).unwrap();
    let numbers = quantized.dequantize(&Candle::Cpu).unwrap().flatten_all().unwrap();
    (quantized.data().unwrap().to_vec(), numbers.to_vec1().unwrap())
}

/// A GPU whose memory is kept until the test ends.
struct Held {
    cuda: Cuda,
    buffers: Vec<vramplan_engine::cuda::Held>,
}

impl Held {
    fn of(&mut self, bytes: &[u8], padding: usize) -> Span {
        let buffer = self.cuda.device().allocate(bytes.len() + padding).unwrap();
        let span = self.cuda.device().span(&buffer);
        self.buffers.push(buffer);
        let data = span.part(0, bytes.len()).unwrap();
        // SAFETY: the span is that of a buffer that is kept.
        unsafe { self.cuda.device().upload(data, bytes) }.unwrap();
        span
    }

    fn poisoned(&mut self, bytes: usize) -> Span {
        self.of(&vec![0xff; bytes], 0)
    }

    fn multiply(&mut self, product: &Product) -> Vec<f32> {
        let mut bytes = vec![0; product.out.bytes as usize];
        // SAFETY: every span is that of a buffer that is kept.
        unsafe {
            self.cuda.device().multiply(product).unwrap();
            self.cuda.device().download(product.out, &mut bytes).unwrap();
        }
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_gpu_products_of_every_type_are_those_of_f64() {
    let mut random = Random::new("matrices");
    for (ty, dtype) in TYPES {
        // Widths of whole blocks that are not whole paddings, and columns without a partner.
        let narrow = if ty.layout().elements == 32 { 576 } else { 768 };
        for (width, columns) in [(narrow, 33), (256, 64), (2048, 130), (512, 1)] {
            for rows in [1, 2, 7, 8, 9, 40, 130] {
                check(ty, dtype, (rows, width, columns), &mut random);
            }
        }
    }
}

fn check(
    ty: GgmlType,
    dtype: GgmlDType,
    (rows, width, columns): (usize, usize, usize),
    random: &mut Random,
) {
    let (data, numbers) = matrix(dtype, columns, width, random);
    let x = random.normals(rows * width, 1.0);
    let mut held = Held { cuda: Cuda::new(0).unwrap(), buffers: Vec::new() };
    let gpu = held.cuda.device().gpu();
    let of_x: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let product = Product {
        ty,
        weight: held.of(&data, Product::padding(ty, columns, width)),
        x: held.of(&of_x, 0),
        out: held.poisoned(rows * columns * 4),
        rows,
        width,
        columns,
        quantized: held.poisoned(Product::quantized_bytes(rows, width)),
        partial: held.poisoned(Product::partial_bytes(rows, gpu)),
    };
    let found = held.multiply(&product);
    let dot = |at: usize| -> f64 {
        let row = x[at / columns * width..][..width].iter();
        let column = &numbers[at % columns * width..][..width];
        row.zip(column).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
    };
    let unit = f64::from(SPREAD) * (width as f64).sqrt();
    let off = found.iter().enumerate().fold(0.0_f64, |off, (at, found)| {
        let other = (f64::from(*found) - dot(at)).abs() / unit;
        if other.is_nan() { f64::INFINITY } else { off.max(other) }
    });
    assert!(off < TOLERANCE, "{rows} rows, {columns} × {width} of {ty}: off by {off:.1e}");
}
