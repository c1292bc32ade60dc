//! candle as a peer of `compare.py`: one request on standard input, an answer on each line of standard output.
//!
//! `../README.md` has the protocol, and `../peer.py` answers it in Python, with the same texts and the same closed
//! loop. The model is the one of `candle-transformers`, shared by all threads.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{Tokenizer, TruncationParams};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// How many different requests a thread goes through.
const REQUESTS: usize = 16;
/// How much longer it is measured when no request ended.
const LONGER: [f64; 3] = [1.0, 4.0, 16.0];
/// What BERT's tokenizer adds to a text.
const SPECIAL_IDS: usize = 2;
const VERSION: &str = "0.11.1";

#[derive(Deserialize)]
struct Request {
    model: PathBuf,
    device: String,
    dtype: String,
    tokens: usize,
    words: Vec<String>,
    texts: Vec<String>,
    cells: Vec<Cell>,
}

#[derive(Deserialize, Clone, Copy)]
struct Cell {
    threads: usize,
    batch: usize,
    seconds: f64,
}

#[derive(Deserialize)]
struct Limits {
    max_seq_length: usize,
}

/// What one thread saw.
#[derive(Default)]
struct Tally {
    requests: usize,
    tokenizing: Duration,
    latencies: Vec<Duration>,
}

struct Model {
    bert: BertModel,
    tokenizer: Tokenizer,
    device: Device,
}

impl Model {
    fn load(request: &Request, device: Device) -> Result<Self, Fault> {
        let dtype = if request.dtype == "f16" { DType::F16 } else { DType::F32 };
        let config: Config = read(&request.model.join("config.json"))?;
        let tensors = candle_core::safetensors::load(request.model.join("model.safetensors"), &device)?;
        let bert = BertModel::load(VarBuilder::from_tensors(tensors, dtype, &device), &config)?;
        let limits: Limits = read(&request.model.join("sentence_bert_config.json"))?;
        let mut tokenizer = Tokenizer::from_file(request.model.join("tokenizer.json"))?;
        let truncation = TruncationParams { max_length: limits.max_seq_length, ..Default::default() };
        tokenizer.with_truncation(Some(truncation))?;
        tokenizer.with_padding(None);
        Ok(Self { bert, tokenizer, device })
    }

    fn ids(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, Fault> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded = self.tokenizer.encode_batch(texts, true)?;
        Ok(encoded.iter().map(|one| one.get_ids().to_vec()).collect())
    }

    /// Texts of one length, as ids, to values on the host.
    fn embed(&self, ids: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Fault> {
        let shape = (ids.len(), ids[0].len());
        let ids = Tensor::from_vec(ids.concat(), shape, &self.device)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, None)?;
        let mean = hidden.to_dtype(DType::F32)?.mean(1)?;
        let length = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(mean.broadcast_div(&length)?.to_vec2::<f32>()?)
    }

    /// The texts' embeddings, one by one, dealt out to so many threads.
    fn check(&self, texts: &[String], threads: usize) -> Result<Vec<Vec<f32>>, Fault> {
        let ids = self.ids(texts)?;
        let ids = &ids;
        let shares = on_threads(threads, |number| {
            let mine = (number..ids.len()).step_by(threads);
            mine.map(|index| Ok((index, self.embed(&ids[index..=index])?.remove(0)))).collect::<Result<Vec<_>, Fault>>()
        })?;
        let mut found = vec![Vec::new(); ids.len()];
        for (index, row) in shares.into_iter().flatten() {
            found[index] = row;
        }
        Ok(found)
    }

    fn measure(&self, request: &Request, cell: Cell) -> Result<Value, Fault> {
        for longer in LONGER {
            let window = Duration::from_secs_f64(cell.seconds * longer);
            let warm_up = (window / 4).min(Duration::from_secs(1));
            let (gate, start) = (Barrier::new(cell.threads), OnceLock::new());
            let tallies = on_threads(cell.threads, |number| {
                let requests = texts(request, cell, number);
                let first = self.once(&requests[0], &mut Tally::default());
                // Also after a failure, or the others would wait for ever.
                gate.wait();
                first?;
                let open = *start.get_or_init(Instant::now) + warm_up;
                self.until_closed(&requests, open, open + window)
            })?;
            let mut latencies: Vec<f64> =
                tallies.iter().flat_map(|tally| &tally.latencies).map(|latency| latency.as_secs_f64() * 1e3).collect();
            if latencies.is_empty() {
                continue;
            }
            latencies.sort_by(f64::total_cmp);
            let requests: usize = tallies.iter().map(|tally| tally.requests).sum();
            let tokenizing: Duration = tallies.iter().map(|tally| tally.tokenizing).sum();
            return Ok(json!({
                "threads": cell.threads,
                "batch": cell.batch,
                "texts_per_s": (latencies.len() * cell.batch) as f64 / window.as_secs_f64(),
                "p50_ms": latencies[latencies.len() / 2],
                "p99_ms": latencies[latencies.len() * 99 / 100],
                "tokenize_ms": tokenizing.as_secs_f64() * 1e3 / requests as f64,
            }));
        }
        Err("no request ended".into())
    }

    fn until_closed(&self, requests: &[Vec<String>], open: Instant, close: Instant) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        let mut begun = Instant::now();
        for texts in requests.iter().cycle() {
            if begun >= close {
                break;
            }
            self.once(texts, &mut tally)?;
            let ended = Instant::now();
            if open < ended && ended <= close {
                tally.latencies.push(ended - begun);
            }
            begun = ended;
        }
        Ok(tally)
    }

    /// One request, from text to values.
    fn once(&self, texts: &[String], tally: &mut Tally) -> Result<(), Fault> {
        let begun = Instant::now();
        let ids = self.ids(texts)?;
        tally.tokenizing += begun.elapsed();
        tally.requests += 1;
        let rows = self.embed(&ids)?;
        if rows.iter().flatten().all(|value| value.is_finite()) { Ok(()) } else { Err("a value is not finite".into()) }
    }
}

/// Calls `work` on so many threads at once, with their numbers; the first failure is the answer.
fn on_threads<T: Send>(threads: usize, work: impl Fn(usize) -> Result<T, Fault> + Sync) -> Result<Vec<T>, Fault> {
    let work = &work;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        workers.into_iter().map(|worker| worker.join()).collect()
    });
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
}

/// The requests of one thread: those of `thalweg bench`.
fn texts(request: &Request, cell: Cell, number: usize) -> Vec<Vec<String>> {
    // SplitMix64 (Steele, Lea and Flood, 2014), and Lemire's choice below a bound (2019).
    let mut state = (cell.threads as u64) << 48 | (number as u64) << 32;
    let mut below = |bound: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((u128::from(bits) * bound as u128) >> 64) as usize
    };
    let mut text = || {
        let words: Vec<&str> = (0..request.tokens.saturating_sub(SPECIAL_IDS))
            .map(|_| request.words[below(request.words.len())].as_str())
            .collect();
        words.join(" ")
    };
    (0..REQUESTS).map(|_| (0..cell.batch).map(|_| text()).collect()).collect()
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Fault> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn main() -> Result<(), Fault> {
    let mut given = String::new();
    std::io::stdin().read_to_string(&mut given)?;
    let request: Request = serde_json::from_str(&given)?;
    let device = match request.device.as_str() {
        "gpu" => Device::new_metal(0),
        _ => Ok(Device::Cpu),
    };
    let device = match device {
        Ok(device) => device,
        Err(error) => {
            println!("{}", json!({ "unavailable": error.to_string() }));
            return Ok(());
        }
    };
    let model = Model::load(&request, device)?;
    println!("{}", json!({ "ready": { "name": "candle", "version": VERSION, "device": request.device } }));
    let threads = request.cells.iter().map(|cell| cell.threads).max().unwrap_or(1);
    println!("{}", json!({ "embeddings": model.check(&request.texts, threads)? }));
    for &cell in &request.cells {
        let answer = model.measure(&request, cell).unwrap_or_else(
            |error| json!({ "threads": cell.threads, "batch": cell.batch, "error": error.to_string() }),
        );
        println!("{answer}");
    }
    Ok(())
}
