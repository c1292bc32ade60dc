"""Families whose attention knows distances: MPNet, ModernBERT, Qwen3, Qwen2, NomicBERT, GTE."""

import json

import torch
from sentence_transformers.models import Normalize, Pooling
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertTokenizer, GteConfig, GteModel, ModernBertConfig, ModernBertModel, MPNetConfig, MPNetModel, MPNetTokenizer,
    NomicBertConfig, NomicBertModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model, Qwen2Tokenizer, Qwen3Config,
    Qwen3Model)

from .case import Embedding, write_case
from .kin import BRACKETS, SHAPE, text
from .tiny import TEXTS, byte_level, mixture, randomise, save_encoder, wordpiece

LONG = [*TEXTS[:9], mixture(64, 4), mixture(90, 5)]


def added(vocabulary, names, **flags):
    """added_tokens_decoder, as tokenizer_config.json has it."""
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True, **flags}
    return {str(vocabulary[name]): {"content": name, **plain} for name in names}


def mpnet():
    vocabulary = {name: id for id, name in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    for piece in [*wordpiece(["[UNK]"]), "<mask>"]:
        vocabulary.setdefault(piece, len(vocabulary))
    config = MPNetConfig(vocab_size=len(vocabulary), max_position_embeddings=172, layer_norm_eps=2e-2, **SHAPE)
    encoder = randomise(MPNetModel(config, add_pooling_layer=False), "mpnet")
    tokenizer = MPNetTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=170)
    save_encoder("mpnet", encoder, tokenizer)
    about = {"family": "mpnet", "note": "a bias a head for each of 32 ranges of distance; positions begin after 1; mean "
             "pooling, Normalize"}
    differs = [{"layer_norm_eps": 1e-12}]
    texts = [*TEXTS[:9], mixture(64, 4), mixture(160, 5)]
    write_case("mpnet", about, texts, unseen=("k.bias", "pooler"), differs=differs)
    old = {"bos_token": "<s>", "clean_up_tokenization_spaces": True, "cls_token": "<s>", "do_lower_case": True,
           "eos_token": "</s>", "mask_token": "<mask>", "model_max_length": 80, "pad_token": "<pad>",
           "sep_token": "</s>", "strip_accents": None, "tokenize_chinese_chars": True,
           "tokenizer_class": "MPNetTokenizer", "unk_token": "[UNK]",
           "added_tokens_decoder": {**added(vocabulary, ["<s>", "<pad>", "</s>", "[UNK]"]),
                                    **added(vocabulary, ["<unk>"], normalized=True),
                                    **added(vocabulary, ["<mask>"], lstrip=True)}}
    files = {"tokenizer_config.json": text(old), "sentence_bert_config.json": text({"max_seq_length": 60, "do_lower_case": False})}
    write_case("mpnet-hub", {"family": "mpnet", "note": "tokenizer_config.json of an older release"}, texts,
                     model="mpnet", files=files)


def modernbert_tokenizer(limit):
    """As answerdotai's: no class of its own, NFC, bytes, runs of spaces that are tokens."""
    vocabulary, merges = byte_level(["|||IP_ADDRESS|||", "<|padding|>"], after=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken("   ", normalized=True), AddedToken("|||IP_ADDRESS|||", normalized=True)])
    backend.add_special_tokens([AddedToken("<|padding|>"), *(AddedToken(name) for name in ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]),
                                AddedToken("[MASK]", lstrip=True)])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, backend.token_to_id(name)) for name in ["[CLS]", "[SEP]"]])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=limit, model_input_names=["input_ids", "attention_mask"],
        unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]")
    return tokenizer, backend


def modernbert_config(backend, **settings):
    ids = {f"{name.lower()}_token_id": backend.token_to_id(f"[{name}]") for name in ["CLS", "SEP", "PAD"]}
    shape = dict(hidden_size=30, num_hidden_layers=4, num_attention_heads=3, intermediate_size=40)
    return ModernBertConfig(**{
        "vocab_size": backend.get_vocab_size(), "max_position_embeddings": 512, "local_attention": 16, "norm_eps": 1e-3,
        "bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"], **ids, **shape, **settings})


def modernbert():
    tokenizer, backend = modernbert_tokenizer(300)
    config = modernbert_config(backend)
    encoder = randomise(ModernBertModel(config), "modernbert")
    save_encoder("modernbert", encoder, tokenizer, lambda width: [Pooling(width, "cls")])
    about = {"family": "modernbert", "note": "layers 0 and 3 see all, 1 and 2 see 8 positions to each side; two rotary "
             "bases; CLS pooling"}
    differs = [{"local_attention": 14}, {"local_attention": 18}, {"local_attention": 600}, {"norm_eps": 1e-12},
               {"layer_types": ["sliding_attention"] * 4}, {"layer_types": ["full_attention"] * 4},
               *({"rope_parameters": {kind: {"rope_type": "default", "rope_theta": 40000.0},
                                      other: {"rope_type": "default", "rope_theta": base}}}
                 for kind, other, base in [("full_attention", "sliding_attention", 10000.0),
                                           ("sliding_attention", "full_attention", 160000.0)])]
    write_case("modernbert", about, LONG, differs=differs)
    saved = config.to_dict()
    old = {key: value for key, value in saved.items() if key not in ("layer_types", "rope_parameters", "dtype")}
    old |= {"architectures": ["ModernBertForMaskedLM"], "global_attn_every_n_layers": 2, "global_rope_theta": 80000.0,
            "local_rope_theta": 5000.0, "layer_norm_eps": 1e-5, "position_embedding_type": "absolute",
            "gradient_checkpointing": False, "torch_dtype": "float32", "transformers_version": "4.47.0.dev0"}
    old_tokenizer = {
        "added_tokens_decoder": {
            str(id): {"content": token.content, "lstrip": token.lstrip, "normalized": token.normalized, "rstrip": token.rstrip,
                      "single_word": token.single_word, "special": token.special}
            for id, token in sorted(backend.get_added_tokens_decoder().items())},
        "clean_up_tokenization_spaces": True, "cls_token": "[CLS]", "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "attention_mask"], "model_max_length": 200, "pad_token": "[PAD]",
        "sep_token": "[SEP]", "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    files = {"config.json": text(old), "tokenizer_config.json": text(old_tokenizer)}
    about = {"family": "modernbert", "note": "config.json and tokenizer_config.json of an older release: every second "
             "layer sees all, other rotary bases, cut at 200"}
    write_case("modernbert-hub", about, LONG, model="modernbert", files=files)


def qwen_tokenizer(limit, ends=True, **settings):
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary, merges = byte_level([])
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=limit, eos_token="<|im_end|>",
                               pad_token="<|endoftext|>", unk_token=None, **settings)
    tokenizer.add_special_tokens({"additional_special_tokens": names[1:]})
    if not ends:
        return tokenizer
    end = names[0]
    tokenizer.backend_tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        processors.TemplateProcessing(single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1",
                                      special_tokens=[(end, tokenizer.convert_tokens_to_ids(end))])])
    return tokenizer


QWEN_TEXTS = [*TEXTS[:6], "<|im_start|>the river<|im_end|>\n", *TEXTS[6:9], mixture(64, 4), mixture(358, 6)]


def qwen3():
    tokenizer = qwen_tokenizer(1200, padding_side="left")
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=36, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        head_dim=10, intermediate_size=52, max_position_embeddings=2048, rms_norm_eps=1e-3, rope_theta=1000000.0,
        tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    encoder = randomise(Qwen3Model(config), "qwen3").to(torch.bfloat16)
    query = "Instruct: Given a query, retrieve passages that answer it\nQuery:"
    save_encoder("qwen3", encoder, tokenizer, lambda width: [Pooling(width, "lasttoken"), Normalize()],
                 prompts={"query": query, "document": ""})
    about = {"family": "qwen3", "note": "causal; 6 heads of 10, 2 of keys and values; bf16 weights, computed in f32; the "
             "last token, Normalize; the tokenizer pads on the left and ends each text"}
    differs = [{"rms_norm_eps": 1e-9}, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}]
    write_case("qwen3", about, QWEN_TEXTS, differs=differs)
    about = {"family": "qwen3", "note": "with the prompt query"}
    write_case("qwen3-query", about, QWEN_TEXTS[:4], Embedding(prompt_name="query"), model="qwen3")
    saved = config.to_dict()
    old = {key: value for key, value in saved.items() if key not in ("layer_types", "rope_parameters", "dtype")}
    old |= {"architectures": ["Qwen3ForCausalLM"], "rope_theta": 5000000, "rope_scaling": None, "sliding_window": None,
            "use_sliding_window": False, "max_window_layers": 2, "torch_dtype": "bfloat16", "use_cache": True,
            "attention_bias": False, "transformers_version": "4.51.3"}
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = tokenizer.get_vocab()
    old_tokenizer = {
        "add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": added(vocabulary, names),
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "bos_token": None,
        "chat_template": "{%- for message in messages %}{{ message.content }}{%- endfor %}",
        "clean_up_tokenization_spaces": False, "eos_token": "<|im_end|>", "errors": "replace", "model_max_length": 131072,
        "pad_token": "<|endoftext|>", "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None}
    files = {"config.json": text(old), "tokenizer_config.json": text(old_tokenizer), "sentence_bert_config.json": None}
    about = {"family": "qwen3", "note": "config.json and tokenizer_config.json of an older release; another rotary base"}
    write_case("qwen3-hub", about, QWEN_TEXTS[:8], model="qwen3", files=files)


def qwen2():
    tokenizer = qwen_tokenizer(512)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=36, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
        intermediate_size=44, max_position_embeddings=512, rms_norm_eps=1e-6, rope_theta=1000000.0,
        tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    encoder = randomise(Qwen2Model(config), "qwen2").to(torch.float16)
    save_encoder("qwen2", encoder, tokenizer, lambda width: [Pooling(width, "lasttoken"), Normalize()])
    about = {"family": "qwen2", "note": "causal; biases of queries, keys and values; f16 weights, computed in f32; the last "
             "token, Normalize"}
    write_case("qwen2", about, QWEN_TEXTS[:11])


def nomic_bert():
    vocabulary = wordpiece(BRACKETS)
    rotary = {"rope_type": "default", "rope_theta": 1000.0}
    config = NomicBertConfig(vocab_size=len(vocabulary), max_position_embeddings=48, layer_norm_eps=1e-3,
                             rope_parameters=rotary, **SHAPE)
    encoder = randomise(NomicBertModel(config, add_pooling_layer=False), "nomic-bert")
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=256)
    save_encoder("nomic-bert", encoder, tokenizer, prompts={"search_query": "search query: "})
    about = {"family": "nomic_bert", "note": "rotary; gated; no biases but the norms'; mean pooling, Normalize"}
    differs = [{"rope_parameters": {**rotary, "rope_theta": 10000.0}}, {"layer_norm_eps": 1e-12},
               {"hidden_act": "gelu"}]
    write_case("nomic-bert", about, LONG, differs=differs)
    old = {"activation_function": "swiglu", "architectures": ["NomicBertModel"], "attn_pdrop": 0.0,
           "auto_map": {"AutoConfig": "some/repository--configuration_hf_nomic_bert.NomicBertConfig",
                        "AutoModel": "some/repository--modeling_hf_nomic_bert.NomicBertModel"},
           "bos_token_id": None, "causal": False, "dense_seq_output": True, "embd_pdrop": 0.0, "eos_token_id": None,
           "fused_bias_fc": True, "fused_dropout_add_ln": True, "initializer_range": 0.02, "layer_norm_epsilon": 1e-3,
           "max_trained_positions": 48, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "model_type": "nomic_bert",
           "n_embd": 36, "n_head": 3, "n_inner": 52, "n_layer": 2, "n_positions": 256, "pad_vocab_size_multiple": 64,
           "parallel_block": False, "parallel_block_tied_norm": False, "prenorm": False, "qkv_proj_bias": False,
           "reorder_and_upcast_attn": False, "resid_pdrop": 0.0, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
           "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None,
           "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "summary_activation": None,
           "summary_first_dropout": 0.0, "summary_proj_to_labels": True, "summary_type": "cls_index",
           "summary_use_proj": True, "torch_dtype": "float32", "transformers_version": "4.37.2", "type_vocab_size": 2,
           "use_cache": True, "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True,
           "vocab_size": len(vocabulary)}
    sentence = {"sentence_bert_config.json": text({"max_seq_length": 160, "do_lower_case": False})}
    about = {"family": "nomic_bert", "note": "longer than it was trained for"}
    write_case("nomic-bert-long", about, LONG[9:], model="nomic-bert", files=sentence)
    about = {"family": "nomic_bert", "note": "config.json as models have it that came with their own code"}
    write_case("nomic-bert-hub", about, LONG, model="nomic-bert", told={"config.json": text(old)}, files=sentence)
    dynamic = {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0}}
    is_default = {"rope_parameters": rotary}
    about = {"family": "nomic_bert", "note": "the rotary base grows with a text that is longer than it was trained for"}
    write_case("nomic-bert-dynamic", about, LONG, model="nomic-bert", files={"config.json": dynamic, **sentence},
                     differs=[is_default], told={"config.json": text({**old, "rotary_scaling_factor": 2.0})})


def gte():
    vocabulary = wordpiece(BRACKETS)
    factor, base, head = 2.0, 500000.0, SHAPE["hidden_size"] // SHAPE["num_attention_heads"]
    # What models with their own code call "ntk" is a larger base and all frequencies through a constant.
    rotary = {"rope_type": "linear", "rope_theta": base * factor, "factor": factor ** (2 / head)}
    config = GteConfig(vocab_size=len(vocabulary), max_position_embeddings=256, layer_norm_eps=1e-3, type_vocab_size=0,
                       pad_token_id=0, rope_parameters=rotary, **SHAPE)
    encoder = randomise(GteModel(config, add_pooling_layer=False), "gte")
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=256)
    save_encoder("gte", encoder, tokenizer, lambda width: [Pooling(width, "cls"), Normalize()])
    about = {"family": "gte", "note": "rotary; gated; no token types; CLS pooling, Normalize"}
    differs = [{"rope_parameters": {**rotary, "rope_theta": base}}, {"layer_norm_eps": 1e-12},
               {"rope_parameters": {**rotary, "factor": 1.0}}, {"hidden_act": "silu"}]
    write_case("gte", about, LONG, differs=differs)
    old = {"architectures": ["NewModel"], "attention_probs_dropout_prob": 0.0,
           "auto_map": {"AutoConfig": "some/repository--configuration.NewConfig",
                        "AutoModel": "some/repository--modeling.NewModel"},
           "classifier_dropout": None, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 36,
           "initializer_range": 0.02, "intermediate_size": 52, "layer_norm_eps": 1e-3, "layer_norm_type": "layer_norm",
           "logn_attention_clip1": False, "logn_attention_scale": False, "max_position_embeddings": 256,
           "model_type": "new", "num_attention_heads": 3, "num_hidden_layers": 2, "pack_qkv": True, "pad_token_id": 0,
           "position_embedding_type": "rope", "rope_scaling": {"factor": 2.0, "type": "ntk"}, "rope_theta": 500000,
           "torch_dtype": "float32", "transformers_version": "4.39.1", "type_vocab_size": 0, "unpad_inputs": False,
           "use_memory_efficient_attention": False, "vocab_size": len(vocabulary)}
    about = {"family": "gte", "note": "config.json as models have it that came with their own code"}
    write_case("gte-hub", about, LONG, model="gte", told={"config.json": text(old)})


CASES = [mpnet, modernbert, qwen3, qwen2, nomic_bert, gte]
