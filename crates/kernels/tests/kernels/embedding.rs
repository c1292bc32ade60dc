use super::{cases, checked, failure, on, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close};
use thalweg_kernels::Isa;
use thalweg_kernels::embedding::{EMBED_SUM, EMBEDDING, Params, SumParams, reference};

fn ids(random: &mut Random, n: u32, rows: u32) -> Vec<u32> {
    (0..n).map(|_| random.below(rows)).collect()
}

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn agrees_with_the_reference(seed: u64, n in 1u32..30, rows in 1u32..50, width in 1u32..70) {
        let mut random = Random::new(seed);
        let [words, positions, types] = [rows, 9, 2].map(|rows| random.units((rows * width) as usize));
        let [word_ids, position_ids, type_ids] = [rows, 9, 2].map(|rows| ids(&mut random, n, rows));
        let tables = [(&words[..], &word_ids[..]), (&positions, &position_ids), (&types, &type_ids)];
        let (one, all) = (reference::embedding(&words, width as usize, &word_ids), reference::embed_sum(&tables, width as usize));
        for isa in Isa::supported() {
            let mut sum = vec![0.0; one.len()];
            let border = random.below(rows + 1);
            for (first, end) in [(0, border), (border, rows)].into_iter().filter(|(first, end)| first < end) {
                let part = &words[(first * width) as usize..(end * width) as usize];
                let params = Params { total: rows, first, rows: end - first, width };
                let out = checked(&on(&EMBEDDING, isa), &params, &[raw(part), raw(&word_ids)], one.len(), n, &mut random);
                sum.iter_mut().zip(out).for_each(|(sum, value)| *sum += value);
            }
            assert_close(&sum, &one, 0.0);
            let params = SumParams { words: rows, positions: 9, types: 2, width };
            let operands =
                [raw(&words), raw(&positions), raw(&types), raw(&word_ids), raw(&position_ids), raw(&type_ids)];
            let out = checked(&on(&EMBED_SUM, isa), &params, &operands, all.len(), n, &mut random);
            assert_close(&out, &all, 3e-7);
        }
    }
}

fn whole(rows: u32, width: u32) -> Params {
    Params { total: rows, first: 0, rows, width }
}

#[test]
fn an_id_outside_of_its_table_is_named() {
    let isa = thalweg_kernels::isa();
    let table = [0.0f32; 12];
    let message = failure(&on(&EMBEDDING, isa), &whole(4, 3), &[raw(&table), raw(&[1u32, 4])], 6, 2);
    assert_eq!(message, "row id 4 at position 1 is outside of a table of 4 rows");
    let (good, bad) = ([0u32, 1, 0], [0u32, 1, u32::MAX]);
    let params = SumParams { words: 4, positions: 4, types: 4, width: 3 };
    for (at, what) in ["word", "position", "type"].into_iter().enumerate() {
        let mut columns = [raw(&good); 3];
        columns[at] = raw(&bad);
        let operands = [raw(&table), raw(&table), raw(&table), columns[0], columns[1], columns[2]];
        let message = failure(&on(&EMBED_SUM, isa), &params, &operands, 9, 3);
        assert_eq!(message, format!("{what} id 4294967295 at position 2 is outside of a table of 4 rows"));
    }
    assert!(failure(&on(&EMBEDDING, isa), &whole(5, 3), &[raw(&table), raw(&good)], 9, 3).contains("5 * 3"));
    assert!(failure(&on(&EMBEDDING, isa), &whole(0, 0), &[raw(&table), raw(&good)], 9, 3).contains("width"));
}
