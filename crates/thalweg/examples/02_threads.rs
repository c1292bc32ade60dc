//! Eight threads sharing one model.
//!
//! Run with `cargo run --release --example 02_threads [MODEL]`; `scripts/fetch-model` brings the default model.

use thalweg::EmbeddingModel;

const THREADS: usize = 8;
const TEXTS: [&str; 6] = [
    "The ferry crosses the river every hour.",
    "A boat carries people over the water several times a day.",
    "The bakery sells bread until noon.",
    "You can buy fresh loaves there in the morning.",
    "Mountains rise north of the city.",
    "Beyond the town there are high peaks.",
];

fn main() -> thalweg::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "models/all-MiniLM-L6-v2".to_owned());
    let device = thalweg::open("cpu")?;
    let model = EmbeddingModel::load(&device, directory)?;

    // Each thread embeds every text by itself. The model is shared by reference: there is no lock and no copy.
    let results: Vec<Result<Vec<Vec<f32>>, _>> = std::thread::scope(|scope| {
        let work = || TEXTS.iter().map(|text| model.embed_one(text)).collect();
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("the thread does not panic")).collect()
    });
    let results = results.into_iter().collect::<Result<Vec<_>, thalweg::ModelError>>()?;

    for other in &results[1..] {
        assert_eq!(*other, results[0], "every thread has the same numbers, to the last bit");
    }
    println!("{THREADS} threads agree on {} embeddings", TEXTS.len());

    let first = &results[0];
    for (index, text) in TEXTS.iter().enumerate() {
        let others = (0..TEXTS.len()).filter(|&other| other != index);
        let nearest = others.max_by(|&a, &b| similarity(first, index, a).total_cmp(&similarity(first, index, b)));
        let nearest = nearest.expect("there are other texts");
        println!("{:.3}  {text}  ~  {}", similarity(first, index, nearest), TEXTS[nearest]);
    }
    Ok(())
}

/// The cosine of the angle between two embeddings, which have unit length.
fn similarity(embeddings: &[Vec<f32>], a: usize, b: usize) -> f32 {
    embeddings[a].iter().zip(&embeddings[b]).map(|(x, y)| x * y).sum()
}
