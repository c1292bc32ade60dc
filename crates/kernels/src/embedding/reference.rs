//! The look-ups in plain Rust.

/// `table[id]` for each id. Panics for an id outside of the table.
pub fn embedding(table: &[f32], width: usize, ids: &[u32]) -> Vec<f64> {
    ids.iter().flat_map(|id| &table[*id as usize * width..][..width]).map(|value| f64::from(*value)).collect()
}

/// The sum of the look-ups in several tables of one width, each with its ids.
pub fn embed_sum(tables: &[(&[f32], &[u32])], width: usize) -> Vec<f64> {
    let mut sum: Vec<f64> = Vec::new();
    for (table, ids) in tables {
        let rows = embedding(table, width, ids);
        sum.resize(rows.len(), 0.0);
        sum.iter_mut().zip(rows).for_each(|(sum, value)| *sum += value);
    }
    sum
}
