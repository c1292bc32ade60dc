//! Operators in place against their ordinary forms, bit for bit; and the memory that they leave alone.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::Array;
use common::{Random, benches, check, cpu, disguised, shapes};
use proptest::prelude::*;
use std::sync::mpsc;
use thalweg_runtime::{Config, Device};
use thalweg_tensor::{Binary, Element, Error, Result, Tensor, Unary};

/// A tensor of its own memory, plain or a view of a part of it; the other handles are gone.
fn unique<T: Element>(device: &Device, array: &Array<T>, random: &mut Random) -> Tensor {
    let (before, after) = match random.below(3) {
        0 => (0, 0),
        _ => (random.below(600) as usize, random.below(600) as usize),
    };
    let around = |count| vec![T::zeroed(); count];
    let values = [around(before), array.values.clone(), around(after)].concat();
    let all = Tensor::from_slice(device, &values, &[values.len()]).unwrap();
    all.narrow(0, before, array.values.len()).unwrap().reshape(&array.shape).unwrap()
}

/// A shape, and another that broadcasts to it.
fn targets() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    (shapes(1500), any::<u64>()).prop_map(|(shape, seed)| {
        let random = &mut Random::new(seed);
        let mut other: Vec<_> = shape.iter().map(|n| if random.below(3) == 0 { 1 } else { *n }).collect();
        let leading = other.iter().take_while(|n| **n == 1).count();
        other.drain(..random.below(leading as u32 + 1) as usize);
        (shape, other)
    })
}

fn equals_ordinary<T: Element + std::fmt::Debug>(
    device: &Device,
    ((shape, other), seed): &((Vec<usize>, Vec<usize>), u64),
    value: impl Fn(&mut Random) -> T,
    divisor: impl Fn(T) -> T,
) {
    let random = &mut Random::new(*seed);
    for operation in Binary::ALL {
        let a = Array::new(shape, |_| value(random));
        let b = Array::new(other, |_| {
            let b = value(random);
            if operation == Binary::Div { divisor(b) } else { b }
        });
        let (mut x, y) = (unique(device, &a, random), disguised(device, &b, random.bits()));
        let ordinary = x.binary(operation, &y).unwrap();
        match operation {
            Binary::Add => x.add_in_place(&y),
            Binary::Sub => x.sub_in_place(&y),
            Binary::Mul => x.mul_in_place(&y),
            Binary::Div => x.div_in_place(&y),
            Binary::Pow => x.pow_in_place(&y),
            other => x.binary_in_place(other, &y),
        }
        .unwrap();
        assert_eq!(x.shape(), shape);
        let (x, ordinary) = (x.to_vec::<T>().unwrap(), ordinary.to_vec::<T>().unwrap());
        let bits = |values: &[T]| bytemuck::cast_slice::<T, u32>(values).to_vec();
        assert_eq!(bits(&x), bits(&ordinary), "{operation:?}: {x:?} instead of {ordinary:?}");
    }
}

#[test]
fn binary_in_place_gives_the_bits_of_the_ordinary_form() {
    check(file!(), 60, (targets(), any::<u64>()), |device, case| {
        let float = |random: &mut Random| match random.below(12) {
            0 => [0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE][random.below(4) as usize],
            _ => random.unit() * 100.0,
        };
        equals_ordinary(device, case, float, |b| b);
        equals_ordinary(device, case, |random| random.bits() as i32, |b| if b == 0 { -1 } else { b });
        equals_ordinary(device, case, |random| random.bits() as u32 >> random.below(32), |b| b.max(1));
    });
}

#[test]
fn unary_in_place_gives_the_bits_of_the_ordinary_form() {
    check(file!(), 40, (shapes(1500), any::<u64>()), |device, (shape, seed)| {
        let random = &mut Random::new(*seed);
        for operation in Unary::ALL {
            let array = Array::new(shape, |_| random.unit() * 12.0);
            let mut x = unique(device, &array, random);
            let ordinary = x.unary(operation).unwrap().to_vec::<f32>().unwrap();
            x.unary_in_place(operation).unwrap();
            let x = x.to_vec::<f32>().unwrap();
            let canonical = |v: &f32| if v.is_nan() { u32::MAX } else { v.to_bits() };
            assert!(x.iter().map(canonical).eq(ordinary.iter().map(canonical)), "{operation:?}");
        }
    });
}

/// Every operator that changes its tensor.
fn changes(tensor: &mut Tensor, other: &Tensor) -> [Result<()>; 3] {
    [tensor.add_in_place(other), tensor.unary_in_place(Unary::Neg), tensor.fill(7.0f32)]
}

// audit: C16
#[test]
fn shared_memory_is_refused_and_does_not_change() {
    let seed = Random::new(std::process::id().into()).bits();
    println!("seed {seed}");
    for bench in benches(seed) {
        let device = &bench.device;
        let values = Random::new(seed).units(12);
        let mut x = Tensor::from_slice(device, &values, &[3, 4]).unwrap();
        let one = Tensor::full(device, 1.0f32, &[4]).unwrap();
        type Share = fn(&Tensor) -> Tensor;
        let shares: [Share; 5] = [
            Tensor::clone,
            |x| x.reshape(&[12]).unwrap(),
            |x| x.transpose(0, 1).unwrap(),
            |x| x.narrow(0, 2, 1).unwrap(),
            |x| x.broadcast_to(&[2, 3, 4]).unwrap(),
        ];
        for share in shares {
            let shared = share(&x);
            for result in changes(&mut x, &one) {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Shared { .. }) && !error.is_retryable(), "{error}");
                assert!(error.to_string().contains("drop the others first"), "{error}");
            }
            // The other operand may be the one who shares: that is no different.
            assert!(matches!(x.add_in_place(&shared), Err(Error::Shared { .. } | Error::Shape { .. })));
            assert_eq!(x.to_vec::<f32>().unwrap(), values);
        }
        // The last of them is gone.
        x.add_in_place(&one).unwrap();
        let expected: Vec<_> = values.iter().map(|v| v + 1.0).collect();
        assert_eq!(x.to_vec::<f32>().unwrap(), expected);

        let mut frozen = x.freeze().unwrap();
        let clone = frozen.clone();
        for mut frozen in [clone, std::mem::replace(&mut frozen, one.clone())] {
            for result in changes(&mut frozen, &one) {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Runtime(thalweg_runtime::Error::Frozen { .. })), "{error}");
            }
            assert_eq!(frozen.to_vec::<f32>().unwrap(), expected);
        }
        bench.finish();
    }
}

#[test]
fn views_that_cannot_change_in_place_say_so() {
    let device = &cpu();
    let values: Vec<_> = (0..12).collect();
    let new = || Tensor::from_slice(device, &values, &[3, 4]).unwrap();
    let one = Tensor::full(device, 1i32, &[]).unwrap();
    for mut view in [new().transpose(0, 1).unwrap(), new().narrow(1, 1, 2).unwrap()] {
        let before = view.to_vec::<i32>().unwrap();
        let error = view.add_in_place(&one).unwrap_err();
        assert!(matches!(&error, Error::Strided { shape, .. } if shape == view.shape()), "{error}");
        assert!(error.to_string().contains("make it contiguous first"), "{error}");
        assert_eq!(view.to_vec::<i32>().unwrap(), before);
        view = view.contiguous().unwrap();
        view.add_in_place(&one).unwrap();
        assert_eq!(view.to_vec::<i32>().unwrap(), before.iter().map(|v| v + 1).collect::<Vec<_>>());
    }
    // Two that are left of the same memory, though they have no element in common.
    let (mut first, second) = (new().narrow(0, 0, 1).unwrap(), new());
    let (mut low, high) = (second.narrow(0, 0, 1).unwrap(), second.narrow(0, 1, 2).unwrap());
    drop(second);
    assert!(matches!(low.add_in_place(&one), Err(Error::Shared { operation: "add_in_place" })));
    drop(high);
    low.add_in_place(&one).unwrap();
    first.add_in_place(&low).unwrap();
    assert_eq!(first.to_vec::<i32>().unwrap(), [1, 3, 5, 7]);

    let mut x = new();
    let wide = Tensor::zeros::<i32>(device, &[2, 3, 4]).unwrap();
    let tall = Tensor::zeros::<i32>(device, &[5]).unwrap();
    for other in [&wide, &tall] {
        let error = x.add_in_place(other).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Shape { .. }) && message.contains("the second operand"), "{message}");
        assert!(message.contains("[3, 4]") && message.contains(&format!("{:?}", other.shape())), "{message}");
    }
    for error in
        [x.add_in_place(&Tensor::zeros::<u32>(device, &[]).unwrap()), x.unary_in_place(Unary::Neg), x.fill(0.0f32)]
    {
        assert!(matches!(error, Err(Error::DType { .. })));
    }
    assert_eq!(x.to_vec::<i32>().unwrap(), values);
}

#[test]
fn a_failure_in_place_stays_until_the_tensor_is_filled() {
    for bench in benches(Random::new(5).bits()) {
        let device = &bench.device;
        let mut x = Tensor::full(device, 6u32, &[5]).unwrap();
        let before = x.add(&x).unwrap();
        x.div_in_place(&Tensor::zeros::<u32>(device, &[]).unwrap()).unwrap();
        x.add_in_place(&before).unwrap();
        let after = x.mul(&before).unwrap();
        for failed in [&x, &after] {
            let error = failed.to_vec::<u32>().unwrap_err();
            assert!(error.to_string().contains("integer division by 0"), "{error}");
        }
        assert_eq!(before.to_vec::<u32>().unwrap(), [12; 5]);
        x.fill(2u32).unwrap();
        x.mul_in_place(&before).unwrap();
        assert_eq!(x.to_vec::<u32>().unwrap(), [24; 5]);
        bench.finish();
    }
}

#[test]
fn no_memory_is_taken() {
    let limit = Config::default().memory_limit(1 << 20);
    let device = &Device::new(thalweg_cpu::CpuDevice::open().unwrap(), limit).unwrap();
    // More than half of what there is, so a second one of the size has no room.
    let mut x = Tensor::full(device, 2.0f32, &[160 << 10]).unwrap();
    let one = Tensor::full(device, 1.0f32, &[]).unwrap();
    assert!(matches!(x.add(&one), Err(Error::Runtime(thalweg_runtime::Error::OutOfMemory(_)))));
    x.add_in_place(&one).unwrap();
    x.unary_in_place(Unary::Neg).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), vec![-3.0; 160 << 10]);
    x.fill(5.0f32).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), vec![5.0; 160 << 10]);
}

/// Tensors go round between threads; each is changed by the thread that has it, in place if nobody else has kept a
/// clone.
#[test]
fn stress_chains_in_place_and_ordinary_from_many_threads() {
    const THREADS: usize = 6;
    let seed = Random::new(std::process::id().into()).bits();
    println!("seed {seed}");
    for bench in benches(seed) {
        let device = &bench.device;
        let (mut senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<(Tensor, u32)>()).unzip();
        senders.rotate_left(1);
        let tally = std::sync::Mutex::new((0, 0));
        std::thread::scope(|scope| {
            // Each end is one thread's alone: when that panics, its neighbours do not wait for ever.
            for (thread, (inbox, outbox)) in receivers.into_iter().zip(senders).enumerate() {
                let tally = &tally;
                scope.spawn(move || {
                    let random = &mut Random::new(seed ^ (thread as u64) << 40);
                    let shared = Tensor::full(device, 3u32, &[1]).unwrap();
                    let (mut value, mut kept) = (random.bits() as u32, Vec::new());
                    let mut tensor = Tensor::full(device, value, &[70, 5]).unwrap();
                    for _ in 0..60 {
                        let own = random.bits() as u32;
                        let (operation, next) = match random.below(3) {
                            0 => (Binary::Add, value.wrapping_add(own)),
                            1 => (Binary::Mul, value.wrapping_mul(own)),
                            _ => (Binary::Sub, value.wrapping_sub(own)),
                        };
                        let own = Tensor::full(device, own, &[5]).unwrap();
                        let in_place = tensor.binary_in_place(operation, &own);
                        let refused = in_place.is_err();
                        let mut count = tally.lock().unwrap();
                        match in_place {
                            Ok(()) => count.0 += 1,
                            Err(Error::Shared { .. }) => count.1 += 1,
                            Err(error) => panic!("{error}"),
                        }
                        drop(count);
                        if refused {
                            tensor = tensor.binary(operation, &own).unwrap();
                        }
                        tensor.add_in_place(&shared).unwrap();
                        value = next.wrapping_add(3);
                        if random.below(3) == 0 {
                            kept.push((tensor.clone(), value));
                        }
                        if kept.len() > 3 {
                            let (tensor, value) = kept.swap_remove(random.below(4) as usize);
                            assert_eq!(tensor.to_vec::<u32>().unwrap(), [value; 350]);
                        }
                        outbox.send((tensor, value)).unwrap();
                        (tensor, value) = inbox.recv().unwrap();
                    }
                    for (tensor, value) in kept.into_iter().chain([(tensor, value)]) {
                        assert_eq!(tensor.to_vec::<u32>().unwrap(), [value; 350]);
                    }
                });
            }
        });
        let (in_place, refused) = tally.into_inner().unwrap();
        assert!(in_place > 0 && refused > 0, "{in_place} in place, {refused} refused");
        bench.finish();
    }
}
