"""Tasks with a head: rerankers, classifiers, sparse vectors."""

import torch
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
from .tasks import BARE, FEW, SMALL, small_bert
from .tiny import CHARACTER_MAP, TEXTS, byte_level, mixture, randomise, save, unigram, wordpiece

# Both too long, the first, the second; the last two are cut where they are about equal.
PAIRS = [
    ("where do the children fish", "the children fish under the old stone bridge in spring"), ("query", ""),
    ("", "the sea"), ("", ""), ("Le café, fermé !", "价格 100 元"), (mixture(12, 7), mixture(40, 8)),
    (mixture(40, 9), mixture(5, 10)), (mixture(40, 11), mixture(41, 12)), (mixture(17, 13), mixture(19, 14)),
    (mixture(60, 15), "A")]
BOTH = [*PAIRS[:2], *PAIRS[4:7], TEXTS[0], TEXTS[3], TEXTS[8], TEXTS[9]]


def labels(*names):
    return {"num_labels": len(names), "id2label": dict(enumerate(names)),
            "label2id": {name: id for id, name in enumerate(names)}}


def save_reranker(name, model, tokenizer, activation=None):
    """As CrossEncoder saves it."""
    save(name, model, tokenizer)
    from .tiny import FAMILIES
    directory = str(FAMILIES / name)
    CrossEncoder(directory, device="cpu", activation_fn=activation).save_pretrained(directory, create_model_card=False)
