//! Attention over packed sequences, and its options.

use super::kernels::kernel;
use super::{bindable, dispatch};
use crate::layout::Layout;
use crate::{DType, Error, Result, Tensor};
use std::borrow::Cow;
use thalweg_kernels::attention::{self, NO_BIAS, Params};
use thalweg_kernels::heads::Heads;
use thalweg_kernels::rotary;

/// Options of [`Tensor::attention`].
///
/// ```
/// use thalweg_tensor::AttentionOptions;
///
/// // As Mistral's: each token sees itself and the 4,095 before it.
/// let options = AttentionOptions::new().causal(true).window(4095);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AttentionOptions {
    scale: Option<f32>,
    causal: bool,
    window: Option<usize>,
    relative_bias: Option<Tensor>,
}

impl AttentionOptions {
    /// The defaults: each row sees all of its sequence, without a bias, scaled by `1 / sqrt(d)`.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the products of queries and keys are multiplied with, instead of `1 / sqrt(d)`.
    pub fn scale(self, scale: f32) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Whether a query sees no key after its own.
    pub fn causal(self, causal: bool) -> Self {
        Self { causal, ..self }
    }

    /// Query i sees key j only if `|i - j| <= window`, which costs time in proportion to the window instead of the
    /// sequence. Where a model's window counts the keys of both sides, as ModernBERT's does, this is half of it.
    pub fn window(self, window: usize) -> Self {
        Self { window: Some(window), ..self }
    }

    /// What is added to the scaled scores, `[heads, 2 * reach + 1]` of the operands' type: `bias[h, reach + j - i]` for
    /// query i and key j of head h. A sequence longer than `reach + 1` fails when the data is read.
    pub fn relative_bias(self, bias: &Tensor) -> Self {
        Self { relative_bias: Some(bias.clone()), ..self }
    }
}

impl Tensor {
    /// Attention of each sequence within itself: for each head, the values weighted by the softmax of the scaled
    /// products of queries and keys. Self are the queries, `[n, heads, d]`; keys and values are `[n, kv_heads, d]`,
    /// where `kv_heads` divides `heads`, and each of theirs serves as many neighbouring heads of the queries. All f32,
    /// or all f16. The result is `[n, heads * d]`, as the dense layer behind it takes it.
    ///
    /// Views are taken as they are if the elements of a head lie side by side, so the three may be parts of one
    /// product: `product.narrow(1, part * width, width)?.reshape(&[n, heads, d])?` copies nothing. Others are made
    /// contiguous.
    ///
    /// `offsets` is `[sequences + 1]`, u32, rising from 0 to n; anything else fails when the data is read. A key that
    /// the options hide has no influence on a query, not even if it is NaN; each query sees at least its own. No rows
    /// and no sequences (one offset) give an empty result, for which the offset is not looked at.
    ///
    /// ```
    /// # use thalweg_tensor::{AttentionOptions, Result, Tensor};
    /// # fn example(product: &Tensor, offsets: &Tensor) -> Result<Tensor> {
    /// // Queries, keys and values of 12 heads of 32 columns, side by side.
    /// let [n, _] = *product.shape() else { panic!("not a matrix") };
    /// let part = |at: usize| product.narrow(1, at * 384, 384)?.reshape(&[n, 12, 32]);
    /// part(0)?.attention(&part(1)?, &part(2)?, offsets, &AttentionOptions::new())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If a type or shape does not match, or there are fewer rows than sequences: none is empty.
    pub fn attention(&self, key: &Self, value: &Self, offsets: &Self, options: &AttentionOptions) -> Result<Self> {
        const NAME: &str = "attention";
        self.expect_float(NAME, "the query")?;
        key.expect_dtype(NAME, "the key", self.dtype)?;
        value.expect_dtype(NAME, "the value", self.dtype)?;
        let [n, heads, head_dim] = self.expect_heads(NAME, "the query")?;
        let [_, kv_heads, _] = key.expect_heads(NAME, "the key")?;
        if key.shape() != [n, kv_heads, head_dim] || !heads.is_multiple_of(kv_heads) {
            let (given, expected) =
                (key.shape().to_vec(), format!("[{n}, kv_heads, {head_dim}], where kv_heads divides {heads} heads"));
            return Err(Error::Shape { operation: NAME, what: "the key", given, expected });
        }
        value.expect_shape(NAME, "the value", key.shape())?;
        let sequences = offsets.expect_offsets(NAME, n)?;
        let layout = Layout::contiguous(NAME, &[n, heads * head_dim])?; // a product that the query's layout has
        let (query, key, value) = (self.by_heads()?, key.by_heads()?, value.by_heads()?);

        // Kernels count in u32, and no sequence is longer.
        let window = options.window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX));
        let mut params = Params {
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            head_dim: head_dim as u32,
            sequences,
            scale: options.scale.unwrap_or((1.0 / (head_dim as f64).sqrt()) as f32),
            before: window,
            after: if options.causal { 0 } else { window },
            reach: NO_BIAS,
            query: query.heads_view(),
            key: key.heads_view(),
            value: value.heads_view(),
        };
        let bias = match &options.relative_bias {
            Some(bias) => {
                params.reach = bias.expect_relative_bias(NAME, self.dtype, heads)?;
                Some(bindable(bias)?)
            }
            None => None,
        };
        let offsets = bindable(offsets)?;
        // Without a bias nothing of that operand is looked at.
        let bias = bias.as_ref().map_or(query.whole(), Self::exact);
        let operands = [query.whole(), key.whole(), value.whole(), offsets.exact(), bias];
        let source = kernel(attention::best(params.is_wide()), self.dtype, NAME, "the query")?;
        dispatch(source, &operands, self.device(), (layout, self.dtype), &params, n)
    }

    /// Rotary positions: turns the columns i and `i + r / 2` of each head, for i below `r / 2`, by the angle that the
    /// table has for the row's position. Self is `[n, heads, d]`, f32 or f16, any view as for
    /// [`attention`](Self::attention). `table` is `[positions, r]`, f32: the cosines of a position, then its sines; r is
    /// even and at most d, and columns from r on are copied. `positions` is `[n]`, u32; one outside of the table fails
    /// when the data is read. The result is `[n, heads, d]`, new and contiguous.
    ///
    /// # Errors
    /// If a type or shape does not match.
    pub fn rotary(&self, table: &Self, positions: &Self) -> Result<Self> {
        const NAME: &str = "rotary";
        let source = kernel(&rotary::ROTARY, self.dtype, NAME, "the operand")?;
        let [n, heads, head_dim] = self.expect_heads(NAME, "the operand")?;
        table.expect_dtype(NAME, "the table", DType::F32)?;
        positions.expect_dtype(NAME, "the positions", DType::U32)?;
        positions.expect_shape(NAME, "the positions", &[n])?;
        let [rows, turned] = match *table.shape() {
            [rows, turned] if (2..=head_dim).contains(&turned) && turned.is_multiple_of(2) && (rows > 0 || n == 0) => {
                [rows, turned]
            }
            _ => {
                let (given, expected) =
                    (table.shape().to_vec(), format!("[positions, an even number from 2 to {head_dim}]"));
                return Err(Error::Shape { operation: NAME, what: "the table", given, expected });
            }
        };
        let layout = Layout::contiguous(NAME, &[n, heads, head_dim])?;
        let x = self.by_heads()?;
        // Within u32, by the layouts.
        let params = rotary::Params {
            heads: heads as u32,
            head_dim: head_dim as u32,
            turned: turned as u32,
            positions: rows as u32,
            x: x.heads_view(),
        };
        let (table, positions) = (bindable(table)?, bindable(positions)?);
        let operands = [x.whole(), table.exact(), positions.exact()];
        dispatch(source, &operands, self.device(), (layout, self.dtype), &params, n)
    }

    /// Rows, heads and their width.
    fn expect_heads(&self, operation: &'static str, what: &'static str) -> Result<[usize; 3]> {
        match *self.shape() {
            [n, heads, head_dim] if heads > 0 && head_dim > 0 => Ok([n, heads, head_dim]),
            _ => {
                let expected = "three axes, [rows, heads, width of a head], the last two at least 1".to_owned();
                Err(Error::Shape { operation, what, given: self.shape().to_vec(), expected })
            }
        }
    }

    /// How far a bias of this many heads reaches.
    fn expect_relative_bias(&self, operation: &'static str, dtype: DType, heads: usize) -> Result<u32> {
        let what = "the relative bias";
        self.expect_dtype(operation, what, dtype)?;
        match *self.shape() {
            // Half of what is within u32, by the layout.
            [given, columns] if given == heads && columns % 2 == 1 => Ok((columns / 2) as u32),
            _ => {
                let expected = format!("[{heads}, 2 * reach + 1], a row for each head");
                Err(Error::Shape { operation, what, given: self.shape().to_vec(), expected })
            }
        }
    }

    /// A tensor of three axes as kernels take it: the elements of a head side by side.
    fn by_heads(&self) -> Result<Cow<'_, Self>> {
        let side_by_side = self.layout.strides[2] == 1 || self.layout.shape[2] == 1;
        Ok(if side_by_side { Cow::Borrowed(self) } else { Cow::Owned(self.contiguous()?) })
    }

    /// Where the elements of a tensor of three axes lie, if those of a head lie side by side.
    fn heads_view(&self) -> Heads {
        let view = self.layout.view();
        let [.., row_stride, head_stride, _] = view.strides;
        Heads { offset: view.offset, row_stride, head_stride }
    }
}
