//! The facade as a user sees it: one error type, one import.

use thalweg::{EmbeddingModel, Error, Tensor};

#[test]
fn errors_of_every_layer_become_one() {
    fn tensor() -> thalweg::Result<Vec<f32>> {
        let device = thalweg::open("cpu")?;
        let a = Tensor::from_slice(&device, &[1.0f32, 2.0], &[2])?;
        let b = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], &[3])?;
        Ok(a.add(&b)?.to_vec()?)
    }
    assert!(matches!(tensor(), Err(Error::Tensor(_))));
    let device = thalweg::open("cpu").unwrap();
    let error = EmbeddingModel::load(&device, "no/such/model").unwrap_err();
    assert!(matches!(error, Error::Model(_)));
    assert!(error.to_string().contains("no/such/model"));
}

#[test]
fn handles_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<thalweg::Device>();
    shared::<thalweg::Stream>();
    shared::<thalweg::Event>();
    shared::<Tensor>();
    shared::<EmbeddingModel>();
    shared::<Error>();
}
