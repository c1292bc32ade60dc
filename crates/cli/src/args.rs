//! The command line: subcommands, flags, defaults and help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// More threads than this are a slip of the keyboard, not a wish.
const MAX_THREADS: i64 = 1024;
/// Bounds the results held between the threads and the output, whatever the input is.
const MAX_BATCH: i64 = 4096;
/// Bounds what is held for a ranking.
const MAX_TOP: i64 = 100_000;
/// An hour for each thread count.
const MAX_SECONDS: i64 = 3600;

/// Parallel inference of small models from many threads on one device.
#[derive(Parser, Debug)]
#[command(
    name = "thalweg",
    version,
    arg_required_else_help = true,
    after_help = "Standard output carries results only; everything for people goes to standard error.\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Turn texts into embeddings, one JSON object a line, in the order of the input
    Embed(EmbedArgs),
    /// Score how well texts go with a query, with a cross-encoder
    Rerank(RerankArgs),
    /// Classify texts, or pairs of texts
    Classify(ClassifyArgs),
    /// Show the tokens that a model makes of texts
    Tokenize(TokenizeArgs),
    /// Say what a model's directory is, and every setting that is read of it
    Info(InfoArgs),
    /// Measure throughput and latency for several thread counts
    Bench(BenchArgs),
    /// Fetch a model from the Hugging Face hub into its cache
    #[cfg(feature = "pull")]
    Pull(PullArgs),
    /// List the devices, what they can do, and which one would be chosen
    Devices(DevicesArgs),
}

/// Flags of `thalweg embed`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Input and output:
  Text is UTF-8, one text a line; an empty line is a text like any other. In JSON lines each line is an object with a
  string \"text\"; other members are ignored but for those of --keep, and so are empty lines at both ends. A line may
  have up to 16 MiB. Which of the two it is, --format says; by itself the name does (.jsonl, .ndjson and .json: JSON
  lines, .txt: text), and for other names and standard input the first line that is not empty: a JSON object with a
  string \"text\" begins JSON lines, and a note says so.
  Each text gives one line, in the order of the input, numbered from 0:
    {\"index\":0,\"tokens\":12,\"embedding\":[0.0676,...]}
  An output whose name ends in .npy is a matrix of f32 for NumPy, a row for each text. It is whole at every time. One
  that ends in .parquet is a table (in builds with that feature), which is whole when the command has ended.
  With --keep id, the member \"id\" of the input's line stands before \"embedding\", as it is written there; where a
  line has none, there is none. Texts that are longer than the model reads are cut, and counted at the end.
  The input is streamed: memory does not grow with its length.
  No file may be two of input, output, trace and model, whatever its names.
  With --trace, a file for ui.perfetto.dev has a track for each thread and each stream. It is written at the end, also
  after a fault or Ctrl-C, and replaces what is there only when it is whole.

When something goes wrong:
  The results of everything before the fault are written, in whole lines; then the command says what failed and ends
  with code 1. Ctrl-C (or SIGTERM, SIGHUP) takes no more input, writes what is already under way and ends with code 1; a
  second one ends at once. What the parent ignores (`nohup`) stays ignored. On a full disk the file keeps whole lines.
  When the reader of the output goes away (`| head`), the command ends quietly with code 0.
  With --append, the same command goes on where one ended, at whatever byte: what is in the file must be results, and
  the last of them that of its text; half a line behind it is cut off. The file is then as if nothing had happened.

Examples:
  thalweg embed --model models/all-MiniLM-L6-v2 --input sentences.txt --output embeddings.jsonl --threads 8
  thalweg embed --model models/all-MiniLM-L6-v2 --input records.jsonl --batch 16 > embeddings.jsonl
  thalweg embed --model models/all-MiniLM-L6-v2 --input sentences.txt --threads 8 --trace trace.json > embeddings.jsonl
  thalweg embed --model models/all-MiniLM-L6-v2 --input records.jsonl --keep id,url --output embeddings.jsonl --append
  echo 'a line of text' | thalweg embed --model models/all-MiniLM-L6-v2
")]
pub struct EmbedArgs {
    /// The model's directory, in the sentence-transformers layout, or organisation/name of one in the hub's cache
    #[arg(long, value_name = "DIR|NAME")]
    pub model: PathBuf,
    /// Where the texts are.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where the results go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Go on with the results that the output has, instead of replacing them
    #[arg(long)]
    pub append: bool,
    /// The name of a prompt of the model, which goes before each text; otherwise the model's own choice
    #[arg(long, value_name = "NAME")]
    pub prompt: Option<String>,
    /// How fast.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Which device computes.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What the device computes in; f16 is for GPUs
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    /// Where a trace of it goes, if anywhere.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Whether to show progress; auto: when standard error is a terminal and the results go elsewhere
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// Flags of `thalweg rerank`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Input and output:
  Input, output and what happens when something goes wrong are as `thalweg embed --help` says, without --append.
  With --query, each text is scored with it. Without, each JSON line has a \"query\" beside its \"text\". A line may have
  \"documents\", an array of strings, in place of its \"text\". Each line gives one, in the order of the input:
    {\"index\":0,\"tokens\":27,\"score\":0.9812}                                     of a text
    {\"index\":0,\"tokens\":49,\"scores\":[0.9812,0.0021]}                          of documents, in their order
    {\"index\":0,\"tokens\":49,\"ranking\":[{\"document\":0,\"score\":0.9812}]}      of documents, with --top
  With --query and --top, the best of all texts come when the whole input was read, the best first:
    {\"index\":17,\"tokens\":27,\"score\":0.9812,\"text\":\"...\"}

Examples:
  thalweg rerank --model cross-encoder/ms-marco-MiniLM-L6-v2 --query 'where do rivers end' --input texts.txt --top 5
  thalweg rerank --model cross-encoder/ms-marco-MiniLM-L6-v2 --input pairs.jsonl --keep id > scores.jsonl
")]
pub struct RerankArgs {
    /// The model's directory, or organisation/name of one in the hub's cache
    #[arg(long, value_name = "DIR|NAME")]
    pub model: PathBuf,
    /// The query that all texts are scored with
    #[arg(long, value_name = "TEXT")]
    pub query: Option<String>,
    /// Give only the best so many, the best first (1 to 100000)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=MAX_TOP))]
    pub top: Option<u32>,
    /// Where the texts are.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where the results go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How fast.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Which device computes.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What the device computes in; f16 is for GPUs
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    /// Where a trace of it goes, if anywhere.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Whether to show progress; auto: when standard error is a terminal and the results go elsewhere
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// Flags of `thalweg classify`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Input and output:
  Input, output and what happens when something goes wrong are as `thalweg embed --help` says, without --append.
  A JSON line with a string \"text_pair\" beside its \"text\" is a pair. Each text or pair gives one line, with all labels,
  or the --top best; the best first:
    {\"index\":0,\"tokens\":9,\"classes\":[{\"label\":\"POSITIVE\",\"score\":0.9998},{\"label\":\"NEGATIVE\",\"score\":0.0002}]}

Examples:
  thalweg classify --model distilbert/distilbert-base-uncased-finetuned-sst-2-english --input reviews.txt --top 1
  thalweg classify --model cross-encoder/nli-MiniLM2-L6-H768 --input pairs.jsonl --keep id > classes.jsonl
")]
pub struct ClassifyArgs {
    /// The model's directory, or organisation/name of one in the hub's cache
    #[arg(long, value_name = "DIR|NAME")]
    pub model: PathBuf,
    /// Give only the best so many labels of each (1 to 100000)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=MAX_TOP))]
    pub top: Option<u32>,
    /// Where the texts are.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where the results go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How fast.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Which device computes.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What the device computes in; f16 is for GPUs
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    /// Where a trace of it goes, if anywhere.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Whether to show progress; auto: when standard error is a terminal and the results go elsewhere
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// Flags of `thalweg tokenize`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Input and output:
  Input and output are as `thalweg embed --help` says, without --append. The model's weights are not looked at. A JSON
  line with a string \"text_pair\" beside its \"text\" is a pair. Each gives one line, special tokens included:
    {\"index\":0,\"tokens\":4,\"cut\":false,\"ids\":[101,1037,2314,102],\"type_ids\":[0,0,0,0],
     \"pieces\":[\"[CLS]\",\"a\",\"river\",\"[SEP]\"]}
  A piece is the token as its tokenizer writes it, or null if it has none. (An empty \"text_pair\" is one here and for
  rerank, and none for classify, as in the reference libraries.)

Examples:
  echo 'a river' | thalweg tokenize --model sentence-transformers/all-MiniLM-L6-v2
")]
pub struct TokenizeArgs {
    /// The model's directory, or organisation/name of one in the hub's cache
    #[arg(long, value_name = "DIR|NAME")]
    pub model: PathBuf,
    /// The name of a prompt of the model, which goes before each text; otherwise the model's own choice
    #[arg(long, value_name = "NAME")]
    pub prompt: Option<String>,
    /// Where the texts are.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where the results go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How fast.
    #[command(flatten)]
    pub pace: PaceArgs,
}

/// Flags of `thalweg info`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
What is said:
  Which family and task it is, its sizes, limits, modules and prompts, what its weights are stored in, and every setting
  that is read, with its file. Weights are not loaded. Where something keeps the model from being loaded, what was read
  up to there is printed, then what it is, and the exit code is 1.

Examples:
  thalweg info models/all-MiniLM-L6-v2
  thalweg info sentence-transformers/all-MiniLM-L6-v2 --json
")]
pub struct InfoArgs {
    /// The model's directory, or organisation/name of one in the hub's cache
    #[arg(value_name = "DIR|NAME")]
    pub model: PathBuf,
    /// Print one JSON document instead
    #[arg(long)]
    pub json: bool,
}

/// Flags of `thalweg bench`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
What is measured:
  For each thread count, the threads start together, warm up, and then each asks for one embedding after the other for
  the given time. A request is a call with --batch texts: tokenisation and inference, up to values that can be read. The
  texts are random words, different for each request, each with exactly --tokens ids. Only requests that end inside the
  measured time count, and every value is checked for being finite.
  requests_per_s, tokens_per_s: all threads together. p50_ms, p99_ms: time of a request, to within 1 %. tokenize_ms:
  the mean part of a request's time that is spent on tokenisation.
  With --trace there is a table of kernels too; kernels are timed with --trace-detail full.
  The table goes to standard output. With --json, standard output gets one document instead: device, model, dtype,
  commit, and runs; the table then goes to standard error.

Examples:
  thalweg bench --model models/all-MiniLM-L6-v2
  thalweg bench --model models/all-MiniLM-L6-v2 --threads 8 --batch 16 --tokens 64 --seconds 10 --json
")]
pub struct BenchArgs {
    /// The model's directory, in the sentence-transformers layout, or organisation/name of one in the hub's cache
    #[arg(long, value_name = "DIR|NAME")]
    pub model: PathBuf,
    /// Thread counts to measure, one after the other (each 1 to 1024)
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,2,8,32",
          value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS))]
    pub threads: Vec<u16>,
    /// How many texts each call passes (1 to 4096)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=MAX_BATCH))]
    pub batch: u16,
    /// How many ids each text has, special ones included
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,
    /// How long to measure each thread count, in seconds (1 to 3600)
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=MAX_SECONDS))]
    pub seconds: u16,
    /// Which device computes.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What the device computes in; f16 is for GPUs
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    /// Write what the device's memory is used for at the end, piece by piece, to a file, as one JSON document
    #[arg(long, value_name = "FILE")]
    pub memory: Option<PathBuf>,
    /// Where a trace of it goes, if anywhere.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Print one JSON document instead
    #[arg(long)]
    pub json: bool,
}

/// Where texts are, and how they are written.
#[derive(Args, Debug)]
pub struct InputArgs {
    /// Where the texts are; - is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub input: PathBuf,
    /// How the input is written; auto: by the file's name, else by its first line
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// Members of each JSON line that its result has too, any JSON value, as it is written
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub keep: Vec<String>,
}

/// Where results go.
#[derive(Args, Debug)]
pub struct OutputArgs {
    /// Where the results go; - is standard output. An existing file is replaced once the model is loaded
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// How many threads, and how many texts a call.
#[derive(Args, Debug)]
pub struct PaceArgs {
    /// How many threads call the model at once, on the one shared device (1 to 1024); otherwise what is fast on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS))]
    pub threads: Option<u16>,
    /// How many texts each call passes at most (1 to 4096), fewer where no more are there yet; otherwise what is fast
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_BATCH))]
    pub batch: Option<u16>,
}

/// Flags of commands that compute.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Which device computes: auto (a GPU if there is one, else the processor), cpu, metal (on a Mac), vulkan,
    /// vulkan:INDEX; `thalweg devices` lists them
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// How many threads the processor computes with, if it is the device (1 to 1024); otherwise as many processors as
    /// the command has to itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS))]
    pub cpu_threads: Option<u16>,
}

/// Flags of commands that can be traced.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Write a trace to this file: what each thread called and what the device ran, when. It opens in ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// What the trace has; coarse: lists, waits and compiles; full: every operation and kernel too. For embed it is
    /// full unless this says otherwise, for bench coarse
    #[arg(long, value_enum, requires = "trace")]
    pub trace_detail: Option<TraceDetail>,
}

/// What a trace has.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceDetail {
    /// Lists, submits, waits, compiles: costs next to nothing
    Coarse,
    /// Every operation and kernel too
    Full,
}

/// Flags of `thalweg pull`.
#[cfg(feature = "pull")]
#[derive(Args, Debug)]
#[command(after_long_help = "\
What is fetched:
  What a model is loaded from, and is not there yet: settings, vocabularies, and weights as safetensors; never pickles.
  It goes to the cache that the hub's own tools have (HF_HUB_CACHE, or hub in HF_HOME), and --model takes the name that
  was pulled. The model's directory is printed to standard output; how much there is to fetch, and progress, to standard
  error.
  An interrupted pull is gone on with by the next. Sizes and checksums are compared. A model that is whole is said to be
  there, also where the hub cannot be reached.

Environment:
  HF_TOKEN         a token for private models and those that ask for consent; otherwise the hub's token file
  HF_ENDPOINT      another address than https://huggingface.co
  HF_HUB_OFFLINE   1: the network is not asked

Examples:
  thalweg pull sentence-transformers/all-MiniLM-L6-v2
  thalweg pull BAAI/bge-small-en-v1.5@main
  thalweg embed --model sentence-transformers/all-MiniLM-L6-v2 --input sentences.txt > embeddings.jsonl
")]
pub struct PullArgs {
    /// The model's name on the hub, and perhaps a branch, a tag or a commit
    #[arg(value_name = "ORGANISATION/NAME[@REVISION]")]
    pub name: String,
    /// Whether to show progress; auto: when standard error is a terminal
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// Flags of `thalweg devices`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
The list goes to standard output; with --json, it is one JSON document.

Examples:
  thalweg devices
  thalweg devices --json
")]
pub struct DevicesArgs {
    /// Print one JSON document instead
    #[arg(long)]
    pub json: bool,
}

/// What the device computes in.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floating point
    F32,
    /// 16-bit floating point: half the memory and faster on a GPU, slower on the processor
    F16,
}

impl Dtype {
    /// The type as the library calls it.
    pub fn of_tensors(self) -> thalweg::DType {
        match self {
            Self::F32 => thalweg::DType::F32,
            Self::F16 => thalweg::DType::F16,
        }
    }
}

/// How the input is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// By the name of the input, else by its first line
    Auto,
    /// One text a line
    Text,
    /// One JSON object with a string "text" a line
    Jsonl,
}

/// When progress is shown.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// When standard error is a terminal, and no results go to it
    Auto,
    /// Not at all
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let Command::Bench(bench) = Cli::parse_from(["thalweg", "bench", "--model", "m"]).command else {
            panic!("`bench` is another subcommand")
        };
        assert_eq!((bench.threads, bench.batch, bench.tokens, bench.seconds), (vec![1, 2, 8, 32], 1, 24, 3));
        assert_eq!(bench.dtype, Dtype::F32);
        let Command::Embed(embed) = Cli::parse_from(["thalweg", "embed", "--model", "m"]).command else {
            panic!("`embed` is another subcommand")
        };
        assert_eq!((embed.pace.threads, embed.pace.batch, embed.device.device.as_str()), (None, None, "auto"));
        assert_eq!((embed.device.cpu_threads, bench.device.cpu_threads), (None, None));
        assert_eq!((embed.input.format, embed.progress, embed.dtype), (Format::Auto, ProgressMode::Auto, Dtype::F32));
    }
}
