"""BERT and its kin: BERT, ELECTRA, DistilBERT, RoBERTa, XLM-RoBERTa, CamemBERT."""

import json

from sentence_transformers.models import Normalize, Pooling
from transformers import (
    BertConfig, BertModel, BertTokenizer, CamembertConfig, CamembertModel, CamembertTokenizer, DistilBertConfig,
    DistilBertModel, DistilBertTokenizer, ElectraConfig, ElectraModel, RobertaConfig, RobertaModel, RobertaTokenizer,
    XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer)

from .case import write_case
from .tiny import CHARACTER_MAP, byte_level, randomise, save_encoder, unigram, wordpiece

SHAPE = dict(hidden_size=36, num_hidden_layers=2, num_attention_heads=3, intermediate_size=52)
BRACKETS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ANGLES = ["<s>", "<pad>", "</s>", "<unk>"]
# The softmax takes away what all keys have in common.
KEY_BIAS = ("key.bias", "k_lin.bias", "pooler")


def named(**others):
    return {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>",
            "pad_token": "<pad>", **others}


def part(content, **flags):
    plain = {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {**plain, **flags}


def text(value):
    return json.dumps(value, ensure_ascii=False, indent=2)


def bert():
    vocabulary = wordpiece(BRACKETS)
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=40, **SHAPE)
    encoder = randomise(BertModel(config, add_pooling_layer=False), "bert")
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=40)
    save_encoder("bert", encoder, tokenizer, lambda width: [Pooling(width, "cls"), Normalize()])
    about = {"family": "bert", "note": "CLS pooling, Normalize; cut at 40 tokens"}
    write_case("bert", about, unseen=KEY_BIAS, differs=[{"hidden_act": "gelu_new"}])
    old = {"do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
           "mask_token": "[MASK]", "tokenize_chinese_chars": True, "strip_accents": None, "name_or_path": "old/name",
           "do_basic_tokenize": True, "never_split": None, "tokenizer_class": "BertTokenizer", "model_max_length": 30}
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]
    pooling = {"word_embedding_dimension": 36, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False,
               "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}
    files = {"tokenizer_config.json": text(old), "modules.json": text(modules), "1_Pooling/config.json": text(pooling),
             "sentence_bert_config.json": text({"max_seq_length": 24, "do_lower_case": False})}
    write_case("bert-hub", {"family": "bert", "note": "the files around the weights as older releases wrote them"},
                     model="bert", files=files)


def electra():
    vocabulary = wordpiece(BRACKETS)
    config = ElectraConfig(vocab_size=len(vocabulary), max_position_embeddings=40, embedding_size=20, **SHAPE)
    encoder = randomise(ElectraModel(config), "electra")
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=40)
    save_encoder("electra", encoder, tokenizer)
    about = {"family": "electra", "note": "embeddings of width 20 before a projection to 36; mean pooling, Normalize"}
    write_case("electra", about, unseen=KEY_BIAS, differs=[{"hidden_act": "relu"}])


def distilbert():
    vocabulary = wordpiece(BRACKETS, cased=True)
    config = DistilBertConfig(vocab_size=len(vocabulary), max_position_embeddings=40, dim=36, n_layers=2, n_heads=3,
                              hidden_dim=52)
    encoder = randomise(DistilBertModel(config), "distilbert")
    tokenizer = DistilBertTokenizer(vocab=vocabulary, do_lower_case=False, model_max_length=40)
    save_encoder("distilbert", encoder, tokenizer, lambda width: [Pooling(width, "mean")])
    about = {"family": "distilbert", "note": "no token types; cased; mean pooling, no Normalize"}
    write_case("distilbert", about, unseen=KEY_BIAS, differs=[{"activation": "relu"}])
    old = {"cls_token": "[CLS]", "do_lower_case": False, "mask_token": "[MASK]", "model_max_length": 32,
           "pad_token": "[PAD]", "sep_token": "[SEP]", "strip_accents": None, "tokenize_chinese_chars": True,
           "tokenizer_class": "DistilBertTokenizer", "unk_token": "[UNK]"}
    write_case("distilbert-hub", {"family": "distilbert", "note": "tokenizer_config.json of an older release"},
                     model="distilbert", files={"tokenizer_config.json": text(old)})


def roberta():
    vocabulary, merges = byte_level(ANGLES, after=["<mask>"])
    config = RobertaConfig(vocab_size=len(vocabulary), max_position_embeddings=42, type_vocab_size=1,
                           layer_norm_eps=2e-2, pad_token_id=1, bos_token_id=0, eos_token_id=2, **SHAPE)
    encoder = randomise(RobertaModel(config, add_pooling_layer=False), "roberta")
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=40)
    save_encoder("roberta", encoder, tokenizer)
    about = {"family": "roberta", "note": "positions begin after pad_token_id, and a pad token in the text has that "
             "position itself; one token type; mean pooling, Normalize"}
    write_case("roberta", about, unseen=KEY_BIAS, differs=[{"pad_token_id": 0}, {"layer_norm_eps": 1e-12}])
    typed = {name: {"__type": "AddedToken", **part(value, normalized=True, lstrip=value == "<mask>")}
             for name, value in named(mask_token="<mask>").items()}
    old = {**typed, "add_prefix_space": False, "errors": "replace", "special_tokens_map_file": None, "trim_offsets": True,
           "tokenizer_class": "RobertaTokenizer", "model_max_length": 30}
    special = named(mask_token=part("<mask>", lstrip=True))
    write_case("roberta-hub", {"family": "roberta", "note": "tokenizer_config.json of an older release"},
                     model="roberta", files={"tokenizer_config.json": text(old), "special_tokens_map.json": text(special),
                                             "sentence_bert_config.json": text({"max_seq_length": 36, "do_lower_case": False})})


def xlm_roberta():
    vocabulary = unigram(ANGLES)
    config = XLMRobertaConfig(vocab_size=len(vocabulary), max_position_embeddings=42, type_vocab_size=1,
                              layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=0, eos_token_id=2, **SHAPE)
    encoder = randomise(XLMRobertaModel(config, add_pooling_layer=False), "xlm-roberta")
    tokenizer = XLMRobertaTokenizer(vocab=vocabulary, _spm_precompiled_charsmap=CHARACTER_MAP, model_max_length=40)
    save_encoder("xlm-roberta", encoder, tokenizer)
    about = {"family": "xlm-roberta", "note": "positions as RoBERTa's; unigram pieces after a character map; mean "
             "pooling, Normalize"}
    write_case("xlm-roberta", about, unseen=KEY_BIAS, differs=[{"pad_token_id": 0}])
    typed = {"__type": "AddedToken", **part("<mask>", lstrip=True, normalized=True)}
    old = named(mask_token=typed, clean_up_tokenization_spaces=True, model_max_length=36, sp_model_kwargs={},
                tokenizer_class="XLMRobertaTokenizer")
    special = named(mask_token=part("<mask>", lstrip=True))
    write_case("xlm-roberta-hub", {"family": "xlm-roberta", "note": "tokenizer_config.json of an older release"},
                     model="xlm-roberta", files={"tokenizer_config.json": text(old), "special_tokens_map.json": text(special)})


def camembert():
    vocabulary = unigram(["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"])
    config = CamembertConfig(vocab_size=len(vocabulary), max_position_embeddings=42, type_vocab_size=1,
                             layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=5, eos_token_id=6, **SHAPE)
    encoder = randomise(CamembertModel(config, add_pooling_layer=False), "camembert")
    tokenizer = CamembertTokenizer(vocab=vocabulary, _spm_precompiled_charsmap=CHARACTER_MAP, model_max_length=40)
    save_encoder("camembert", encoder, tokenizer, lambda width: [Pooling(width, "mean")])
    about = {"family": "camembert", "note": "positions as RoBERTa's; <s> and </s> are no first ids; mean pooling"}
    write_case("camembert", about, unseen=KEY_BIAS, differs=[{"pad_token_id": 0}])
    old = named(additional_special_tokens=["<s>NOTUSED", "</s>NOTUSED"], clean_up_tokenization_spaces=True,
                mask_token={"__type": "AddedToken", **part("<mask>", lstrip=True, normalized=True)}, model_max_length=36,
                sp_model_kwargs={}, tokenizer_class="CamembertTokenizer")
    write_case("camembert-hub", {"family": "camembert", "note": "tokenizer_config.json of an older release"},
                     model="camembert", files={"tokenizer_config.json": text(old)})


CASES = [bert, electra, distilbert, roberta, xlm_roberta, camembert]
