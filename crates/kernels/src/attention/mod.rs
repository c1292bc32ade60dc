//! Attention of packed sequences, each within itself.

mod head;
pub mod reference;

use crate::Kernels;
use crate::gpu::{Gpu, texts, word};
use crate::heads::Heads;
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::packed::check_offsets;
use crate::params::params;
use crate::scratch::Scratch;
use crate::simd::Simd;
use head::{Head, Rows, Target, Workspace};
use thalweg_hal::{Access, Groups, HostCall, KernelFailure};

params! {
    /// Parameters of [`ATTENTION`].
    pub struct Params {
        /// Number of heads of the queries, at least 1.
        pub heads: u32,
        /// Number of heads of the keys and values, a divisor of `heads`: each serves as many neighbouring heads.
        pub kv_heads: u32,
        /// Width of a head, at least 1.
        pub head_dim: u32,
        /// Number of sequences.
        pub sequences: u32,
        /// What the products of queries and keys are multiplied with: usually `1 / sqrt(head_dim)`.
        pub scale: f32,
        /// How many rows before its own a query sees: `u32::MAX` for all.
        pub before: u32,
        /// How many rows after its own a query sees: `u32::MAX` for all, 0 for a causal mask.
        pub after: u32,
        /// How far the bias reaches, or [`NO_BIAS`].
        pub reach: u32,
        /// Where the queries lie.
        pub query: Heads,
        /// Where the keys lie.
        pub key: Heads,
        /// Where the values lie.
        pub value: Heads,
    }
}

/// The [`Params::reach`] of attention without a bias.
pub const NO_BIAS: u32 = u32::MAX;

impl Params {
    /// Each row with all of its sequence, without a bias: operands are contiguous, and all have as many heads.
    pub fn new(heads: u32, head_dim: u32, sequences: u32, scale: f32) -> Self {
        let view = Heads::contiguous(heads, head_dim);
        Self {
            heads,
            kv_heads: heads,
            head_dim,
            sequences,
            scale,
            before: u32::MAX,
            after: u32::MAX,
            reach: NO_BIAS,
            query: view,
            key: view,
            value: view,
        }
    }

    /// Whether a GPU can load four elements at once, as [`ATTENTION_WIDE`] does.
    pub fn is_wide(&self) -> bool {
        self.head_dim.is_multiple_of(4) && [self.query, self.key, self.value].into_iter().all(Heads::is_wide)
    }
}

kernels! {
    /// For each head, `out[i]` is the sum of the rows j of v that row i sees, weighted by the softmax of
    /// `scale * q[i] . k[j] + bias[reach + j - i]`. A row sees those of its own sequence that are at most `before` rows
    /// before it, and `after` behind it. What it does not see it does not notice, NaN neither. All f32 but the offsets.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | q: a view of `[n, heads, head_dim]` |
    /// | 1 | read | k: a view of `[n, kv_heads, head_dim]` |
    /// | 2 | read | v: a view of `[n, kv_heads, head_dim]` |
    /// | 3 | read | offsets `[sequences + 1]`, u32: rising from 0 to n, no sequence empty |
    /// | 4 | read | bias `[heads, 2 * reach + 1]`, of sequences of at most `reach + 1`; any float without a bias |
    /// | 5 | write | out `[n, heads, head_dim]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row of all heads. Working memory does not grow with the length of a sequence,
    /// and the time grows with the number of keys that are seen. Each call checks all offsets.
    ATTENTION = "attention", floats(Attention<false>);

    /// [`ATTENTION`] for operands that [are wide](Params::is_wide), of which a GPU loads four elements at once.
    ATTENTION_WIDE = "attention_wide", floats(Attention<true>);
}

/// The form of [`ATTENTION`] for operands that [are wide](Params::is_wide) or not.
pub fn best(wide: bool) -> &'static Kernels {
    if wide { &ATTENTION_WIDE } else { &ATTENTION }
}

/// How many rows' state is kept at once, for each head.
const ROWS: usize = 256;

/// Rows of one head that a workgroup has.
const GROUP_ROWS: u32 = 16;

fn groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    // At least one, to say what is wrong with no heads.
    Groups::folded(extent[0].div_ceil(GROUP_ROWS).saturating_mul(word(params, 0).max(1)))
}

macro_rules! module {
    ($operands:literal) => {
        texts!["../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "../wgsl/heads.wgsl", $operands, "attention.wgsl"]
    };
}

struct Attention<const WIDE: bool>;

impl<const WIDE: bool> Kernel for Attention<WIDE> {
    const BINDINGS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    const FIXED: &'static [usize] = &[3];
    type Params = Params;
    // SAFETY: the module goes on only if the output's length is rows * heads * head_dim, if every element of the
    // three views of so many rows is inside of its binding, if the bias, where there is one, has heads *
    // (2 * reach + 1) elements, and if there are sequences + 1 offsets; it uses rows, heads and columns that there
    // are, and a sequence's rows only if its two offsets rise and are at most the number of rows, and if it has at
    // most reach + 1 rows, so that reach + key - query is from 0 to 2 * reach. Its variables of the workgroup have
    // an element for each index that an invocation's number, or a key's number in its block, gives, written before
    // it is read.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            if WIDE { module!("wide.wgsl") } else { module!("any.wgsl") },
            groups,
            &[
                "heads and head_dim must be at least 1, and kv_heads a divisor of heads",
                "the wide form takes steps of multiples of 4 elements",
                "the lengths of the operands contradict the parameters",
                "the number of offsets contradicts the parameters",
                "the offsets do not rise from 0 to the number of rows",
                "a sequence is longer than the relative bias reaches",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let n = call.extent[0] as usize;
        let [query, key, value] = [call.inputs.get(0)?, call.inputs.get(1)?, call.inputs.get(2)?];
        let (offsets, biases) = (call.inputs.get::<u32>(3)?, call.inputs.get::<f32>(4)?);
        let out = call.outputs.get::<f32>(0)?;
        let (heads, kv_heads, head_dim) = check(&params, n, [query, key, value])?;
        expect_len("out", out.len(), &[call.items.len(), heads, head_dim])?;
        check_offsets(offsets, params.sequences, n)?;
        check_bias(&params, biases, offsets)?;

        let width = heads * head_dim;
        let mut scratch = Scratch::new(Workspace::len(ROWS, head_dim));
        let mut rest = out;
        let mut row = call.items.start as usize;
        // The sequence that `row` is in: the last one that starts at or before it.
        let mut sequence = offsets.partition_point(|offset| *offset as usize <= row).saturating_sub(1);
        while row < call.items.end as usize {
            let (start, end) = (offsets[sequence] as usize, offsets[sequence + 1] as usize);
            let rows = (end - row).min(call.items.end as usize - row).min(ROWS);
            let (out, left) = rest.split_at_mut(rows * width);
            for number in 0..heads {
                let kv_number = number / (heads / kv_heads);
                let head = Head {
                    query: Rows::new(params.query, query, start, number),
                    key: Rows::new(params.key, key, start, kv_number),
                    value: Rows::new(params.value, value, start, kv_number),
                    length: end - start,
                    head_dim,
                    scale: params.scale,
                    before: params.before as usize,
                    after: params.after as usize,
                    bias: match params.reach {
                        NO_BIAS => None,
                        _ => biases.chunks_exact(biases.len() / heads).nth(number),
                    },
                };
                let target = Target { out: &mut *out, width, column: number * head_dim };
                head.attend(simd, row - start, rows, &mut Workspace::new(scratch.as_mut(), rows, head_dim), target);
            }
            rest = left;
            row += rows;
            sequence += usize::from(row == end);
        }
        Ok(())
    }
}

/// Heads of the queries, heads of the keys, and their width, if the operands have them.
fn check(params: &Params, n: usize, operands: [&[f32]; 3]) -> Outcome<(usize, usize, usize)> {
    let heads = expect_positive("heads", params.heads)?;
    let kv_heads = expect_positive("kv_heads", params.kv_heads)?;
    let head_dim = expect_positive("head_dim", params.head_dim)?;
    if !heads.is_multiple_of(kv_heads) {
        return Err(KernelFailure::new(format!("kv_heads is {kv_heads}, must divide heads, which is {heads}")));
    }
    let [query, key, value] = operands;
    params.query.check("query", [n, heads, head_dim], query.len())?;
    params.key.check("key", [n, kv_heads, head_dim], key.len())?;
    params.value.check("value", [n, kv_heads, head_dim], value.len())?;
    Ok((heads, kv_heads, head_dim))
}

/// Fails unless a bias has a value for each pair of rows of each sequence. The offsets rise.
fn check_bias(params: &Params, bias: &[f32], offsets: &[u32]) -> Outcome {
    if params.reach == NO_BIAS {
        return Ok(());
    }
    let reach = params.reach as usize;
    expect_len("the relative bias", bias.len(), &[params.heads as usize, 2 * reach + 1])?;
    let longer = offsets.windows(2).position(|pair| (pair[1] - pair[0]) as usize > reach + 1);
    let Some(at) = longer else { return Ok(()) };
    let message = format!(
        "sequence {at} has {} rows; the relative bias, which reaches {reach}, is for sequences of at most {}",
        offsets[at + 1] - offsets[at],
        reach + 1
    );
    Err(KernelFailure::new(message))
}
