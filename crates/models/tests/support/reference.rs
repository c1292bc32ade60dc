//! A BERT encoder in plain f64 loops, one sequence at a time, written from the paper's formulas and sharing no code
//! with the crate.

use std::collections::HashMap;
use thalweg_models::testing::SmallEncoder;

type Rows = Vec<Vec<f64>>;

/// The encoder's weights in f64.
pub struct Reference {
    encoder: SmallEncoder,
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Reference {
    pub fn new(encoder: &SmallEncoder) -> Self {
        let tensors = encoder
            .tensors()
            .into_iter()
            .map(|(name, shape, values)| {
                let name = name.trim_start_matches(encoder.prefix).to_owned();
                (name, (shape, values.into_iter().map(f64::from).collect()))
            })
            .collect();
        Self { encoder: encoder.clone(), tensors }
    }

    /// The embedding of one sequence.
    pub fn embed(&self, ids: &[u32]) -> Vec<f64> {
        let embedded: Rows = ids
            .iter()
            .enumerate()
            .map(|(position, &id)| {
                let word = self.row("embeddings.word_embeddings.weight", id as usize);
                let place = self.row("embeddings.position_embeddings.weight", position);
                let kind = self.row("embeddings.token_type_embeddings.weight", 0);
                (0..self.encoder.width).map(|i| word[i] + place[i] + kind[i]).collect()
            })
            .collect();
        let mut hidden = self.norm("embeddings.LayerNorm", &embedded);
        for layer in 0..self.encoder.layers {
            hidden = self.layer(&format!("encoder.layer.{layer}"), &hidden);
        }
        let column = |i: usize| hidden.iter().map(move |row| row[i]);
        let pooled: Vec<f64> = (0..self.encoder.width)
            .map(|i| match self.encoder.pooling {
                "cls" => hidden[0][i],
                "mean" => column(i).sum::<f64>() / ids.len() as f64,
                "max" => column(i).fold(f64::NEG_INFINITY, f64::max),
                other => panic!("pooling {other}"),
            })
            .collect();
        if !self.encoder.normalize {
            return pooled;
        }
        let length = pooled.iter().map(|value| value * value).sum::<f64>().sqrt();
        pooled.iter().map(|value| value / length).collect()
    }

    fn layer(&self, name: &str, input: &Rows) -> Rows {
        let [query, key, value] =
            ["query", "key", "value"].map(|part| self.dense(&format!("{name}.attention.self.{part}"), input));
        let size = self.encoder.width / self.encoder.heads;
        let mut mixed = vec![vec![0.0; self.encoder.width]; input.len()];
        for head in 0..self.encoder.heads {
            let part = head * size..(head + 1) * size;
            for (row, query) in query.iter().enumerate() {
                let scores: Vec<f64> = key
                    .iter()
                    .map(|key| part.clone().map(|i| query[i] * key[i]).sum::<f64>() / (size as f64).sqrt())
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for i in part.clone() {
                    mixed[row][i] =
                        weights.iter().zip(&value).map(|(weight, value)| weight * value[i]).sum::<f64>() / total;
                }
            }
        }
        let mixed = self.dense(&format!("{name}.attention.output.dense"), &mixed);
        let attended = self.norm(&format!("{name}.attention.output.LayerNorm"), &sum(&mixed, input));
        let mut wide = self.dense(&format!("{name}.intermediate.dense"), &attended);
        wide.iter_mut().flatten().for_each(|value| *value = activate(self.encoder.activation, *value));
        let narrow = self.dense(&format!("{name}.output.dense"), &wide);
        self.norm(&format!("{name}.output.LayerNorm"), &sum(&narrow, &attended))
    }

    fn dense(&self, name: &str, input: &Rows) -> Rows {
        let (shape, weight) = &self.tensors[&format!("{name}.weight")];
        let (_, bias) = &self.tensors[&format!("{name}.bias")];
        let dot = |row: &[f64], out: usize| -> f64 {
            row.iter().zip(&weight[out * shape[1]..]).map(|(a, b)| a * b).sum::<f64>() + bias[out]
        };
        input.iter().map(|row| (0..shape[0]).map(|out| dot(row, out)).collect()).collect()
    }

    fn norm(&self, name: &str, input: &Rows) -> Rows {
        let (_, weight) = &self.tensors[&format!("{name}.weight")];
        let (_, bias) = &self.tensors[&format!("{name}.bias")];
        let normalized = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let scale = 1.0 / (variance + 1e-12).sqrt();
            row.iter().enumerate().map(|(i, value)| (value - mean) * scale * weight[i] + bias[i]).collect()
        };
        input.iter().map(normalized).collect()
    }

    fn row(&self, name: &str, index: usize) -> &[f64] {
        let (shape, values) = &self.tensors[name];
        &values[index * shape[1]..(index + 1) * shape[1]]
    }
}

fn sum(left: &Rows, right: &Rows) -> Rows {
    left.iter().zip(right).map(|(left, right)| left.iter().zip(right).map(|(a, b)| a + b).collect()).collect()
}

fn activate(name: &str, x: f64) -> f64 {
    match name {
        "gelu" => x / 2.0 * (1.0 + erf(x / 2f64.sqrt())),
        "gelu_new" | "gelu_pytorch_tanh" => {
            x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        "relu" => x.max(0.0),
        "silu" | "swish" => x / (1.0 + (-x).exp()),
        "tanh" => x.tanh(),
        other => panic!("activation {other}"),
    }
}

/// The error function, by the series with positive terms only (Abramowitz and Stegun, 7.1.6): no cancellation.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum = x;
    let mut n = 0.0;
    while term.abs() > 1e-18 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}
