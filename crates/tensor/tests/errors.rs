//! What is refused at the call: every documented error of every public function, with what its message names.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::{cpu, mock};
use std::fmt::Debug;
use thalweg_runtime::{Config, Device};
use thalweg_tensor::{
    Activation, AttentionOptions, Binary, Comparison, DType, Error, PackedMatrix, Pooling, Reduction, Result, Tensor,
    Unary, f16,
};

/// The error is of this kind, and its message has these parts.
#[track_caller]
fn refused<T: Debug>(result: Result<T>, kind: &str, parts: &[&str]) {
    let error = result.unwrap_err();
    let found = match &error {
        Error::Shape { .. } => "shape",
        Error::DType { .. } => "dtype",
        Error::Length { .. } => "length",
        Error::TooLarge { .. } => "too large",
        Error::Range { .. } => "range",
        Error::Scalar { .. } => "scalar",
        Error::NoOperands { .. } => "none",
        _ => "another",
    };
    let message = error.to_string();
    assert_eq!(found, kind, "{message}");
    assert!(!error.is_retryable(), "{message}");
    for part in parts {
        assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
    }
}

fn f32s(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::full(device, 1.0f32, shape).unwrap()
}

fn u32s(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::full(device, 1u32, shape).unwrap()
}

#[test]
fn making_and_reading() {
    let device = &cpu();
    refused(Tensor::from_slice(device, &[1u32, 2, 3], &[2, 2]), "length", &["from_slice", "3 elements", "[2, 2]", "4"]);
    refused(Tensor::frozen_from_slice(device, &[1i32], &[]).and_then(|t| t.reshape(&[2])), "length", &["reshape"]);
    refused(Tensor::frozen_from_slice(device, &[1.5f32], &[0]), "length", &["frozen_from_slice", "1 elements", "[0]"]);
    for shape in [&[usize::MAX, 2][..], &[1 << 16, 1 << 16], &[1 << 32], &[0, usize::MAX, 3], &[1; 7]] {
        let (given, limit) = (format!("{shape:?}"), "at most 6 axes and 4294967295 elements");
        refused(Tensor::from_slice::<f32>(device, &[], shape), "too large", &["from_slice", &given, limit]);
        refused(Tensor::frozen_from_slice::<f32>(device, &[], shape), "too large", &["frozen_from_slice", &given]);
        refused(Tensor::full(device, 1u32, shape), "too large", &["full", &given, limit]);
        refused(Tensor::zeros::<f32>(device, shape), "too large", &[&given]);
        refused(f32s(device, &[1]).reshape(shape), "too large", &["reshape", &given]);
        refused(f32s(device, &[1]).broadcast_to(shape), "too large", &["broadcast_to", &given]);
    }
    refused(f32s(device, &[2]).to_vec::<u32>(), "dtype", &["to_vec", "f32", "expected u32"]);
    refused(u32s(device, &[2]).to_vec::<i32>(), "dtype", &["to_vec", "u32", "expected i32"]);
}

#[test]
fn views() {
    let x = f32s(&cpu(), &[2, 3, 1]);
    refused(x.reshape(&[7]), "length", &["reshape", "6 elements", "[7]", "holds 7"]);
    for order in [&[0, 1][..], &[0, 1, 2, 2], &[0, 1, 1], &[0, 1, 3], &[2, 1, usize::MAX], &[]] {
        refused(x.permute(order), "range", &["permute", &format!("{order:?}"), "[2, 3, 1]"]);
    }
    for (first, second) in [(0, 3), (3, 0), (usize::MAX, 0)] {
        let axes = format!("axes {first} and {second}");
        refused(x.transpose(first, second), "range", &["transpose", &axes, "[2, 3, 1]"]);
    }
    for (axis, start, len) in [(1, 0, 4), (1, 4, 0), (1, 3, 1), (3, 0, 0), (1, usize::MAX, 2), (1, 1, usize::MAX)] {
        let range = format!("{len} entries from {start} of axis {axis}");
        refused(x.narrow(axis, start, len), "range", &["narrow", &range, "[2, 3, 1]"]);
    }
    for shape in [&[3, 1][..], &[2, 3], &[2, 4, 1], &[2, 3, 1, 1], &[0, 3, 1], &[2, 0, 1]] {
        let given = format!("broadcasts to {shape:?}");
        refused(x.broadcast_to(shape), "shape", &["broadcast_to", "[2, 3, 1]", &given]);
    }
    let scalar = f32s(&cpu(), &[]);
    refused(scalar.narrow(0, 0, 0), "range", &["narrow"]);
    refused(scalar.transpose(0, 0), "range", &["transpose"]);
    assert_eq!(scalar.permute(&[]).unwrap().to_vec::<f32>().unwrap(), [1.0]);
}

#[test]
fn element_by_element() {
    let device = &cpu();
    let (x, ids) = (f32s(device, &[2, 3]), u32s(device, &[2, 3]));
    for operation in Binary::ALL {
        refused(x.binary(operation, &ids), "dtype", &["binary", "second operand is u32", "expected f32"]);
        refused(ids.binary(operation, &x), "dtype", &["binary", "second operand is f32", "expected u32"]);
    }
    refused(x.add(&f32s(device, &[2])), "shape", &["add: the second operand has shape [2]", "[2, 3]"]);
    refused(&x / &f32s(device, &[4, 2, 1, 2]), "shape", &["div: ", "[4, 2, 1, 2]", "[2, 3]"]);
    refused(x.add(&f32s(device, &[0])), "shape", &["add: ", "[0]"]);
    let (tall, wide) = (f32s(device, &[1 << 16, 1]), f32s(device, &[1 << 16]));
    refused(tall.mul(&wide), "too large", &["mul: ", "[65536, 65536]"]);
    refused(ids.unary(Unary::Neg), "dtype", &["unary", "u32", "expected f32"]);
}

#[test]
fn errors_name_the_call() {
    let device = &cpu();
    let (x, y, ids) = (f32s(device, &[2, 3]), f32s(device, &[2]), u32s(device, &[2, 3]));
    for (name, result) in [
        ("add", &x + &y),
        ("sub", x.sub(&y)),
        ("maximum", x.maximum(&y)),
        ("pow", x.pow(&y)),
        ("lt", x.lt(&y)),
        ("compare", x.compare(Comparison::Ne, &y)),
        ("binary", x.binary(Binary::Add, &y)),
    ] {
        refused(result, "shape", &[&format!("{name}: the second operand has shape [2]"), "[2, 3]"]);
    }
    for (name, result) in [("sin", ids.sin()), ("neg", -&ids), ("unary", ids.unary(Unary::Neg))] {
        refused(result, "dtype", &[&format!("{name}: the operand is u32"), "f32 or f16"]);
    }
    for (name, result) in [
        ("mul", &ids * 1.5),
        ("sub", 1.5 - &ids),
        ("add_scalar", ids.add_scalar(1.5)),
        ("scalar_binary", Tensor::scalar_binary(1.5, Binary::Pow, &ids)),
        ("ge_scalar", ids.ge_scalar(1.5)),
    ] {
        refused(result, "scalar", &[&format!("{name}: the number is 1.5"), "elements of u32"]);
    }
    refused(&ids + -1, "scalar", &["add: the number is -1", "elements of u32"]);
    refused(Tensor::full(device, 1i32, &[1]).unwrap().add_scalar(u32::MAX), "scalar", &["4294967295", "i32"]);
}

#[test]
fn pieces() {
    let device = &cpu();
    let (x, ids) = (f32s(device, &[2, 3]), u32s(device, &[2, 3]));
    refused(Tensor::concat(&[], 0), "none", &["concat: no tensors"]);
    refused(Tensor::stack(&[], 0), "none", &["stack: no tensors"]);
    refused(Tensor::concat(&[&x, &x], 2), "range", &["concat", "axis 2", "[2, 3]"]);
    refused(Tensor::concat(&[&f32s(device, &[])], 0), "range", &["concat", "axis 0"]);
    refused(Tensor::stack(&[&x, &x], 3), "range", &["stack", "axis 3", "[2, 3]"]);
    refused(Tensor::concat(&[&x, &ids], 0), "dtype", &["concat: one of the tensors is u32", "expected f32"]);
    refused(Tensor::stack(&[&x, &ids], 0), "dtype", &["stack: one of the tensors is u32", "expected f32"]);
    for shape in [&[2, 4][..], &[2], &[1, 2, 3]] {
        let (other, given) = (f32s(device, shape), format!("{shape:?}"));
        refused(
            Tensor::concat(&[&x, &x, &other], 0),
            "shape",
            &["concat", &given, "[2, 3] but for axis 0", "number 2"],
        );
        refused(Tensor::stack(&[&x, &other], 0), "shape", &["stack", &given, "[2, 3]", "number 1"]);
    }
    let six = f32s(device, &[1; 6]);
    refused(Tensor::stack(&[&six, &six], 0), "too large", &["stack"]);
    let long = f32s(device, &[1]).broadcast_to(&[1 << 31]).unwrap();
    refused(Tensor::concat(&[&long, &long], 0), "too large", &["concat", "[4294967296]"]);
}

#[test]
fn masks_and_indices() {
    let device = &cpu();
    let (x, mask, ids) = (f32s(device, &[2, 3]), u32s(device, &[2, 3]), u32s(device, &[4]));
    refused(Tensor::select(&x, &x, &x), "dtype", &["select: the mask is f32", "u32"]);
    refused(Tensor::select(&mask, &x, &mask), "dtype", &["select: the second operand is u32", "f32"]);
    refused(Tensor::select(&ids, &x, &x), "shape", &["select: the mask has shape [4]", "[2, 3]"]);
    refused(Tensor::select(&mask, &x, &f32s(device, &[4])), "shape", &["select: the second operand", "[4]"]);
    refused(x.index_select(2, &ids), "range", &["index_select", "axis 2", "[2, 3]"]);
    refused(x.index_select(0, &mask), "shape", &["index_select: the indices", "[2, 3]", "one axis"]);
    refused(x.index_select(0, &f32s(device, &[4])), "dtype", &["index_select: the indices", "f32", "u32"]);
    refused(f32s(device, &[0, 3]).index_select(0, &ids), "shape", &["index_select: the operand", "[0, 3]", "axis 0"]);
    refused(x.gather(2, &mask), "range", &["gather", "axis 2", "[2, 3]"]);
    refused(x.gather(1, &x), "dtype", &["gather: the indices", "f32", "u32"]);
    for shape in [&[1, 3][..], &[3, 3], &[3], &[1, 2, 3], &[]] {
        let given = format!("{shape:?}");
        refused(
            x.gather(1, &u32s(device, shape)),
            "shape",
            &["gather: the indices", &given, "but for the length of axis 1"],
        );
    }
    let beyond = x.index_select(1, &ids).unwrap().narrow(1, 0, 1).unwrap();
    assert_eq!(beyond.to_vec::<f32>().unwrap(), [1.0; 2]);
    let failed = x.index_select(1, &Tensor::from_slice(device, &[0u32, 3], &[2]).unwrap()).unwrap();
    let message = failed.to_vec::<f32>().unwrap_err().to_string();
    assert!(message.contains("index 3 for element 1 of the output is outside of an axis of 3"), "{message}");
}

#[test]
fn reduced_axes() {
    let device = &cpu();
    let (x, ids) = (f32s(device, &[2, 3, 0]), u32s(device, &[2, 3]));
    for (name, result) in [
        ("sum", x.sum(&[0, 3], false)),
        ("mean", x.mean(&[1, 1], true)),
        ("max", x.max(&[usize::MAX], true)),
        ("argmax", x.argmax(3, true)),
        ("argmin", x.argmin(7, false)),
        ("reduce_axes", x.reduce_axes(Reduction::Min, &[3], false)),
    ] {
        refused(result, "range", &[&format!("{name}: axes"), "[2, 3, 0]"]);
    }
    refused(x.product(&[2], false), "shape", &["product: the operand", "[2, 3, 0]", "axes [2] of at least 1"]);
    refused(x.argmin(2, false), "shape", &["argmin: the operand", "[2, 3, 0]"]);
    refused(ids.min(&[0], false), "dtype", &["min: the operand is u32", "f32 or f16"]);
    assert_eq!(x.sum(&[0, 1], true).unwrap().shape(), [1, 1, 0]);
}

#[test]
fn mixed_floats_are_refused_and_both_are_named() {
    let device = &cpu();
    let half = |shape: &[usize]| Tensor::full(device, f16::ONE, shape).unwrap();
    let (x, y, w, v) = (f32s(device, &[2, 3]), half(&[2, 3]), f32s(device, &[3]), half(&[3]));
    let weight = |dtype| PackedMatrix::with_dtype(device, &[1.0; 12], 4, 3, dtype).unwrap();
    let (full, packed) = (weight(DType::F32), weight(DType::F16));
    assert_eq!((full.dtype(), packed.dtype()), (DType::F32, DType::F16));
    let ids = u32s(device, &[1]);
    let mut changed = half(&[2, 3]);
    for (result, parts) in [
        (x.add(&y), ["add: ", "second operand is f16", "expected f32"]),
        (y.mul(&x), ["mul: ", "second operand is f32", "expected f16"]),
        (changed.add_in_place(&x).map(|()| changed.clone()), ["add_in_place: ", "second operand is f32", "f16"]),
        (x.matmul(&y.transpose(0, 1).unwrap()), ["matmul", "second operand is f16", "expected f32"]),
        (y.layer_norm(&w, &v, 1e-5), ["layer_norm", "the weight is f32", "expected f16"]),
        (x.layer_norm(&w, &v, 1e-5), ["layer_norm", "the bias is f16", "expected f32"]),
        (x.add_layer_norm(&y, &w, &w, 1e-5), ["add_layer_norm", "the residual is f16", "expected f32"]),
        (x.linear(&packed, &half(&[4]), Activation::None), ["linear", "the input is f32", "expected f16"]),
        (y.linear(&full, &f32s(device, &[4]), Activation::None), ["linear", "the input is f16", "expected f32"]),
        (y.linear(&packed, &f32s(device, &[4]), Activation::None), ["linear", "the bias is f32", "expected f16"]),
        (Tensor::embed([&x, &y, &x], [&ids; 3]), ["embed", "positions is f16", "expected f32"]),
    ] {
        refused(result, "dtype", &parts);
    }
    refused(y.to_vec::<f32>(), "dtype", &["to_vec", "f16", "expected f32"]);
    refused(ids.unary(Unary::Abs), "dtype", &["unary", "u32", "f32 or f16"]);
    let integers = PackedMatrix::with_dtype(device, &[1.0; 12], 4, 3, DType::U32);
    refused(integers, "dtype", &["PackedMatrix::new", "u32", "f32 or f16"]);
    assert_eq!(ids.to_dtype(DType::U32).unwrap().to_vec::<u32>().unwrap(), [1]);
}

#[test]
fn along_the_last_axis() {
    let device = &cpu();
    let (x, scalar, ids) = (f32s(device, &[2, 3]), f32s(device, &[]), u32s(device, &[2, 3]));
    let (good, bad, typed) = (f32s(device, &[3]), f32s(device, &[2]), u32s(device, &[3]));
    type Operator<'a> = (&'a str, &'a dyn Fn(&Tensor) -> Result<Tensor>);
    let operators: [Operator<'_>; 5] = [
        ("softmax", &|x| x.softmax()),
        ("normalize", &|x| x.normalize()),
        ("reduce", &|x| x.reduce(Reduction::Max)),
        ("layer_norm", &|x| x.layer_norm(&good, &good, 1e-5)),
        ("add_layer_norm", &|x| x.add_layer_norm(&x.clone(), &good, &good, 1e-5)),
    ];
    for (name, operator) in operators {
        refused(operator(&scalar), "shape", &[name, "operand", "[]", "at least one axis"]);
        refused(operator(&ids), "dtype", &[name, "operand", "u32", "expected f32"]);
    }
    refused(f32s(device, &[2, 0]).reduce(Reduction::Sum), "shape", &["reduce", "[2, 0]", "at least 1"]);
    refused(x.layer_norm(&bad, &good, 1e-5), "shape", &["layer_norm", "the weight", "[2]", "expected [3]"]);
    refused(x.layer_norm(&good, &bad, 1e-5), "shape", &["layer_norm", "the bias", "[2]", "expected [3]"]);
    refused(x.layer_norm(&typed, &good, 1e-5), "dtype", &["layer_norm", "the weight", "u32", "f32"]);
    refused(x.layer_norm(&good, &typed, 1e-5), "dtype", &["layer_norm", "the bias", "u32", "f32"]);
    let norm = |residual, weight, bias| x.add_layer_norm(residual, weight, bias, 1e-5);
    refused(norm(&good, &good, &good), "shape", &["add_layer_norm", "the residual", "[3]", "expected [2, 3]"]);
    refused(norm(&x, &bad, &good), "shape", &["add_layer_norm", "the weight", "[2]", "expected [3]"]);
    refused(norm(&x, &good, &bad), "shape", &["add_layer_norm", "the bias", "[2]", "expected [3]"]);
    refused(norm(&ids, &good, &good), "dtype", &["add_layer_norm", "the residual", "u32", "f32"]);
    refused(norm(&x, &typed, &good), "dtype", &["add_layer_norm", "the weight", "u32", "f32"]);
    refused(norm(&x, &good, &typed), "dtype", &["add_layer_norm", "the bias", "u32", "f32"]);
}

#[test]
fn matrix_products() {
    let device = &cpu();
    let x = f32s(device, &[4, 2, 3]);
    refused(u32s(device, &[2, 2]).matmul(&x), "dtype", &["matmul", "first operand", "u32", "f32"]);
    refused(x.matmul(&u32s(device, &[2, 2])), "dtype", &["matmul", "second operand", "u32", "f32"]);
    refused(f32s(device, &[3]).matmul(&x), "shape", &["matmul", "first operand", "[3]", "at least two axes"]);
    for shape in [&[][..], &[3], &[2, 5], &[4, 2, 5], &[5, 3, 5], &[2, 3, 5], &[4, 3, 3, 5]] {
        let given = format!("{shape:?}");
        let expected = "axes that broadcast with [4], followed by [3, columns]";
        refused(x.matmul(&f32s(device, shape)), "shape", &["matmul", "second operand", &given, expected]);
    }
    let (tall, wide) = (f32s(device, &[1 << 16, 1]), f32s(device, &[1, 1 << 16]));
    refused(tall.matmul(&wide), "too large", &["matmul", "[65536, 65536]"]);
}

#[test]
fn packed_matrices() {
    let device = &cpu();
    let new = |len: usize, outputs, inputs| PackedMatrix::new(device, &vec![1.0; len], outputs, inputs);
    refused(new(5, 2, 3), "length", &["PackedMatrix::new", "5 elements", "[2, 3]", "6"]);
    for (outputs, inputs) in [(0, 3), (2, 0), (0, 0)] {
        let given = format!("[{outputs}, {inputs}]");
        refused(new(0, outputs, inputs), "shape", &["PackedMatrix::new", "weight", &given, "both at least 1"]);
        refused(new(1, outputs, inputs), "shape", &["PackedMatrix::new", "weight", &given, "both at least 1"]);
    }
    for (outputs, inputs) in [(usize::MAX, 2), (1 << 16, 1 << 16), (0, usize::MAX)] {
        refused(new(1, outputs, inputs), "too large", &["PackedMatrix::new", &outputs.to_string()]);
    }
    // It fits, but 32 times as much does not. The zeros are never touched, so they take no memory.
    let weight = vec![0.0; 1 << 27];
    refused(PackedMatrix::new(device, &weight, 1, 1 << 27), "too large", &["PackedMatrix::new", "[32, 134217728]"]);
}

#[test]
fn dense_layers() {
    let device = &cpu();
    let weight = PackedMatrix::new(device, &[1.0; 12], 4, 3).unwrap();
    let (x, bias) = (f32s(device, &[2, 3]), f32s(device, &[4]));
    let linear = |x: &Tensor, bias: &Tensor| x.linear(&weight, bias, Activation::None);
    refused(linear(&u32s(device, &[2, 3]), &bias), "dtype", &["linear", "the input", "u32", "f32"]);
    refused(linear(&x, &u32s(device, &[4])), "dtype", &["linear", "the bias", "u32", "f32"]);
    for shape in [&[3][..], &[2, 4], &[2, 0], &[1, 2, 3]] {
        refused(linear(&f32s(device, shape), &bias), "shape", &["linear", "the input", &format!("{shape:?}")]);
    }
    for shape in [&[][..], &[3], &[1], &[1, 4]] {
        let given = format!("{shape:?}");
        refused(linear(&x, &f32s(device, shape)), "shape", &["linear", "the bias", &given, "expected [4]"]);
    }
    let many = f32s(device, &[1, 3]).broadcast_to(&[1 << 30, 3]).unwrap();
    refused(linear(&many, &bias), "too large", &["linear", "[1073741824, 4]"]);
}

#[test]
fn embeddings() {
    let device = &cpu();
    let (table, ids) = (f32s(device, &[5, 8]), u32s(device, &[3]));
    let names = [
        ["the table of words", "the word ids"],
        ["the table of positions", "the position ids"],
        ["the table of types", "the type ids"],
    ];
    for (at, [table_name, ids_name]) in names.into_iter().enumerate() {
        let tables = |other: &Tensor| {
            let tables = std::array::from_fn(|table_at| if table_at == at { other } else { &table });
            Tensor::embed(tables, [&ids; 3])
        };
        refused(tables(&u32s(device, &[5, 8])), "dtype", &["embed", table_name, "u32", "f32"]);
        refused(tables(&f32s(device, &[8])), "shape", &["embed", table_name, "[8]", "two axes"]);
        refused(tables(&f32s(device, &[5, 0])), "shape", &["embed", table_name, "[5, 0]"]);
        refused(tables(&f32s(device, &[0, 8])), "shape", &["embed", table_name, "[0, 8]", "at least one row", "3 ids"]);
        let lists = |other: &Tensor| {
            let lists = std::array::from_fn(|list_at| if list_at == at { other } else { &ids });
            Tensor::embed([&table; 3], lists)
        };
        refused(lists(&f32s(device, &[3])), "dtype", &["embed", ids_name, "f32", "u32"]);
        refused(lists(&u32s(device, &[1, 3])), "shape", &["embed", ids_name, "[1, 3]"]);
    }
    let narrow = f32s(device, &[5, 7]);
    refused(Tensor::embed([&table, &narrow, &table], [&ids; 3]), "shape", &["positions", "[5, 7]", "expected [5, 8]"]);
    let short = u32s(device, &[2]);
    refused(Tensor::embed([&table; 3], [&ids, &ids, &short]), "shape", &["type ids", "[2]", "expected [3]"]);
}

#[test]
fn packed_sequences() {
    let device = &cpu();
    let offsets = Tensor::from_slice(device, &[0u32, 1, 4], &[3]).unwrap();
    type Operator<'a> = (&'a str, &'a [usize], &'a dyn Fn(&Tensor, &Tensor) -> Result<Tensor>);
    let options = AttentionOptions::new();
    let operators: [Operator<'_>; 2] = [
        ("attention", &[2, 6], &|x, offsets| x.attention(x, x, offsets, &options)),
        ("pool", &[12], &|x, offsets| x.pool(offsets, Pooling::Mean)),
    ];
    for (name, row, operator) in operators {
        let rows = |n: usize| f32s(device, &[&[n], row].concat());
        let x = rows(4);
        assert!(operator(&x, &offsets).unwrap().to_vec::<f32>().is_ok());
        refused(operator(&x, &f32s(device, &[3])), "dtype", &[name, "the offsets", "f32", "u32"]);
        refused(operator(&x, &u32s(device, &[1, 3])), "shape", &[name, "the offsets", "[1, 3]", "one axis"]);
        // No offsets, no sequence for four rows, and more sequences than rows.
        for len in [0, 1, 6] {
            let given = format!("[{len}]");
            refused(operator(&x, &u32s(device, &[len])), "shape", &[name, "the offsets", &given, "4 rows"]);
        }
        let none = rows(0);
        refused(operator(&none, &offsets), "shape", &[name, "the offsets", "[3]", "0 rows"]);
        refused(operator(&none, &u32s(device, &[0])), "shape", &[name, "the offsets", "[0]", "0 rows"]);
    }
    let x = f32s(device, &[4, 12]);
    refused(u32s(device, &[4, 12]).pool(&offsets, Pooling::Max), "dtype", &["pool", "the input", "u32", "f32"]);
    for shape in [&[12][..], &[4, 0]] {
        let given = format!("{shape:?}");
        refused(f32s(device, shape).pool(&offsets, Pooling::Max), "shape", &["pool", "the input", &given, "two axes"]);
    }
    assert!(x.pool(&offsets, Pooling::Max).is_ok());
}

#[test]
fn attention() {
    let device = &cpu();
    let offsets = &Tensor::from_slice(device, &[0u32, 1, 4], &[3]).unwrap();
    let options = AttentionOptions::new();
    let [query, key] = [6, 2].map(|heads| f32s(device, &[4, heads, 5]));
    assert!(query.attention(&key, &key, offsets, &options).unwrap().to_vec::<f32>().is_ok());
    let integers = u32s(device, &[4, 2, 5]);
    let halves = key.to_dtype(DType::F16).unwrap();
    let call = |query: &Tensor, key: &Tensor, value: &Tensor| query.attention(key, value, offsets, &options);
    refused(call(&integers, &key, &key), "dtype", &["attention", "the query", "u32", "f32 or f16"]);
    refused(call(&query, &halves, &key), "dtype", &["attention", "the key", "f16", "f32"]);
    refused(call(&query, &key, &halves), "dtype", &["attention", "the value", "f16", "f32"]);
    for shape in [&[4, 30][..], &[4, 0, 5], &[4, 6, 0], &[4, 6, 5, 1]] {
        let (other, given) = (f32s(device, shape), format!("{shape:?}"));
        refused(call(&other, &key, &key), "shape", &["attention", "the query", &given, "three axes"]);
        refused(call(&query, &other, &key), "shape", &["attention", "the key", &given, "three axes"]);
        refused(call(&query, &key, &other), "shape", &["attention", "the value", &given, "[4, 2, 5]"]);
    }
    for shape in [[3, 2, 5], [4, 2, 4], [4, 4, 5], [4, 12, 5]] {
        let (other, given) = (f32s(device, &shape), format!("{shape:?}"));
        refused(call(&query, &other, &other), "shape", &["attention", "the key", &given, "kv_heads divides 6 heads"]);
    }
    refused(call(&query, &key, &query), "shape", &["attention", "the value", "[4, 6, 5]", "expected [4, 2, 5]"]);
    let biased = |bias: &Tensor| query.attention(&key, &key, offsets, &AttentionOptions::new().relative_bias(bias));
    assert!(biased(&f32s(device, &[6, 5])).unwrap().to_vec::<f32>().is_ok());
    let what = ["attention", "the relative bias"];
    refused(biased(&u32s(device, &[6, 5])), "dtype", &[&what[..], &["u32", "f32"]].concat());
    for shape in [&[5][..], &[6, 4], &[2, 5], &[6, 0], &[1, 6, 5]] {
        let given = format!("{shape:?}");
        refused(biased(&f32s(device, shape)), "shape", &[&what[..], &[&given, "[6, 2 * reach + 1]"]].concat());
    }
}

#[test]
fn tensors_of_two_devices() {
    let (one, other) = (cpu(), mock(3));
    for (here, there) in [(&one, &other.device), (&other.device, &one)] {
        let (x, y) = (f32s(here, &[4, 6]), f32s(there, &[4, 6]));
        let (mine, foreign) = (f32s(here, &[6]), f32s(there, &[6]));
        // A view that is copied first must not hide its device.
        let view = f32s(there, &[7]).narrow(0, 1, 6).unwrap();
        let (ids, foreign_ids) = (u32s(here, &[2]), u32s(there, &[2]));
        let [own_offsets, offsets] = [here, there].map(|device| Tensor::from_slice(device, &[0u32, 4], &[2]).unwrap());
        let (heads, options) = (x.reshape(&[4, 2, 3]).unwrap(), AttentionOptions::new());
        let weight = PackedMatrix::new(there, &[1.0; 12], 2, 6).unwrap();
        let own_weight = PackedMatrix::new(here, &[1.0; 12], 2, 6).unwrap();
        let bias = f32s(here, &[2]);
        for result in [
            x.add(&y),
            x.matmul(&y.transpose(0, 1).unwrap()),
            x.add(&y.freeze().unwrap()),
            x.layer_norm(&mine, &foreign, 1e-5),
            x.layer_norm(&view, &mine, 1e-5),
            x.add_layer_norm(&y, &mine, &mine, 1e-5),
            Tensor::embed([&x, &x, &y], [&ids; 3]),
            Tensor::embed([&x; 3], [&ids, &foreign_ids, &ids]),
            x.linear(&weight, &bias, Activation::None),
            x.linear(&own_weight, &f32s(there, &[2]), Activation::None),
            heads.attention(&heads, &heads, &offsets, &options),
            heads.attention(&y.reshape(&[4, 2, 3]).unwrap(), &heads, &own_offsets, &options),
            heads.attention(&heads, &y.reshape(&[4, 2, 3]).unwrap(), &own_offsets, &options),
            heads.attention(&heads, &heads, &own_offsets, &options.clone().relative_bias(&f32s(there, &[2, 9]))),
            x.pool(&offsets, Pooling::Cls),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Runtime(thalweg_runtime::Error::OtherDevice { .. })), "{error}");
            assert!(error.to_string().contains("another device"), "{error}");
        }
        // Neither device minds.
        assert_eq!(x.add(&mine).unwrap().to_vec::<f32>().unwrap(), [2.0; 24]);
        assert_eq!(y.add(&view).unwrap().to_vec::<f32>().unwrap(), [2.0; 24]);
    }
    other.finish();
}

#[test]
fn memory_that_runs_out_is_an_error_and_the_rest_goes_on() {
    let limit = Config::default().memory_limit(1 << 20);
    let device = Device::new(thalweg_cpu::CpuDevice::open().unwrap(), limit).unwrap();
    let half = f32s(&device, &[1 << 16]);
    for result in [
        Tensor::from_slice(&device, &vec![1.0f32; 1 << 19], &[1 << 19]),
        Tensor::frozen_from_slice(&device, &vec![1.0f32; 1 << 19], &[1 << 19]),
        half.broadcast_to(&[8, 1 << 16]).unwrap().contiguous(),
        half.broadcast_to(&[8, 1 << 16]).unwrap().freeze(),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Runtime(thalweg_runtime::Error::OutOfMemory(_))), "{error}");
        assert!(!error.is_retryable(), "it is longer than the limit: {error}");
    }
    // It fits beside nothing but itself, so when the other is gone.
    let most = vec![1.0f32; 190_000];
    let error = Tensor::from_slice(&device, &most, &[190_000]).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(half.add(&half).unwrap().to_vec::<f32>().unwrap(), vec![2.0; 1 << 16]);
    drop(half);
    assert!(Tensor::from_slice(&device, &most, &[190_000]).is_ok());
}
