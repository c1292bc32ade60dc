"""Tasks of embedding models: pooling, Dense modules, prompts, shorter vectors, vectors of tokens, bare checkpoints."""

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.models import Dense, Normalize, Pooling
from transformers import BertConfig, BertModel, BertTokenizer

from .case import Embedding, write_case
from .kin import BRACKETS, KEY_BIAS, text
from .tiny import FAMILIES, TEXTS, randomise, save, save_encoder, wordpiece

SMALL = dict(hidden_size=18, num_hidden_layers=2, num_attention_heads=3, intermediate_size=26)
FEW = [TEXTS[0], TEXTS[1], TEXTS[3], TEXTS[4], TEXTS[8]]
BARE = {"modules.json": None, "1_Pooling/config.json": None, "2_Normalize/config.json": None,
        "sentence_bert_config.json": None, "config_sentence_transformers.json": None}


def small_bert(name, architecture=BertModel, limit=40, **settings):
    vocabulary = wordpiece(BRACKETS)
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=limit, **SMALL, **settings)
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=limit)
    return randomise(architecture(config), name), tokenizer


def pooling():
    modes = ["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"]
    for mode in modes[1:]:
        files = {"1_Pooling/config.json": {"pooling_mode": mode}}
        name = mode.split("_")[0] if mode != "mean_sqrt_len_tokens" else "sqrt"
        write_case(f"pooling-{name}", {"family": "distilbert", "note": mode}, FEW, model="distilbert", files=files)
    files = {"1_Pooling/config.json": {"pooling_mode": ["weightedmean", "max", "cls"]}}
    about = {"family": "distilbert", "note": "several, in the order of the file"}
    write_case("pooling-several", about, FEW, model="distilbert", files=files)
    old = {"word_embedding_dimension": 36, "pooling_mode_lasttoken": True, "pooling_mode_weightedmean_tokens": True,
           "pooling_mode_mean_sqrt_len_tokens": True, "pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True,
           "pooling_mode_cls_token": True, "include_prompt": True}
    about = {"family": "distilbert", "note": "all, as older releases write them, in the order of those releases"}
    write_case("pooling-all", about, FEW, model="distilbert", files={"1_Pooling/config.json": text(old)})


def dense():
    encoder, tokenizer = small_bert("dense")

    def modules(width):
        made = [Dense(width, 27, bias=True, activation_function=torch.nn.Tanh()),
                Dense(27, 27, bias=False, activation_function=torch.nn.Identity())]
        for index, module in enumerate(made):
            randomise(module, f"dense {index}")
        return [Pooling(width, "mean"), *made]

    save_encoder("dense", encoder, tokenizer, modules)
    write_case("dense", {"family": "bert", "note": "mean, Dense with tanh and bias, Dense without either"}, FEW,
               unseen=KEY_BIAS)
    for name in ["GELU", "ReLU", "SiLU", "Sigmoid"]:
        files = {"2_Dense/config.json": {"activation_function": f"torch.nn.modules.activation.{name}"}}
        write_case(f"dense-{name.lower()}", {"family": "bert", "note": f"{name} between the two"}, FEW[:3], model="dense",
                   files=files)
    files = {"3_Dense/config.json": {"use_residual": True}}
    write_case("dense-residual", {"family": "bert", "note": "the second adds what enters it"}, FEW[:3], model="dense",
               files=files)


def prompts():
    settings = "config_sentence_transformers.json"
    named = {"prompts": {"query": "query: ", "document": "passage: ", "long": "search the document for "}}
    usual = {settings: {**named, "default_prompt_name": "query"}}
    about = {"family": "xlm-roberta"}

    def case(name, note, files, **call):
        write_case(f"prompt-{name}", {**about, "note": note}, FEW, Embedding(**call), model="xlm-roberta", files=files)

    case("default", "the prompt query, by default", usual)
    case("document", "the prompt document, by its name", usual, prompt_name="document")
    case("given", "a prompt that the call gives", usual, prompt="search ")
    without = {settings: {**named, "default_prompt_name": "long"}, "1_Pooling/config.json": {"include_prompt": False}}
    case("excluded", "pooled without the prompt, which is the default", without)
    last = {**without, "1_Pooling/config.json": {"include_prompt": False, "pooling_mode": ["cls", "weightedmean", "max"]}}
    case("excluded-several", "CLS is then the first token after the prompt; weights count from the prompt's start", last)


def vectors():
    about = {"family": "distilbert"}
    write_case("shorter", {**about, "note": "the first 13 values"}, FEW, Embedding(truncate_dim=13), model="distilbert")
    write_case("shorter-unit", {**about, "note": "the first 13 values, of unit length then"}, FEW,
               Embedding(truncate_dim=13, normalize_embeddings=True), model="distilbert")
    write_case("shorter-normalized", {"family": "bert", "note": "the first 13 values of vectors of unit length"}, FEW,
               Embedding(truncate_dim=13), model="bert")
    write_case("tokens", {**about, "note": "a vector for each token, special ones too"}, FEW,
               Embedding(output_value="token_embeddings"), model="distilbert")
    write_case("tokens-normalized", {"family": "bert", "note": "modules after the encoder leave vectors of tokens alone"},
               FEW[:2], Embedding(output_value="token_embeddings"), model="bert")


def bare():
    about = {"family": "bert", "note": "a checkpoint without modules.json: mean pooling, nothing after it"}
    write_case("bare", about, FEW, model="bert", files=BARE)
    encoder, tokenizer = small_bert("sharded")
    save("sharded", encoder, tokenizer, max_shard_size="9KB")
    write_case("sharded", {"family": "bert", "note": "several safetensors files; no modules.json"}, FEW, unseen=KEY_BIAS)


def old_weights():
    """Names that weights had in releases of long ago, positions that were saved with them, and half of the bits."""
    encoder, tokenizer = small_bert("old-weights")
    save("old-weights", encoder.half(), tokenizer)
    path = FAMILIES / "old-weights/model.safetensors"
    weights = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
               for name, weight in load_file(path).items()}
    weights["embeddings.position_ids"] = torch.arange(40).unsqueeze(0)
    save_file({f"bert.{name}": weight for name, weight in weights.items()}, path, {"format": "pt"})
    about = {"family": "bert", "note": "gamma and beta, position_ids, the prefix bert., f16 weights computed in f32"}
    write_case("old-weights", about, FEW, unseen=KEY_BIAS)


CASES = [pooling, dense, prompts, vectors, bare, old_weights]
