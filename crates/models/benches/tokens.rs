//! Texts to tokens, on one thread: a model's tokenizer beside the library alone, which is given the same settings.
//!
//! Every round measures both on the same texts, in turn, and the tokens of the two are compared first.

#![allow(missing_docs)] // a program

#[path = "../../tensor/benches/measure/mod.rs"]
mod measure;

use clap::Parser;
use fastrand::Rng;
use measure::{Options, Result, Spread};
use serde::Serialize;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use thalweg_models::EmbeddingModel;
use thalweg_runtime::{Config, Device};
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

/// English words, one a line.
const WORDS: &str = include_str!("../../cli/src/bench/words.txt");
/// English sentences, one a line.
const SENTENCES: &str = include_str!("../../cli/demo/sentences.txt");
/// Microseconds a token, for English texts of 24 tokens.
const GOAL: f64 = 1.0;

/// What tokens cost.
#[derive(Parser)]
struct Args {
    /// The model's directory; scripts/fetch-model brings one
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2"))]
    model: PathBuf,
    #[command(flatten)]
    options: Options,
}

/// One kind of text.
#[derive(Serialize)]
struct Figure {
    texts: &'static str,
    /// Tokens of a text, on average.
    tokens: f64,
    /// Microseconds a token.
    thalweg: Spread,
    /// Microseconds a token.
    library: Spread,
    /// The library's time by this one's, in the same round.
    times: Spread,
    goal: Option<f64>,
}

fn main() -> ExitCode {
    measure::end(run(Args::parse()))
}

fn run(Args { model: directory, options }: Args) -> Result<()> {
    measure::check_model(&directory)?;
    let setting = options.introduce();
    let device = Device::new(thalweg_cpu::CpuDevice::open()?, Config::default())?;
    let model = EmbeddingModel::load(&device, &directory)?;
    let library = library(&directory, model.max_tokens())?;
    let kinds = [
        ("words, 24 tokens", words(&model, 24)?, Some(GOAL)),
        ("words, 256 tokens", words(&model, 256)?, None),
        ("sentences", SENTENCES.lines().map(str::to_owned).collect(), Some(GOAL)),
        ("sentences, a word with accents each", accented(), None),
        ("cut: 64 KiB, 256 kept", vec![SENTENCES.replace('\n', " ").repeat(28)[..64 << 10].to_owned()], None),
    ];
    let mut samples = vec![[Vec::new(), Vec::new(), Vec::new()]; kinds.len()];
    let mut counts = Vec::new();
    for (name, texts, _) in &kinds {
        counts.push(check(name, texts, &model, &library)?);
    }
    let long_enough = Duration::from_millis(if options.quick { 20 } else { 200 });
    for _ in 0..options.rounds() {
        for (((_, texts, _), count), samples) in kinds.iter().zip(&counts).zip(&mut samples) {
            let ours = time(long_enough, texts, |text| {
                black_box(model.tokenize(&[text])?);
                Ok(())
            })?;
            let theirs = time(long_enough, texts, |text| {
                black_box(library.encode_fast(text, true)?);
                Ok(())
            })?;
            let by_token = |time: f64| time * 1e6 / *count as f64;
            for (sample, figure) in samples.iter_mut().zip([by_token(ours), by_token(theirs), theirs / ours]) {
                sample.push(figure);
            }
        }
    }
    let figures: Vec<Figure> = kinds
        .into_iter()
        .zip(counts)
        .zip(samples)
        .map(|(((name, texts, goal), count), [ours, theirs, times])| Figure {
            texts: name,
            tokens: count as f64 / texts.len() as f64,
            thalweg: Spread::of(ours),
            library: Spread::of(theirs),
            times: Spread::of(times),
            goal,
        })
        .collect();
    eprintln!(
        "\n{:<36} {:>7}  {:^33}  {:^33}  {:^33}",
        "texts", "tokens", "us a token", "library, us a token", "times"
    );
    for Figure { texts, tokens, thalweg, library, times, goal } in &figures {
        let goal = goal.map_or_else(String::new, |goal| {
            format!("  goal {goal:.1}: {}", if thalweg.median <= goal { "met" } else { "not met" })
        });
        eprintln!("{texts:<36} {tokens:>7.1}  {thalweg:.3}  {library:.3}  {times:.1}{goal}");
    }
    options.finish(&setting, &figures)
}

/// The library with the model's settings.
fn library(directory: &std::path::Path, max_length: usize) -> Result<tokenizers::Tokenizer> {
    let mut library = tokenizers::Tokenizer::from_file(directory.join("tokenizer.json"))?;
    library.with_truncation(Some(TruncationParams {
        max_length,
        strategy: TruncationStrategy::LongestFirst,
        stride: 0,
        direction: TruncationDirection::Right,
    }))?;
    library.with_padding(None);
    Ok(library)
}

/// Random words that are one token each, so many that a text has `tokens` of them with the special ones.
fn words(model: &EmbeddingModel, tokens: usize) -> Result<Vec<String>> {
    let words: Vec<&str> = WORDS.lines().collect();
    let counted = model.tokenize(&words)?;
    let single: Vec<&str> =
        words.into_iter().zip(counted).filter_map(|(word, ids)| (ids.len() == 3).then_some(word)).collect();
    let mut random = Rng::with_seed(24);
    let mut text = || (0..tokens - 2).map(|_| single[random.usize(..single.len())]).collect::<Vec<_>>().join(" ");
    Ok((0..200).map(|_| text()).collect())
}

/// The sentences, each with a word that is not ASCII in its middle.
fn accented() -> Vec<String> {
    let accented = |line: &str| match line[..line.len() / 2].rfind(' ') {
        Some(space) => format!("{} café{}", &line[..space], &line[space..]),
        None => format!("café {line}"),
    };
    SENTENCES.lines().map(accented).collect()
}

/// How many tokens the texts have, after a look that both give the same.
fn check(name: &str, texts: &[String], model: &EmbeddingModel, library: &tokenizers::Tokenizer) -> Result<usize> {
    let mut count = 0;
    for text in texts {
        let ours = model.tokenize(&[text.as_str()])?.remove(0);
        if ours.ids() != library.encode_fast(text.as_str(), true)?.get_ids() {
            return Err(format!("{name}: other tokens than the library's, of {text:?}").into());
        }
        count += ours.len();
    }
    Ok(count)
}

/// Seconds for all texts once, from at least as long a run as asked for.
fn time(long_enough: Duration, texts: &[String], tokenize: impl Fn(&str) -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut times = 0;
    while start.elapsed() < long_enough {
        texts.iter().try_for_each(|text| tokenize(text))?;
        times += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(times))
}
