//! A service on tokio: 640 requests share a model, each with a deadline; a tenth of the clients hangs up.
//!
//! Run with `cargo run --release --example 07_service [MODEL]`; `scripts/fetch-model` brings the default model.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use thalweg::EmbeddingModel;
use tokio::time::timeout;

const REQUESTS: usize = 640;
const DEADLINE: Duration = Duration::from_secs(60);
const TEXTS: [&str; 4] = ["The ferry crosses.", "A boat carries people.", "Bread is sold until noon.", "High peaks."];
/// Of one poll, in microseconds.
static LONGEST: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "models/all-MiniLM-L6-v2".to_owned());
    let model = EmbeddingModel::load(&thalweg::open("cpu")?, directory)?;
    let expected = TEXTS.iter().map(|text| model.embed_one(text)).collect::<Result<Vec<_>, _>>()?;
    tokio::runtime::Builder::new_multi_thread().enable_time().build()?.block_on(async {
        let spawn = |request| {
            let task = timed(model.embed_async(&[TEXTS[request % TEXTS.len()]]));
            tokio::spawn(async move {
                let mut task = pin!(timeout(DEADLINE, task));
                if request % 10 == 9 {
                    // The client hangs up while its text is under way.
                    poll_fn(|context| {
                        let _ = task.as_mut().poll(context);
                        Poll::Ready(())
                    })
                    .await;
                    return None;
                }
                Some(task.await)
            })
        };
        let (mut answered, mut late, mut gone) = (0, 0, 0);
        for (request, task) in (0..REQUESTS).map(spawn).collect::<Vec<_>>().into_iter().enumerate() {
            match task.await? {
                Some(Ok(embeddings)) => {
                    assert_eq!(embeddings?.row(0)?, expected[request % TEXTS.len()], "its own, to the last bit");
                    answered += 1;
                }
                Some(Err(_)) => late += 1,
                None => gone += 1,
            }
        }
        println!(
            "{answered} answered, {late} too late, {gone} hung up; longest poll {} us",
            LONGEST.load(Ordering::Relaxed)
        );
        assert_eq!(answered + late + gone, REQUESTS);
        Ok(())
    })
}

/// Takes down how long the future's longest poll was.
async fn timed<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let begun = Instant::now();
        let polled = future.as_mut().poll(context);
        LONGEST.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        polled
    })
    .await
}
