//! `--output x.npy`: a matrix for NumPy.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::thread;

use thalweg_models::testing::SmallEncoder;

use crate::process::{Embedding, Invocation, Place};

const TEXTS: [&str; 5] = ["river", "", "deep water", "the fast stream", "river"];
const HEADER: usize = 128;

/// The file of these rows, as NumPy's `save` writes it.
fn npy(rows: &[Embedding], width: usize) -> Vec<u8> {
    let count = rows.len();
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {width}), }}");
    let mut file = [&b"\x93NUMPY\x01\x00\x76\x00"[..], format!("{text:<117}\n").as_bytes()].concat();
    assert_eq!(file.len(), HEADER);
    file.extend(rows.iter().flat_map(|row| &row.values).flat_map(|value| value.to_le_bytes()));
    file
}

fn embed(place: &Place, output: &Path) -> Invocation {
    place.embed().flag("--device", "cpu").flag("--output", output)
}

#[test]
fn rows_are_the_librarys_own_bits() {
    let place = Place::new();
    let input = place.file("in.txt", TEXTS.join("\n"));
    for name in ["out.npy", "OUT.NPY"] {
        for (threads, batch) in [("1", "1"), ("2", "3")] {
            let output = place.file(name, vec![7; 1 << 20]);
            let embed =
                embed(&place, &output).flag("--input", &input).flag("--threads", threads).flag("--batch", batch);
            embed.run().assert_succeeds();
            assert!(fs::read(&output).unwrap() == npy(&place.expected(&TEXTS), 32));
        }
    }
    // No text, no row.
    let output = place.path("none.npy");
    embed(&place, &output).run().assert_succeeds();
    assert_eq!(fs::read(&output).unwrap(), npy(&[], 32));
}

#[test]
fn what_comes_before_a_fault_is_a_whole_matrix() {
    let place = Place::new();
    let output = place.path("out.npy");
    let ended = embed(&place, &output).flag("--batch", "1").input(b"river\n\nbad \xff\nmore\n".to_vec()).run();
    ended.assert_fails(1, &["line 3: not UTF-8"]);
    assert_eq!(fs::read(&output).unwrap(), npy(&place.expected(&TEXTS[..2]), 32));
    // A full disk: a limit on the size of files, in blocks of 512 bytes: a header and nine rows.
    let ended = place.shell("seq 100 | (ulimit -f 3; exec $embed --batch 1 --threads 1 --output full.npy)").run();
    ended.assert_fails(1, &["cannot write full.npy after "]);
    let numbers: Vec<String> = (1..=100).map(|number| number.to_string()).collect();
    let file = fs::read(place.path("full.npy")).unwrap();
    let rows = (file.len() - HEADER) / 128;
    assert!(rows > 0 && ended.stderr.contains(&format!("after {rows} whole rows")), "{ended:?}");
    let texts: Vec<&str> = numbers[..rows].iter().map(String::as_str).collect();
    assert!(file == npy(&place.expected(&texts), 32));
}

#[test]
fn while_it_is_written_it_is_whole() {
    let place = Place::new();
    let output = place.path("out.npy");
    let mut running = embed(&place, &output).start();
    let mut stdin = running.child.stdin.take().unwrap();
    let expected = place.expected(&TEXTS);
    for (index, text) in TEXTS.iter().enumerate() {
        writeln!(stdin, "{text}").unwrap();
        let now = npy(&expected[..=index], 32);
        while fs::read(&output).unwrap_or_default() != now {
            assert!(running.child.try_wait().unwrap().is_none(), "the command ended by itself");
            thread::yield_now();
        }
    }
    running.signal("INT");
    running.end().assert_fails(1, &["interrupted after 5 texts", "--append goes on"]);
    assert!(fs::read(&output).unwrap() == npy(&expected, 32));
}

#[test]
fn cut_anywhere_it_is_gone_on_with() {
    let place = Place::new();
    let input = place.file("in.txt", TEXTS.join("\n"));
    let output = place.path("out.npy");
    let whole = npy(&place.expected(&TEXTS), 32);
    let append = || embed(&place, &output).flag("--input", &input).switch("--append");
    for rows in 0..=TEXTS.len() {
        // What a killed process leaves: rows that the header does not know of, and a part of one.
        for behind in [0, 1, 128, 200] {
            let mut file = npy(&place.expected(&TEXTS[..rows]), 32);
            file.extend(vec![9; behind]);
            fs::write(&output, file).unwrap();
            append().run().assert_succeeds();
            assert!(fs::read(&output).unwrap() == whole, "{rows} rows and {behind} bytes");
        }
    }
    fs::remove_file(&output).unwrap();
    append().run().assert_succeeds();
    assert!(fs::read(&output).unwrap() == whole);
    // Not what is something else.
    let refuse = |content: &[u8], words: &[&str]| {
        fs::write(&output, content).unwrap();
        append().run().assert_fails(1, &[&["cannot go on with"], words].concat());
        assert!(fs::read(&output).unwrap() == content);
    };
    refuse(b"precious", &["no matrix of f32"]);
    refuse(&whole[..whole.len() - 1], &["fewer rows than its header says"]);
    refuse(&npy(&place.expected(&["another"]), 32), &["its last result, with index 0, is not that of line 1"]);
    refuse(&npy(&place.expected(&["a", "b", "c", "d", "e", "f"]), 32), &["it has 6 results", "only 5 texts"]);
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    SmallEncoder::new(11, 2, 64).write(&other).unwrap();
    fs::write(&output, &whole).unwrap();
    let embed = Invocation::new("embed").flag("--model", &other).flag("--device", "cpu").flag("--input", &input);
    embed
        .flag("--output", &output)
        .switch("--append")
        .run()
        .assert_fails(1, &["have 32 values, those of the model 64"]);
    assert!(fs::read(&output).unwrap() == whole);
}

#[test]
fn what_a_matrix_cannot_be_is_refused() {
    let place = Place::new();
    let keep = embed(&place, &place.path("out.npy")).flag("--keep", "id");
    keep.run().assert_fails(2, &["out.npy: a matrix has no place for what --keep names"]);
    assert!(!place.path("out.npy").exists());
    let pipe = place.shell("mkfifo p.npy; cat p.npy > /dev/null & exec $embed --output p.npy < /dev/null").run();
    pipe.assert_fails(2, &["p.npy: such a file", "regular file"]);
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_table_needs_another_build() {
    let place = Place::new();
    embed(&place, &place.path("out.parquet")).run().assert_fails(2, &["out.parquet", "--features parquet"]);
    assert!(!place.path("out.parquet").exists());
}

#[cfg(feature = "parquet")]
mod table {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::{Field, Row};

    use super::*;

    fn rows(path: &Path) -> Vec<Row> {
        let file = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
        file.get_row_iter(None).unwrap().map(Result::unwrap).collect()
    }

    #[track_caller]
    fn assert_rows(path: &Path, expected: &[Embedding], ids: Option<&[Option<&str>]>) {
        let rows = rows(path);
        assert_eq!(rows.len(), expected.len());
        for (index, (row, expected)) in rows.iter().zip(expected).enumerate() {
            let fields: Vec<(&String, &Field)> = row.get_column_iter().collect();
            assert_eq!(*fields[0].1, Field::Long(index as i64));
            assert_eq!(*fields[1].1, Field::Int(expected.tokens as i32));
            if let Some(ids) = ids {
                let id = ids[index].map_or(Field::Null, |id| Field::Str(id.to_owned()));
                assert_eq!((fields[2].0.as_str(), fields[2].1), ("i \"d\"", &id));
            }
            let Field::ListInternal(values) = fields.last().unwrap().1 else { panic!("no list") };
            let bits = |field: &Field| if let Field::Float(value) = field { value.to_bits() } else { panic!("no f32") };
            let found: Vec<_> = values.elements().iter().map(bits).collect();
            assert_eq!(found, expected.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_has_the_librarys_own_bits_and_what_is_kept() {
        let place = Place::new();
        let output = place.path("out.parquet");
        let ids = [Some("7"), None, Some("{\"a\": [1,  2]}"), Some("null"), Some("\"x\"")];
        let record = |(text, id): (&&str, &Option<&str>)| {
            let id = id.map_or(String::new(), |id| format!("\"i \\\"d\\\"\":{id},"));
            format!("{{{id}\"text\":\"{text}\"}}\n")
        };
        let input = place.file("in.jsonl", TEXTS.iter().zip(&ids).map(record).collect::<String>());
        let run = embed(&place, &output).flag("--input", &input).flag("--batch", "2").flag("--threads", "2");
        run.flag("--keep", "i \"d\"").run().assert_succeeds();
        assert_rows(&output, &place.expected(&TEXTS), Some(&ids));
        // No text; and a fault, behind which it is still whole.
        embed(&place, &output).run().assert_succeeds();
        assert_rows(&output, &[], None);
        let ended = embed(&place, &output).flag("--batch", "1").input(b"river\n\n\xff\n".to_vec()).run();
        ended.assert_fails(1, &["line 3: not UTF-8"]);
        assert_rows(&output, &place.expected(&TEXTS[..2]), None);
        embed(&place, &output).switch("--append").run().assert_fails(2, &["out.parquet", "--append cannot"]);
    }

    #[test]
    fn many_rows_are_several_groups() {
        let place = Place::new();
        let output = place.path("out.parquet");
        let count = (8 << 20) / 128 + 10;
        embed(&place, &output).input("river\n".repeat(count)).run().assert_succeeds();
        let file = SerializedFileReader::new(fs::File::open(&output).unwrap()).unwrap();
        assert_eq!(file.metadata().num_row_groups(), 2);
        assert_eq!(file.metadata().file_metadata().num_rows(), count as i64);
        let last = rows(&output).pop().unwrap();
        assert_eq!(last.get_column_iter().next().unwrap().1, &Field::Long(count as i64 - 1));
    }
}
