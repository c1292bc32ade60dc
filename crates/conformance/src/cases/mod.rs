//! The cases, a file for each family of operators.

mod attention;
mod binary;
mod cast;
mod compare;
mod concat;
mod dense;
mod embedding;
mod failures;
mod fill;
mod gather;
mod graph;
mod in_place;
mod lengths;
mod matmul;
mod mutable;
mod norm;
mod pool;
mod reduce;
mod rows;
mod unary;
mod views;

use crate::{Case, Context, Outcome};

/// Every case.
pub fn all() -> Vec<Case> {
    let families = [
        attention::CASES,
        binary::CASES,
        cast::CASES,
        compare::CASES,
        concat::CASES,
        dense::CASES,
        embedding::CASES,
        failures::CASES,
        fill::CASES,
        gather::CASES,
        graph::CASES,
        in_place::CASES,
        lengths::CASES,
        matmul::CASES,
        mutable::CASES,
        norm::CASES,
        pool::CASES,
        reduce::CASES,
        rows::CASES,
        unary::CASES,
        views::CASES,
    ];
    families.concat()
}

const fn case(name: &'static str, rounds: u64, run: fn(&mut Context<'_>) -> Outcome) -> Case {
    Case { name, rounds, run }
}
