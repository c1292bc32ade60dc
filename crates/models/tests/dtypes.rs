//! Weights in other types than f32, in the file and on the device.

mod support;

use fastrand::Rng;
use half::{bf16, f16};
use support::{bits, cpu, rows, seed, text, written};
use thalweg_models::testing::{Dtype, SmallEncoder, write_weights, write_weights_as};
use thalweg_models::{EmbeddingModel, Error, LoadOptions};
use thalweg_tensor::DType;

const WEIGHTS: &str = "model.safetensors";
const F16: fn() -> LoadOptions = || LoadOptions::new().dtype(DType::F16);

fn texts(random: &mut Rng) -> Vec<String> {
    (0..6).map(|words| text(random, words * 3)).collect()
}

/// A file of f16 or bf16 gives the bits of a file of f32 that has the same values.
#[test]
fn files_of_two_byte_elements_are_widened() {
    let mut random = Rng::with_seed(seed());
    let encoder = SmallEncoder::new(random.u64(..), 2, 32);
    let texts = texts(&mut random);
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    for (dtype, rounded) in [
        (Dtype::F16, (|value| f16::from_f32(value).to_f32()) as fn(f32) -> f32),
        (Dtype::BF16, |value| bf16::from_f32(value).to_f32()),
    ] {
        let directory = written(&encoder);
        let mut tensors = encoder.tensors();
        tensors.iter_mut().for_each(|(_, _, values)| values.iter_mut().for_each(|value| *value = rounded(*value)));
        write_weights(&directory.path().join(WEIGHTS), &tensors).unwrap();
        let expected = EmbeddingModel::load(&cpu(), directory.path()).unwrap().embed(&texts).unwrap();
        let expected = rows(&expected);
        write_weights_as(&directory.path().join(WEIGHTS), &tensors, dtype).unwrap();
        let model = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
        assert_eq!(model.dtype(), DType::F32);
        for (given, expected) in rows(&model.embed(&texts).unwrap()).iter().zip(&expected) {
            assert_eq!(bits(&given.values), bits(&expected.values), "{dtype:?}");
        }
    }
}

#[test]
fn a_model_in_f16_is_near_the_one_in_f32() {
    let mut random = Rng::with_seed(seed());
    for pooling in ["mean", "cls", "max"] {
        let encoder = SmallEncoder { pooling, ..SmallEncoder::new(random.u64(..), 2, 36) };
        let directory = written(&encoder);
        let full = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
        let half = EmbeddingModel::load_with(&cpu(), directory.path(), F16()).unwrap();
        assert_eq!((half.dtype(), half.width()), (DType::F16, 36));
        let texts = texts(&mut random);
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        for (given, expected) in rows(&half.embed(&texts).unwrap()).iter().zip(&rows(&full.embed(&texts).unwrap())) {
            assert_eq!(given.tokens, expected.tokens);
            for (given, expected) in given.values.iter().zip(&expected.values) {
                // Vectors of length 1; about ten roundings of 2^-11, of values that are small parts of it.
                assert!((given - expected).abs() <= 1e-2, "{given} for {expected}");
            }
        }
        // In the same process and on the same device, to the same bits.
        let [once, again] = [(); 2].map(|()| half.embed(&texts).unwrap());
        assert_eq!(bits(once.values().unwrap()), bits(again.values().unwrap()));
    }
}

#[test]
fn weights_beyond_the_range_of_f16_are_refused_by_name() {
    let encoder = SmallEncoder::new(7, 1, 16);
    let name = "encoder.layer.0.output.dense.bias";
    for (value, fits) in [(65_504.0f32, true), (65_519.0, true), (65_520.0, false), (-1e30, false)] {
        for stored in [Dtype::F32, Dtype::BF16] {
            let directory = written(&encoder);
            let mut tensors = encoder.tensors();
            let tensor = tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
            tensor.2[3] = value;
            write_weights_as(&directory.path().join(WEIGHTS), &tensors, stored).unwrap();
            assert!(EmbeddingModel::load(&cpu(), directory.path()).is_ok());
            // The nearest bf16 of all these but the last is 65,536.
            let fits = fits && stored == Dtype::F32;
            match EmbeddingModel::load_with(&cpu(), directory.path(), F16()) {
                Ok(_) => assert!(fits, "{value} in {stored:?}"),
                Err(error) => {
                    let message = error.to_string();
                    assert!(matches!(error, Error::TensorRange { element: 3, .. }) && !fits, "{message}");
                    assert!(
                        [name, "element 3", "65504", WEIGHTS].iter().all(|part| message.contains(part)),
                        "{message}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_model_computes_in_no_integers() {
    let directory = written(&SmallEncoder::new(7, 1, 16));
    for dtype in [DType::U32, DType::I32] {
        let options = LoadOptions::new().dtype(dtype);
        let error = EmbeddingModel::load_with(&cpu(), directory.path(), options).unwrap_err();
        assert_eq!(error.to_string(), format!("a model computes in f32 or f16; {dtype} was asked for"));
    }
}
