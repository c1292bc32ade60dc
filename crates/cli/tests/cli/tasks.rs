//! `rerank`, `classify`, `tokenize`, `info` and prompts, over the tiny models of the library's own tests.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use thalweg::{Classifier, Device, EmbeddingModel, Reranker};

use crate::process::{Invocation, Place};

fn family(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/tests/data/families").join(name)
}

fn cpu() -> Device {
    thalweg::open("cpu").unwrap()
}

fn command(name: &str, model: &str) -> Invocation {
    Invocation::new(name).flag("--model", family(model))
}

fn computes(name: &str, model: &str) -> Invocation {
    command(name, model).flag("--device", "cpu")
}

/// Each line of the output, which is all there is.
#[track_caller]
fn results(invocation: Invocation) -> Vec<Value> {
    let ended = invocation.run();
    ended.assert_succeeds();
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn jsonl(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

/// A number as it was before it was written.
fn f32_of(value: &Value) -> f32 {
    value.to_string().parse().unwrap()
}

const QUERY: &str = "where do the children fish";
const TEXTS: [&str; 5] = ["the children fish under the bridge", "", "a tax return", "the old stone", "a tax return"];

#[test]
fn texts_are_scored_with_a_query_or_their_own() {
    let model = Reranker::load(&cpu(), family("rerank-bert")).unwrap();
    let scores = model.rerank(QUERY, &TEXTS).unwrap();
    let input = TEXTS.join("\n") + "\n";
    let records: Vec<_> = TEXTS.iter().map(|text| json!({ "query": QUERY, "text": text, "id": [text] })).collect();
    let documents = [json!({ "query": QUERY, "documents": TEXTS }), json!({ "documents": [], "query": "x" })];
    for (threads, batch) in [("1", "1"), ("4", "3")] {
        let rerank = || computes("rerank", "rerank-bert").flag("--threads", threads).flag("--batch", batch);
        let of_query = results(rerank().flag("--query", QUERY).input(input.clone()));
        let of_lines = results(rerank().input(jsonl(&records)).flag("--format", "jsonl").flag("--keep", "id"));
        for (index, text) in TEXTS.iter().enumerate() {
            let (score, tokens) = (scores.score(index).unwrap(), scores.tokens(index));
            assert_eq!(f32_of(&of_query[index]["score"]).to_bits(), score.to_bits());
            assert_eq!(of_query[index], json!({ "index": index, "tokens": tokens, "score": of_query[index]["score"] }));
            assert_eq!(of_lines[index]["score"], of_query[index]["score"]);
            assert_eq!(of_lines[index]["id"], json!([text]));
        }
        assert_eq!((of_query.len(), of_lines.len()), (TEXTS.len(), TEXTS.len()));
        let of_documents = results(rerank().input(jsonl(&documents)).flag("--format", "jsonl"));
        let expected: Vec<_> = of_query.iter().map(|result| result["score"].clone()).collect();
        assert_eq!(of_documents[0]["scores"], Value::from(expected));
        assert_eq!(of_documents[1], json!({ "index": 1, "tokens": 0, "scores": [] }));
    }
}

#[test]
fn the_best_come_first() {
    let model = Reranker::load(&cpu(), family("rerank-bert")).unwrap();
    let ranked = model.rank(QUERY, &TEXTS, TEXTS.len()).unwrap();
    let order: Vec<_> = ranked.iter().map(|best| best.index).collect();
    // Twice the same text: the earlier one comes first.
    let place = |index| order.iter().position(|other| *other == index).unwrap();
    assert_eq!(place(2) + 1, place(4));
    for top in [1, 3, 4, 5, 100] {
        let best = || computes("rerank", "rerank-bert").flag("--top", top.to_string());
        let texts = best().flag("--query", QUERY).flag("--batch", "2").input(TEXTS.join("\n"));
        let found: Vec<_> = results(texts).iter().map(|line| (line["index"].clone(), line["text"].clone())).collect();
        let expected = order.iter().take(top).map(|index| (json!(index), json!(TEXTS[*index]))).collect::<Vec<_>>();
        assert_eq!(found, expected);
        let documents = jsonl(&[json!({ "query": QUERY, "documents": TEXTS })]);
        let ranking = &results(best().input(documents).flag("--format", "jsonl"))[0]["ranking"];
        let found: Vec<_> = ranking.as_array().unwrap().iter().map(|best| best["document"].clone()).collect();
        assert_eq!(found, order.iter().take(top).map(|index| json!(index)).collect::<Vec<_>>());
    }
}

#[test]
fn wrong_queries_are_told() {
    let rerank = || computes("rerank", "rerank-bert");
    rerank().input("a text\n").run().assert_fails(2, &["standard input is text", "\"query\"", "--query"]);
    rerank().flag("--format", "text").input("").run().assert_fails(2, &["is text", "--query"]);
    let lines = rerank().flag("--format", "jsonl").input("{\"text\":\"a\"}\n").run();
    lines.assert_fails(1, &["line 1", "no member \"query\""]);
    let own = rerank().flag("--top", "1").input("{\"query\":\"q\",\"text\":\"a\"}\n").run();
    own.assert_fails(1, &["line 1", "--top ranks all texts for one --query"]);
    rerank().flag("--query", "q").flag("--top", "0").run().assert_fails(2, &["--top", "1..=100000"]);
    let keep = rerank().flag("--query", "q").flag("--top", "1").flag("--keep", "id").run();
    keep.assert_fails(2, &["--keep"]);
    rerank().flag("--query", "q").flag("--keep", "score").run().assert_fails(2, &["own member \"score\""]);
    rerank().flag("--query", "q").flag("--output", "x.npy").run().assert_fails(2, &["x.npy", "only embed"]);
    let other = computes("rerank", "dense").flag("--query", "q").input("a\n").run();
    other.assert_fails(1, &["cannot load the model", "dense"]);
}

#[test]
fn texts_and_pairs_are_classified() {
    let model = Classifier::load(&cpu(), family("classify-bert")).unwrap();
    let records = [
        json!({ "text": TEXTS[0] }),
        json!({ "text": QUERY, "text_pair": TEXTS[0] }),
        json!({ "text": "" }),
        json!({ "text_pair": "", "text": TEXTS[3] }),
    ];
    let texts = model.classify(&[TEXTS[0], ""]).unwrap();
    let pairs = model.classify_pairs(&[(QUERY, TEXTS[0]), (TEXTS[3], "")]).unwrap();
    let expected = [(&texts, 0), (&pairs, 0), (&texts, 1), (&pairs, 1)];
    for batch in ["1", "4"] {
        let lines = results(
            computes("classify", "classify-bert")
                .flag("--batch", batch)
                .input(jsonl(&records))
                .flag("--format", "jsonl"),
        );
        assert_eq!(lines.len(), records.len());
        for (line, (classes, row)) in lines.iter().zip(expected) {
            let found = line["classes"].as_array().unwrap();
            let found: Vec<_> =
                found.iter().map(|class| (class["label"].as_str().unwrap(), f32_of(&class["score"]))).collect();
            assert_eq!((found, line["tokens"].clone()), (classes.ranked(row).unwrap(), json!(classes.tokens(row))));
        }
        let best = results(computes("classify", "classify-bert").flag("--top", "1").input(TEXTS[0]));
        assert_eq!(best[0]["classes"], json!([lines[0]["classes"][0]]));
    }
    let wrong = computes("classify", "classify-bert")
        .input("{\"text\":\"a\",\"text_pair\":7}\n")
        .flag("--format", "jsonl")
        .run();
    wrong.assert_fails(1, &["line 1", "\"text_pair\" is a number"]);
}

/// The reference's ids, of texts and pairs.
#[test]
fn tokens_are_those_of_the_reference() {
    for model in ["bert", "roberta", "camembert", "mpnet", "modernbert", "qwen3", "classify-bert", "rerank-gte"] {
        let cases = fs::read_to_string(family(&format!("{model}.jsonl"))).unwrap();
        let cases: Vec<Value> = cases.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        let record = |case: &Value| match case["pair"].as_array() {
            None => json!({ "text": case["text"] }),
            // As the reference's classifiers have it, and its rerankers have not.
            Some(pair) if pair[1] == "" && model.starts_with("classify") => json!({ "text": pair[0] }),
            Some(pair) => json!({ "text": pair[0], "text_pair": pair[1] }),
        };
        let records: Vec<_> = cases.iter().map(record).collect();
        let ended = command("tokenize", model).flag("--format", "jsonl").input(jsonl(&records)).run();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), cases.len());
        for (line, case) in lines.iter().zip(&cases) {
            assert_eq!(line["ids"], case["ids"], "{model}: {case}");
            let count = line["ids"].as_array().unwrap().len();
            assert_eq!(line["tokens"], count);
            assert!(["type_ids", "pieces"].iter().all(|member| line[member].as_array().unwrap().len() == count));
            assert!(line["pieces"].as_array().unwrap().iter().all(Value::is_string));
        }
        let cut = lines.iter().filter(|line| line["cut"] == true).count();
        assert_eq!(ended.stderr.contains(&format!("{cut} of {} texts were longer", cases.len())), cut > 0, "{model}");
    }
    let pieces = &results(command("tokenize", "bert").input("the children"))[0];
    assert_eq!(pieces["pieces"], json!(["[CLS]", "the", "children", "[SEP]"]));
}

/// A copy of a model, with another file.
fn changed(place: &Place, model: &str, file: &str, content: &str) -> PathBuf {
    let copy = place.path(&format!("changed-{model}"));
    let _ = fs::remove_dir_all(&copy);
    copy_folder(&family(model), &copy);
    fs::write(copy.join(file), content).unwrap();
    copy
}

fn copy_folder(from: &PathBuf, to: &PathBuf) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).map(drop).unwrap()
        }
    }
}

#[test]
fn prompts_go_before_texts() {
    let place = Place::new();
    let config = json!({ "model_type": "SentenceTransformer", "prompts": { "query": "the old stone ", "none": null },
                         "default_prompt_name": "query" });
    let model = changed(&place, "bert", "config_sentence_transformers.json", &config.to_string());
    let alone = EmbeddingModel::load(&cpu(), family("bert")).unwrap();
    let bits =
        |value: &Value| value.as_array().unwrap().iter().map(|value| f32_of(value).to_bits()).collect::<Vec<_>>();
    for (prompt, text) in
        [(None, "the old stone bridge"), (Some("query"), "the old stone bridge"), (Some("none"), "bridge")]
    {
        let run = |name: &str| {
            let invocation = Invocation::new(name).flag("--model", &model).input("bridge");
            match prompt {
                Some(prompt) => invocation.flag("--prompt", prompt),
                None => invocation,
            }
        };
        let expected = alone.embed_one(text).unwrap();
        let found = &results(run("embed").flag("--device", "cpu"))[0]["embedding"];
        assert_eq!(bits(found), expected.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), "{prompt:?}");
        let found = &results(run("tokenize"))[0]["ids"];
        assert_eq!(*found, json!(alone.tokenize(&[text]).unwrap()[0].ids()));
    }
    for name in ["embed", "tokenize"] {
        let wrong = Invocation::new(name).flag("--model", &model).flag("--prompt", "other").run();
        wrong.assert_fails(1, &["\"other\"", "\"query\"", "\"none\""]);
    }
}

#[test]
fn what_a_directory_is_is_told() {
    let info = |model: &str| {
        results(Invocation::new("info").switch("--json").switch(family(model).to_str().unwrap())).remove(0)
    };
    let bert = info("bert");
    assert_eq!((&bert["task"], &bert["family"], &bert["problem"]), (&json!("embedding"), &json!("bert"), &Value::Null));
    let model = EmbeddingModel::load(&cpu(), family("bert")).unwrap();
    assert_eq!((&bert["width"], &bert["max_tokens"]), (&json!(model.width()), &json!(model.max_tokens())));
    let setting = |info: &Value, file: &str, key: &str| {
        let settings = info["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["file"] == file && setting["key"] == key).map(|it| it["value"].clone())
    };
    let config: Value = serde_json::from_slice(&fs::read(family("bert").join("config.json")).unwrap()).unwrap();
    for key in ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "hidden_act", "layer_norm_eps"]
    {
        assert_eq!(setting(&bert, "config.json", key).unwrap(), config[key], "{key}");
    }
    assert_eq!(bert["layers"], config["num_hidden_layers"]);
    assert_eq!(setting(&bert, "modules.json", "0").unwrap()["path"], "");
    let elements: u64 = bert["weights"].as_array().unwrap().iter().map(|it| it["elements"].as_u64().unwrap()).sum();
    assert!(elements > 1000 && bert["weights"][0]["dtype"] == "F32");
    assert_eq!(
        info("dense")["modules"].as_array().unwrap().len(),
        fs::read_to_string(family("dense").join("modules.json")).unwrap().matches("\"type\"").count()
    );
    let classify = info("classify-bert");
    assert_eq!(
        (&classify["task"], classify["labels"].as_array().unwrap().len()),
        (&json!("scores of texts or pairs"), 3)
    );
    assert_eq!(info("rerank-bert")["task"], "scores of texts or pairs");
    let people = Invocation::new("info").switch(family("bert").to_str().unwrap()).run();
    people.assert_succeeds();
    for line in ["family           bert", "task             embedding", "config.json\n", "    vocab_size = "] {
        assert!(people.stdout.contains(line), "{line}: {}", people.stdout);
    }
}

#[test]
fn what_keeps_a_model_from_being_loaded_is_told_with_what_was_read() {
    let place = Place::new();
    let model = changed(&place, "bert", "config.json", "{\"model_type\": \"t5\", \"hidden_size\": 7}");
    let ended = Invocation::new("info").switch("--json").switch(model.to_str().unwrap()).run();
    ended.assert_fails(1, &["config.json: `model_type` is \"t5\""]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["task"], &report["family"]), (&json!("embedding"), &Value::Null));
    assert!(report["problem"].as_str().unwrap().contains("`model_type` is \"t5\""));
    assert!(report["settings"].as_array().unwrap().iter().any(|it| it["key"] == "model_type" && it["value"] == "t5"));
    fs::remove_file(model.join("model.safetensors")).unwrap();
    fs::copy(family("bert").join("config.json"), model.join("config.json")).unwrap();
    let ended = Invocation::new("info").switch(model.to_str().unwrap()).run();
    ended.assert_fails(1, &["model.safetensors"]);
    assert!(ended.stdout.contains("max tokens"), "{ended:?}");
    Invocation::new("info").switch("no/such/model").run().assert_fails(1, &["nothing there"]);
    Invocation::new("info").run().assert_fails(2, &["DIR|NAME"]);
}

#[test]
fn pipes_that_close_and_faults_end_these_commands_as_embed() {
    let place = Place::new();
    let (rerank, tokenize) = (family("rerank-bert"), family("bert"));
    let script = "seq 100000 | $thalweg rerank --device cpu --model $model --query q | head -n 2";
    let ended = place.shell(script).variable("model", &rerank).run();
    assert_eq!((ended.code, ended.stdout.lines().count(), ended.stderr.as_str()), (Some(0), 2, ""));
    let ended =
        place.shell("seq 100000 | $thalweg tokenize --model $model | head -n 2").variable("model", &tokenize).run();
    assert_eq!((ended.code, ended.stdout.lines().count(), ended.stderr.as_str()), (Some(0), 2, ""));
    let ended = command("tokenize", "bert").flag("--batch", "1").input(b"a\nb\n\xff\n".to_vec()).run();
    ended.assert_fails(1, &["line 3: not UTF-8"]);
    assert_eq!(ended.stdout.lines().count(), 2);
    let input = place.file("in.txt", "a\n");
    let same = command("tokenize", "bert").flag("--input", &input).flag("--output", &input).run();
    same.assert_fails(2, &["are the same file"]);
    let weights = place.path("model/model.safetensors");
    let own = Invocation::new("tokenize").flag("--model", place.model()).flag("--output", &weights).run();
    own.assert_fails(2, &["the model's"]);
}
