//! The normalisations in f64.

/// Layer normalisation of each row of x, which has `weight.len()` values.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f64> {
    let rows: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    normalise(&rows, weight, bias, epsilon)
}

/// Layer normalisation of the sum of two operands.
pub fn add_layer_norm(x: &[f32], residual: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f64> {
    let rows: Vec<f64> = x.iter().zip(residual).map(|(x, r)| f64::from(*x) + f64::from(*r)).collect();
    normalise(&rows, weight, bias, epsilon)
}

/// Normalisation by the root mean square of each row of x, which has `weight.len()` values.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f64> {
    let rows = x.chunks_exact(weight.len());
    let normalised = |row: &[f32]| {
        let square = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (square + f64::from(epsilon)).sqrt();
        row.iter().zip(weight).map(|(x, w)| f64::from(*x) * scale * f64::from(*w)).collect::<Vec<_>>()
    };
    rows.flat_map(normalised).collect()
}

fn normalise(rows: &[f64], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f64> {
    let mut out = Vec::new();
    for row in rows.chunks_exact(weight.len()) {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let affine = weight.iter().zip(bias);
        out.extend(row.iter().zip(affine).map(|(x, (w, b))| (x - mean) * scale * f64::from(*w) + f64::from(*b)));
    }
    out
}
