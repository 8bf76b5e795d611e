//! The operations of a decoder layer beside attention and matrix products.

use super::argument::Arguments;
use super::shape::{Launch, LaunchError, Op, Span, blocks, int};
use crate::h2o::to_usize;
use vramplan_planner::dtype::GgmlType;

/// A matrix of `rows` rows of `width` elements.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
}

/// `[rows, heads, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub struct HeadRows {
    /// Rows.
    pub rows: usize,
    /// Heads of a row.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

/// `rows` rows of `width` elements, looked up in a table of `vocab`.
#[derive(Clone, Copy, Debug)]
pub struct TableShape {
    /// Rows that are looked up.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Rows of the table.
    pub vocab: usize,
}

/// `[rows, width]` times `[columns, width]` transposed.
#[derive(Clone, Copy, Debug)]
pub struct ProductShape {
    /// Rows of the result.
    pub rows: usize,
    /// Elements that are summed.
    pub width: usize,
    /// Columns of the result.
    pub columns: usize,
}

/// Threads of a block of the element by element kernels.
const THREADS: usize = 256;

fn launch(
    op: &'static str,
    function: &'static str,
    grid: [u32; 3],
    arguments: Arguments,
) -> Launch {
    let block = if op == "rope" || op == "angles" { 128 } else { 256 };
    Launch {
        op: Op { name: op, head_dim: None },
        function,
        grid,
        block,
        shared_bytes: 0,
        arguments,
    }
}

fn parts(elements: usize) -> Result<u32, LaunchError> {
    Ok(int("elements", elements.div_ceil(THREADS))?.cast_unsigned())
}

/// `out = x / sqrt(mean(x²) + eps) · weight` for `rows` rows of `width`; `out` may be `x`.
///
/// # Errors
/// Where memory is short.
pub fn rms_norm(
    x: Span,
    weight: Span,
    out: Span,
    Rows { rows, width }: Rows,
    eps: f32,
) -> Result<Launch, LaunchError> {
    x.holds("x", &[rows, width, 4])?;
    out.holds("out", &[rows, width, 4])?;
    weight.holds("weight", &[width, 4])?;
    let arguments = Arguments::new(&[&x, &weight, &out, &int("width", width)?, &eps]);
    Ok(launch("rms_norm", "rms_norm", [int("rows", rows)?.cast_unsigned(), 1, 1], arguments))
}

/// Rotates `[rows, heads, head_dim]` in place by `rotation`, f32 `[rows, head_dim]`.
///
/// # Errors
/// Where memory is short.
pub fn rope(
    x: Span,
    rotation: Span,
    HeadRows { rows, heads, head_dim }: HeadRows,
) -> Result<Launch, LaunchError> {
    x.holds("x", &[rows, heads, head_dim, 4])?;
    rotation.holds("rotation", &[rows, head_dim, 4])?;
    let arguments = Arguments::new(&[&x, &rotation, &int("head_dim", head_dim)?]);
    let grid = [int("heads", heads)?.cast_unsigned(), blocks("rows", rows)?, 1];
    Ok(launch("rope", "rope", grid, arguments))
}

/// Cosines and sines, f32 `[rows, head_dim]`, of the positions that follow the clock; `frequencies` are
/// f32 `[head_dim / 2]`.
///
/// # Errors
/// Where memory is short.
pub fn angles(
    clock: Span,
    frequencies: Span,
    magnitude: f32,
    rotation: Span,
    Rows { rows, width: head_dim }: Rows,
) -> Result<Launch, LaunchError> {
    clock.holds_at("clock", &[8], 4)?;
    frequencies.holds("frequencies", &[head_dim / 2, 4])?;
    rotation.holds("rotation", &[rows, head_dim, 4])?;
    let head_dim = int("head_dim", head_dim)?;
    let arguments = Arguments::new(&[&clock, &frequencies, &magnitude, &head_dim, &rotation]);
    Ok(launch("angles", "angles", [int("rows", rows)?.cast_unsigned(), 1, 1], arguments))
}

/// `gate = silu(gate) · up`, f32 `[count]`.
///
/// # Errors
/// Where memory is short.
pub fn silu_mul(gate: Span, up: Span, count: usize) -> Result<Launch, LaunchError> {
    gate.holds("gate", &[count, 4])?;
    up.holds("up", &[count, 4])?;
    let arguments = Arguments::new(&[&gate, &up, &int("count", count)?]);
    Ok(launch("elementwise", "silu_mul", [parts(count)?, 1, 1], arguments))
}

/// `to += from`, f32 `[count]`.
///
/// # Errors
/// Where memory is short.
pub fn add(to: Span, from: Span, count: usize) -> Result<Launch, LaunchError> {
    to.holds("to", &[count, 4])?;
    from.holds("from", &[count, 4])?;
    let arguments = Arguments::new(&[&to, &from, &int("count", count)?]);
    Ok(launch("elementwise", "add", [parts(count)?, 1, 1], arguments))
}

/// Adds `bias`, f32 `[width]`, to every row of f32 `[rows, width]`.
///
/// # Errors
/// Where memory is short.
pub fn add_bias(x: Span, bias: Span, Rows { rows, width }: Rows) -> Result<Launch, LaunchError> {
    x.holds("x", &[rows, width, 4])?;
    bias.holds("bias", &[width, 4])?;
    let arguments = Arguments::new(&[&x, &bias, &int("width", width)?]);
    let grid = [parts(width)?, blocks("rows", rows)?, 1];
    Ok(launch("elementwise", "add_bias", grid, arguments))
}

/// Looks up `rows` ids, i32, in a table of `vocab` rows of `width` elements of type `ty`; `out` is f32
/// `[rows, width]`. The ids have to be in the vocabulary.
///
/// # Errors
/// Where memory is short, or the type has no kernel.
pub fn embed(
    ty: GgmlType,
    table: Span,
    ids: Span,
    out: Span,
    TableShape { rows, width, vocab }: TableShape,
) -> Result<Launch, LaunchError> {
    let (value, layout) = (width as u64, ty.layout());
    let refused = |expected| LaunchError::Unsupported { name: "width", value, expected };
    let types = "a table of f32, f16, bf16, q4_0 to q8_0 or q2_K to q6_K";
    let function = embed_function(ty).ok_or(refused(types))?;
    if !value.is_multiple_of(layout.elements) {
        return Err(refused("whole blocks of the table's type"));
    }
    let row = usize::try_from(value / layout.elements * layout.bytes);
    table.holds("table", &[row.map_err(|_| refused("rows that fit memory"))?, vocab])?;
    ids.holds_at("ids", &[rows, 4], 4)?;
    out.holds("out", &[rows, width, 4])?;
    let arguments = Arguments::new(&[&table, &ids, &out, &int("width", width)?]);
    Ok(launch("embed", function, [parts(width)?, blocks("rows", rows)?, 1], arguments))
}

/// `out = x · weightᵀ` for a matrix that is not quantized, `[columns, width]` of type `ty`; x is f32
/// `[rows, width]`, out f32 `[rows, columns]`.
///
/// # Errors
/// Where memory is short, or the type is quantized.
pub fn linear(
    ty: GgmlType,
    weight: Span,
    x: Span,
    out: Span,
    ProductShape { rows, width, columns }: ProductShape,
) -> Result<Launch, LaunchError> {
    let function = match ty {
        GgmlType::F32 => "linear_f32",
        GgmlType::F16 => "linear_f16",
        GgmlType::Bf16 => "linear_bf16",
        _ => {
            let (name, value) = ("width", width as u64);
            let expected = "a matrix of f32, f16 or bf16";
            return Err(LaunchError::Unsupported { name, value, expected });
        }
    };
    let size = to_usize(ty.layout().bytes);
    weight.holds("weight", &[columns, width, size])?;
    x.holds("x", &[rows, width, 4])?;
    out.holds("out", &[rows, columns, 4])?;
    let (width, parts) = (int("width", width)?, int("columns", columns.div_ceil(LINEAR_COLUMNS))?);
    let arguments = Arguments::new(&[
        &weight,
        &x,
        &out,
        &int("rows", rows)?,
        &width,
        &int("columns", columns)?,
    ]);
    let grid = [parts.cast_unsigned(), blocks("rows", rows.div_ceil(LINEAR_ROWS))?, 1];
    Ok(launch("linear", function, grid, arguments))
}

/// Columns and rows of a block of `kernels/linear.cu`.
const LINEAR_COLUMNS: usize = 8;
const LINEAR_ROWS: usize = 8;

/// The kernel for a type.
fn embed_function(ty: GgmlType) -> Option<&'static str> {
    Some(match ty {
        GgmlType::F32 => "embed_f32",
        GgmlType::F16 => "embed_f16",
        GgmlType::Bf16 => "embed_bf16",
        GgmlType::Q4_0 => "embed_q4_0",
        GgmlType::Q4_1 => "embed_q4_1",
        GgmlType::Q5_0 => "embed_q5_0",
        GgmlType::Q5_1 => "embed_q5_1",
        GgmlType::Q8_0 => "embed_q8_0",
        GgmlType::Q2K => "embed_q2_k",
        GgmlType::Q3K => "embed_q3_k",
        GgmlType::Q4K => "embed_q4_k",
        GgmlType::Q5K => "embed_q5_k",
        GgmlType::Q6K => "embed_q6_k",
        _ => return None,
    })
}
