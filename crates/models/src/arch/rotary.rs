//! Rotary positions: queries and keys are turned by angles that grow with a token's position (Su et al., "RoFormer",
//! 2021), so that their products depend on distances.
//!
//! Angles are computed in the reference's arithmetic, f32 from step to step, as each rounding is an angle that grows
//! with the position; what a step rounds is exact to f64.

use super::config::ConfigFile;
use crate::error::Result;
use crate::json::{Json, Setting};
use crate::packed::PackedBatch;
use crate::weights::Scope;
use std::sync::OnceLock;
use thalweg_runtime::Pool;
use thalweg_tensor::{Result as TensorResult, Tensor};

/// The most tokens of a sequence with rotary positions, which need no table of weights: as many as the largest table of
/// angles has.
pub(crate) const MOST_POSITIONS: usize = LEAST_ROWS << (TABLES - 1);
/// The rows of the smallest table of angles: as many as a pass has tokens that is captured.
const LEAST_ROWS: usize = 512;
/// How many tables there may be, each twice as long as the one before.
const TABLES: usize = 12;

/// Which angles, as a family's settings say.
#[derive(Clone, Debug)]
pub(crate) struct Rotary {
    /// The elements of a head that are turned: all of them, and an even number.
    pub(crate) width: usize,
    /// The angle of one position goes from 1 down to nearly one over this.
    pub(crate) base: f64,
    pub(crate) scaling: Scaling,
}

/// What is done for sequences that are longer than those that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scaling {
    None,
    /// All angles are divided by it.
    Linear(f64),
    /// The base of a sequence of more than so many tokens grows with its length.
    Dynamic {
        factor: f64,
        trained: usize,
    },
}

impl Rotary {
    /// From `rope_parameters`, once called `rope_scaling`, and `rope_theta`. `base` is the family's default.
    pub(crate) fn read(config: &ConfigFile, width: usize, base: f64, trained: usize) -> Result<Self> {
        let [scaling, parameters] = ["rope_scaling", "rope_parameters"].map(|key| config.get(key));
        let setting = if scaling.is_truthy() { scaling } else { parameters };
        let base = Self::base(config.get("rope_theta"), base)?;
        Self::of(setting, None, width, base, trained)
    }

    /// From an object of parameters, if it is there, or the object in it for a kind of layers.
    pub(crate) fn of(
        setting: Setting<'_>,
        kind: Option<&str>,
        width: usize,
        base: f64,
        trained: usize,
    ) -> Result<Self> {
        setting.convert("an object", Json::as_object)?;
        let object = setting.value().and_then(|object| kind.map_or(Some(object), |kind| object.get(kind)));
        let parameter = |key: &str| object.and_then(|object| object.get(key)).filter(|value| !value.is_null());
        let wrong = |key: &str, expected: &str| match kind {
            None => setting.wrong_at(key, expected),
            Some(kind) => setting.wrong_at(kind, format!("{expected} for {key}")),
        };
        if object.is_some_and(|object| object.as_object().is_none() && !object.is_null()) {
            return Err(wrong("rope_theta", "an object with a number"));
        }
        let number = |key: &str| parameter(key).map(|value| value.as_f64().unwrap_or(f64::NAN));
        let base = match number("rope_theta") {
            None => base,
            Some(given) if is_base(given) => given,
            Some(_) => return Err(wrong("rope_theta", BASE)),
        };
        if number("partial_rotary_factor").is_some_and(|part| part != 1.0) {
            return Err(wrong("partial_rotary_factor", "1, as heads are turned as a whole,"));
        }
        let factor = || match number("factor") {
            Some(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
            _ => Err(wrong("factor", "a number above 0")),
        };
        let key = if parameter("rope_type").is_some() { "rope_type" } else { "type" };
        let scaling = match parameter(key) {
            None => Scaling::None,
            Some(kind) => match kind.as_str() {
                Some("default") => Scaling::None,
                Some("linear") => Scaling::Linear(factor()?),
                Some("dynamic") => Scaling::Dynamic { factor: factor()?, trained },
                _ => return Err(wrong(key, "\"default\", \"linear\" or \"dynamic\"")),
            },
        };
        Ok(Self { width, base, scaling })
    }

    /// A setting that is a base.
    pub(crate) fn base(setting: Setting<'_>, default: f64) -> Result<f64> {
        match setting.number()? {
            None => Ok(default),
            Some(base) if is_base(base) => Ok(base),
            Some(_) => Err(setting.wrong(BASE)),
        }
    }

    /// With tables in the memory that weights are in.
    pub(crate) fn load(self, weights: &Scope<'_>) -> Tables {
        Tables { rotary: self, pool: weights.pool().clone(), tables: Default::default() }
    }

    /// The angle of one position for each pair of elements, in a sequence of this length.
    fn angles(&self, length: usize) -> Vec<f32> {
        let (base, divisor) = match self.scaling {
            Scaling::None => (self.base as f32, 1.0),
            Scaling::Linear(factor) => (self.base as f32, factor as f32),
            Scaling::Dynamic { factor, trained } if length > trained => {
                let longer = (factor * length as f64) as f32 / trained as f32 - (factor - 1.0) as f32;
                let exponent = self.width as f64 / (self.width as f64 - 2.0);
                ((self.base * f64::from(power(longer, exponent))) as f32, 1.0)
            }
            Scaling::Dynamic { .. } => (self.base as f32, 1.0),
        };
        let exponent = |pair: usize| (2 * pair) as f32 / self.width as f32;
        (0..self.width / 2).map(|pair| 1.0 / power(base, exponent(pair).into()) / divisor).collect()
    }

    /// Cosines and sines of a sequence of this length, of its positions below `rows`: for each a row of `width`.
    fn rows(&self, length: usize, rows: usize) -> Vec<f32> {
        let angles = self.angles(length);
        let mut values = Vec::with_capacity(rows * self.width);
        for position in 0..rows {
            let at = |angle: &f32| f64::from(position as f32 * angle);
            values.extend(angles.iter().map(|angle| at(angle).cos() as f32));
            values.extend(angles.iter().map(|angle| at(angle).sin() as f32));
        }
        values
    }

    /// Whether a sequence of this length has angles of its own.
    fn is_of_its_own(&self, length: usize) -> bool {
        matches!(self.scaling, Scaling::Dynamic { trained, .. } if length > trained)
    }
}

const BASE: &str = "a number above 0";

fn is_base(base: f64) -> bool {
    base > 0.0 && (base as f32).is_normal()
}

/// In f32, rounded once.
fn power(base: f32, exponent: f64) -> f32 {
    f64::from(base).powf(exponent) as f32
}

/// Tables of angles on a device, made when a sequence needs them: memory grows with the longest sequence.
pub(crate) struct Tables {
    rotary: Rotary,
    pool: Pool,
    /// Of [`LEAST_ROWS`] positions, and each of twice as many as the one before.
    tables: [OnceLock<Tensor>; TABLES],
}

impl Tables {
    /// How the queries and keys of a batch are turned.
    pub(crate) fn rotation(&self, batch: &PackedBatch) -> TensorResult<Rotation> {
        let longest = batch.lengths().iter().copied().max().unwrap_or_default();
        if self.rotary.is_of_its_own(longest) {
            return self.of_each(batch);
        }
        let index = (0..TABLES - 1).find(|index| longest <= LEAST_ROWS << index).unwrap_or(TABLES - 1);
        let table = match self.tables[index].get() {
            Some(table) => table.clone(),
            None => {
                let rows = LEAST_ROWS << index;
                let made = Tensor::frozen_in(&self.pool, &self.rotary.rows(0, rows), &[rows, self.rotary.width])?;
                // Another thread may have made the same.
                self.tables[index].get_or_init(|| made).clone()
            }
        };
        Ok(Rotation { table, positions: batch.positions.clone() })
    }

    /// A row for each token, as sequences have angles of their own.
    fn of_each(&self, batch: &PackedBatch) -> TensorResult<Rotation> {
        let mut rows = Vec::new();
        batch.lengths().iter().for_each(|length| rows.extend(self.rotary.rows(*length, *length)));
        let device = self.pool.device();
        let table = Tensor::from_slice(device, &rows, &[batch.tokens(), self.rotary.width])?;
        let positions: Vec<u32> = (0..batch.tokens() as u32).collect();
        Ok(Rotation { table, positions: Tensor::from_slice(device, &positions, &[positions.len()])? })
    }
}

/// The angles of a batch's tokens.
pub(crate) struct Rotation {
    table: Tensor,
    /// The row of each token.
    positions: Tensor,
}

impl Rotation {
    /// Turned heads, `[n, heads, width]`.
    pub(crate) fn apply(&self, heads: &Tensor) -> TensorResult<Tensor> {
        heads.rotary(&self.table, &self.positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transformers library's `cos` and `sin` of a position, for heads of 12 elements.
    #[test]
    #[rustfmt::skip]
    fn angles_of_the_reference() {
        let (plain, linear) = (Scaling::None, Scaling::Linear(3.0));
        let dynamic = Scaling::Dynamic { factor: 2.0, trained: 48 };
        for (base, scaling, length, position, expected) in [
            (1000.0, plain, 160, 7, [
                0.753902256, -0.599437475, 0.764842212, 0.975599885, 0.997551024, 0.999755025,
                0.656986594, 0.800421596, 0.64421761, 0.219556108, 0.0699428394, 0.0221341383]),
            (160_000.0, plain, 1024, 1023, [
                0.400068194, 0.818284452, 0.999983549, -0.83421272, 0.940361083, 0.998890519,
                -0.916485369, 0.574813545, -0.00573722553, 0.551442802, 0.340177894, 0.0470921397]),
            (1000.0, linear, 160, 100, [
                -0.339714199, -0.43914637, -0.981674075, 0.494016826, 0.944956958, 0.994449556,
                0.940528691, -0.898415506, -0.190567657, 0.869452357, 0.327194661, 0.105214171]),
            (1000.0, dynamic, 48, 40, [
                -0.666938066, 0.996578991, -0.653643787, 0.301137358, 0.921061039, 0.992010653,
                0.745113134, 0.0826458037, -0.75680232, 0.953580797, 0.389418304, 0.126154095]),
            (1000.0, dynamic, 160, 150, [
                0.699250817, -0.516423702, 0.351506352, -0.10432151, 0.930697858, 0.996498585,
                -0.714876413, 0.856333196, 0.936185479, 0.994543612, 0.365788937, 0.083609648]),
        ] {
            let rotary = Rotary { width: 12, base, scaling };
            let row = &rotary.rows(length, length)[12 * position..][..12];
            for (given, expected) in row.iter().zip(expected) {
                assert!((f64::from(*given) - expected).abs() < 2e-7, "{rotary:?}: {given} for {expected}");
            }
        }
    }
}
