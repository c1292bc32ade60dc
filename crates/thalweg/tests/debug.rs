//! What `{:?}` shows of the types that a program sees: a line for people, whatever is behind a handle.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;
use thalweg::{
    Activation, AttentionOptions, Binary, Classifier, Comparison, DType, Detail, EmbeddingModel, Graph, Kernel,
    KernelFailure, LoadOptions, ModelInfo, MutableTensor, PackedMatrix, Pooling, ProfileOptions, Profiler, Reduction,
    Reranker, Scalar, Similarity, SparseEncoder, Tensor, TextTokenizer, Unary, f16,
};
use thalweg_models::testing::SmallEncoder;

/// What a type shows is shorter, in bytes.
const LIMIT: usize = 200;

/// The types that the crate exports by name. The runtime's are looked at in the runtime.
fn exported() -> BTreeSet<&'static str> {
    let exports = include_str!("../src/lib.rs").split(';').filter_map(|item| item.trim().strip_prefix("pub use "));
    let exports = exports.filter(|path| !path.starts_with("thalweg_runtime"));
    let names = exports.flat_map(|path| path.rsplit("::").next().unwrap_or(path).split([',', '{', '}', '\n']));
    let names = names.map(|name| name.rsplit(" as ").next().unwrap_or(name).trim());
    // No types of values: a trait, the type of a function, and one of results.
    let is_type = |name: &&str| !name.is_empty() && !["Element", "HostFn", "Result"].contains(name);
    names.filter(is_type).filter(|name| name.starts_with(char::is_uppercase) || *name == "f16").collect()
}

/// What each value shows, with the name of its type.
macro_rules! shown {
    ($($name:ident: $value:expr),* $(,)?) => {
        vec![$((stringify!($name), format!("{:?}", $value))),*]
    };
}

#[test]
fn every_type_shows_itself_in_a_short_line() {
    let device = thalweg::open("cpu").unwrap();
    let directory = tempfile::tempdir().unwrap();
    SmallEncoder::new(1, 6, 64).write(directory.path()).unwrap();
    let options = ProfileOptions::new().detail(Detail::Full);
    let profiler = Profiler::start(&device, options).unwrap();
    let profiling = format!("{profiler:?}");
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let tokens = model.tokenize(&["the river flows and joins many a stream"]).unwrap();

    let tensor = Tensor::full(&device, 1.0f32, &[64, 384]).unwrap();
    let graph = Graph::capture(&device, &[&tensor], |inputs| {
        let mut last = inputs[0].clone();
        for _ in 0..200 {
            last = last.add(&inputs[0])?;
        }
        Ok::<_, thalweg::TensorError>(vec![last])
    });
    let cache = MutableTensor::zeros::<f32>(&device, &[64, 384], 1).unwrap();
    let matrix = PackedMatrix::new(&device, &[1.0; 64 * 64], 64, 64).unwrap();
    let text = "// A long text, which is not to be shown.\n".repeat(1000)
        + "@group(0) @binding(0) var<storage, read> a: array<f32>;
           @group(0) @binding(1) var<storage, read_write> out: array<f32>;
           @compute @workgroup_size(64)
           fn main(@builtin(global_invocation_id) at: vec3<u32>) { out[at.x] = a[at.x]; }";
    static HOST_CALL: OnceLock<String> = OnceLock::new();
    let kernel = Kernel::new("scale", 1, 1).wgsl(text, "main").host(|call| {
        HOST_CALL.get_or_init(|| format!("{call:?}"));
        Err(KernelFailure::new("row 17 has 383 elements, expected 384"))
    });
    let failed = kernel.run(&device, [64, 1, 1], &(), &[&tensor], &[(&[64, 384], DType::F32)]).unwrap();
    let error = failed[0].to_vec::<f32>().unwrap_err();
    let model_error = EmbeddingModel::load(&device, directory.path().join("none")).unwrap_err();

    device.synchronize().unwrap();
    let profile = profiler.stop();
    let kernels = profile.kernels();

    let family =
        |name: &str| Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/data/families")).join(name);
    let reranker = Reranker::load(&device, family("rerank-bert")).unwrap();
    let scores = reranker.rerank("a query", &["a text"; 500]).unwrap();
    let classifier = Classifier::load(&device, family("classify-bert")).unwrap();
    let sparse = SparseEncoder::load(&device, family("sparse-bert")).unwrap();
    let vectors = sparse.embed(&["the river"; 500]).unwrap();
    let info = ModelInfo::read(family("bert")).unwrap();

    let mut shown: Vec<(&str, String)> = shown![
        Activation: Activation::Gelu,
        AttentionOptions: AttentionOptions::new().causal(true),
        Binary: Binary::Add,
        Classes: classifier.classify(&["a text"; 500]).unwrap(),
        Classifier: classifier,
        Comparison: Comparison::Lt,
        DType: DType::F32,
        Detail: Detail::Full,
        DeviceError: thalweg::DeviceError::DeviceLost { device: device.info().name.clone() },
        DeviceInfo: device.info(),
        DeviceKind: device.info().kind,
        DeviceReport: thalweg::devices()[0],
        Dropped: profile.dropped(),
        EmbeddingModel: model,
        Embeddings: model.embed(&vec!["the river"; 1000]).unwrap(),
        Error: thalweg::Error::from(error.clone()),
        ErrorClass: error.class(),
        Graph: graph,
        Kernel: kernel,
        KernelTable: kernels,
        KernelTime: kernels.kernels[0],
        KernelFailure: KernelFailure::new("it is only to be shown"),
        Limits: device.info().limits,
        LoadOptions: LoadOptions::new(),
        ModelError: model_error,
        ModelInfo: info,
        ModelTask: info.task.unwrap(),
        MutableTensor: cache,
        PackedMatrix: matrix,
        Pooling: Pooling::Mean,
        Profile: profile,
        ProfileOptions: options,
        Ranked: scores.ranked(1).unwrap()[0],
        Reduction: Reduction::Max,
        Reranker: reranker,
        Scalar: Scalar::Float(0.5),
        Scores: scores,
        SettingInfo: info.settings[0],
        Similarity: Similarity::Cosine,
        SparseEmbeddings: vectors,
        SparseEncoder: sparse,
        SparseVector: vectors.row(0).unwrap(),
        Tensor: tensor,
        TensorError: error,
        TextTokenizer: TextTokenizer::load(family("bert")).unwrap(),
        TokenVectors: model.token_vectors(&["the river"; 500]).unwrap(),
        Tokens: tokens[0],
        Unary: Unary::Neg,
        WeightsInfo: info.weights[0],
        f16: f16::ONE,
    ];
    shown.push(("Profiler", profiling));
    shown.push(("HostCall", HOST_CALL.get().unwrap().clone()));
    assert_eq!(shown.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), exported());
    for (name, line) in shown {
        assert!(line.len() < LIMIT && !line.contains('\n'), "{name} shows {} bytes: {line:.1000}", line.len());
    }
}
