//! The facade as a user sees it: one error type, one import.

use std::time::Duration;
use thalweg::{EmbeddingModel, Error, MutableTensor, RuntimeError, Stream, Tensor, TensorError};

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
    let error = Error::from(EmbeddingModel::load(&device, "no/such/model").unwrap_err());
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
    shared::<MutableTensor>();
    shared::<EmbeddingModel>();
    shared::<Error>();
}

#[test]
fn futures_may_move_between_threads() {
    fn moves(_: impl Future + Send) {}
    fn owns(_: impl Future + Send + 'static) {}
    fn futures<'a>(stream: &Stream, tensor: &'a Tensor, model: Option<&'a EmbeddingModel>) {
        moves(stream.attach(tensor.to_vec_async::<f32>()));
        if let Some(model) = model {
            let text = String::from("a river");
            owns(model.embed_async(&[&text]));
            owns(model.submit(&[]).into_future());
        }
    }
    let device = thalweg::open("cpu").unwrap();
    let tensor = Tensor::full(&device, 1.0f32, &[3]).unwrap();
    futures(&Stream::new(&device).unwrap(), &tensor, None);
}

#[test]
fn a_closed_device_gives_what_is_there_and_takes_nothing() {
    let device = thalweg::open("cpu").unwrap();
    let mut tensor = Tensor::full(&device, 1.0f32, &[3, 64]).unwrap();
    let cache = MutableTensor::zeros::<f32>(&device, &[3, 64], 1).unwrap();
    device.close(Duration::from_secs(60)).unwrap();
    let other = Tensor::zeros::<f32>(&device, &[1]).unwrap_err();
    for error in [
        other,
        tensor.add(&tensor).unwrap_err(),
        tensor.fill(0.0f32).unwrap_err(),
        cache.add(0, &tensor).unwrap_err(),
        cache.read(0..3).unwrap_err(),
    ] {
        assert!(matches!(error, TensorError::Runtime(RuntimeError::Closed)), "{error}");
    }
    assert_eq!(tensor.to_vec::<f32>().unwrap(), [1.0; 192]);
}
