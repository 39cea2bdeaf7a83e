"""Writes the tiny checkpoints under test/fixtures/weights/checkpoints: one of each layout in which speech models lie about.

The weights are those of random transformers models, renamed to what fairseq, s3prl, WavLM's and DeCoAR's authors call
them; expected.json holds each parameter's shape and SHA-256 (first 16 digits) under the transformers name. Objects that
fairseq pickles (settings, dictionaries, meters) are pickled from classes of the same module and name defined here.

Run: python scripts/reference/checkpoints-fairseq.py   (torch 2.13, transformers 5.17, omegaconf 2.0.6)
"""

import enum
import hashlib
import json
import re
import sys
import types
from argparse import Namespace
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, Optional, Tuple

import torch
from omegaconf import II, MISSING, OmegaConf
from transformers import (Data2VecAudioConfig, Data2VecAudioForCTC, Data2VecAudioModel, HubertConfig, HubertForCTC,
                          HubertModel, Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2ForPreTraining, WavLMConfig, WavLMModel)

out = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "weights" / "checkpoints"
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(7)


def stand_in(module, cls):
    """Makes a class picklable as one of fairseq's."""
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    cls.__module__ = module
    cls.__qualname__ = cls.__name__
    setattr(sys.modules[module], cls.__name__, cls)
    return cls


class Dictionary:
    def __init__(self, symbols):
        self.bos_word, self.unk_word, self.pad_word, self.eos_word = "<s>", "<unk>", "<pad>", "</s>"
        self.symbols = ["<s>", "<pad>", "</s>", "<unk>", *symbols]
        self.count = [1] * len(self.symbols)
        self.indices = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.bos_index, self.pad_index, self.eos_index, self.unk_index, self.nspecial = 0, 1, 2, 3, 4


class AverageMeter:
    def __init__(self):
        self.val, self.avg, self.sum, self.count = 1.5, 1.5, 3.0, 2


class EXTRACTOR_MODE_CHOICES(enum.Enum):
    default = "default"
    layer_norm = "layer_norm"


stand_in("fairseq.data.dictionary", Dictionary)
stand_in("fairseq.meters", AverageMeter)
stand_in("fairseq.models.wav2vec.wav2vec2", EXTRACTOR_MODE_CHOICES)

CONV = "[(8, 10, 5)] + [(8, 3, 2)] * 2"
SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=[8, 8, 8],
             conv_kernel=[10, 3, 3], conv_stride=[5, 2, 2], num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4,
             vocab_size=9)
PRETRAINING = dict(num_codevectors_per_group=5, num_codevector_groups=2, codevector_dim=12, proj_codevector_dim=12)
LARGE = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
LETTERS = ["|", "E", "T", "A", "O"]

COMMON = dict(encoder_layers=2, encoder_embed_dim=16, encoder_ffn_embed_dim=24, encoder_attention_heads=2,
              activation_fn="gelu", dropout=0.1, attention_dropout=0.05, activation_dropout=0.0, encoder_layerdrop=0.05,
              dropout_input=0.2, dropout_features=0.1, final_dim=12, layer_norm_first=False, conv_feature_layers=CONV,
              conv_bias=False, logit_temp=0.1, mask_prob=0.65, mask_length=10, conv_pos=8, conv_pos_groups=4,
              extractor_mode="default", feature_grad_mult=0.1)
WAV2VEC2 = dict(COMMON, quantize_targets=True, latent_vars=5, latent_groups=2, latent_dim=0, num_negatives=100,
                latent_temp=(2.0, 0.5, 0.999995))

RULES = [
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"feature_projection\.projection\.", "post_extract_proj."),
    (r"feature_projection\.layer_norm\.", "layer_norm."),
    (r"masked_spec_embed", "mask_emb"),
    (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", "encoder.pos_conv.0.weight_g"),
    (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", "encoder.pos_conv.0.weight_v"),
    (r"encoder\.pos_conv_embed\.conv\.bias", "encoder.pos_conv.0.bias"),
    (r"encoder\.pos_conv_embed\.layers\.(\d+)\.conv\.", r"encoder.pos_conv.\1.0."),
    (r"\.attention\.gru_rel_pos_linear\.", ".self_attn.grep_linear."),
    (r"\.attention\.gru_rel_pos_const", ".self_attn.grep_a"),
    (r"\.attention\.rel_attn_embed\.", ".self_attn.relative_attention_bias."),
    (r"\.attention\.", ".self_attn."),
    (r"(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
    (r"\.feed_forward\.output_dense\.", ".fc2."),
    (r"quantizer\.codevectors", "quantizer.vars"),
    (r"project_hid\.", "final_proj."),
]


def state_of(model):
    """A model's parameters, freshly drawn so that none is zero or one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    prefix = f"{model.base_model_prefix}."
    own = hasattr(model, model.base_model_prefix)
    return OrderedDict((name if own else prefix + name, value) for name, value in model.state_dict().items())


def to_fairseq(state, norm, fine_tuned=False):
    result = OrderedDict()
    for name, value in state.items():
        bare = re.sub(r"^(wav2vec2|hubert|wavlm|data2vec_audio)\.", "", name)
        if bare.startswith("lm_head."):
            result["w2v_encoder.proj." + bare.split(".")[1]] = value
            continue
        bare = re.sub(r"(conv_layers\.\d+)\.layer_norm\.", rf"\1.{norm}.", bare)
        for pattern, replacement in RULES:
            bare = re.sub(pattern, replacement, bare)
        result[("w2v_encoder.w2v_model." if fine_tuned else "") + bare] = value
    return result


expected = {}


def write(name, checkpoint, state, legacy=False):
    torch.save(checkpoint, out / name, _use_new_zipfile_serialization=not legacy)
    expected[name] = {key: [list(value.shape), digest(value)] for key, value in state.items()}


def digest(value):
    return hashlib.sha256(value.detach().float().contiguous().numpy().tobytes()).hexdigest()[:16]


def training(**more):
    """What stands around the model in a checkpoint of a training run."""
    meters = OrderedDict(train_loss=AverageMeter())
    return dict(criterion=None, optimizer_history=[{"criterion_name": "Wav2vecCriterion", "num_updates": 9}],
                extra_state={"epoch": 1, "train_meters": meters, "best": 3.25},
                last_optimizer_state={"state": {0: {"step": 9, "exp_avg": torch.zeros(3)}}}, **more)


# 1. wav2vec 2.0 base, pre-trained, argparse settings, legacy stream.
state = state_of(Wav2Vec2ForPreTraining(Wav2Vec2Config(**SIZES, **PRETRAINING)))
args = Namespace(arch="wav2vec2", task="audio_pretraining", normalize=False, sample_rate=16000, **WAV2VEC2)
write("wav2vec2-args.pt", training(args=args, model=to_fairseq(state, "2")), state, legacy=True)

# 2. XLS-R layout, pre-trained, omegaconf settings made from dataclasses.


@dataclass
class Wav2Vec2Settings:
    _name: str = "wav2vec2"
    extractor_mode: EXTRACTOR_MODE_CHOICES = EXTRACTOR_MODE_CHOICES.layer_norm
    encoder_layers: int = 2
    encoder_embed_dim: int = 16
    encoder_ffn_embed_dim: int = 24
    encoder_attention_heads: int = 2
    activation_fn: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    layer_norm_first: bool = True
    conv_feature_layers: str = CONV
    conv_bias: bool = True
    quantize_targets: bool = True
    final_dim: int = 12
    latent_vars: int = 5
    latent_temp: Tuple[float, float, float] = (2, 0.5, 0.999995)
    conv_pos: int = 8
    conv_pos_groups: int = 4
    w2v_hint: Optional[str] = None
    betas: List[float] = field(default_factory=lambda: [0.9, 0.98])
    anything: Any = None
    never_set: str = MISSING
    rate: float = II("task.sample_rate")


stand_in("fairseq.models.wav2vec.wav2vec2", Wav2Vec2Settings)
cfg = OmegaConf.create({"common": {"seed": 1}, "model": OmegaConf.structured(Wav2Vec2Settings),
                        "task": {"_name": "audio_pretraining", "normalize": True, "sample_rate": 16000}})
state = state_of(Wav2Vec2ForPreTraining(Wav2Vec2Config(**SIZES, **PRETRAINING, **LARGE)))
write("xlsr-omegaconf.pt", training(args=None, cfg=cfg, model=to_fairseq(state, "2.1"), task_state={}), state)

# 3. wav2vec 2.0 fine-tuned with CTC, settings as plain dicts, dictionary inside.
inner = {"model": dict(WAV2VEC2, _name="wav2vec2"), "task": {"_name": "audio_pretraining", "normalize": False}}
outer = {"model": {"_name": "wav2vec_ctc", "w2v_path": "/x/wav2vec_small.pt", "w2v_args": inner, "apply_mask": True,
                   "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.1, "final_dropout": 0.3,
                   "dropout_input": 0.0, "layerdrop": 0.15, "mask_prob": 0.5, "mask_length": 6,
                   "mask_channel_prob": 0.25, "mask_channel_length": 64, "normalize": "${task.normalize}"},
         "task": {"_name": "audio_finetuning", "normalize": False, "labels": "ltr", "sample_rate": 16000}}
state = state_of(Wav2Vec2ForCTC(Wav2Vec2Config(**SIZES)))
write("wav2vec2-ctc-cfg.pt",
      training(args=None, cfg=outer, model=to_fairseq(state, "2", True),
               task_state={"target_dictionary": Dictionary(LETTERS)}), state)

# 4. The same by argparse, dictionary beside the file (dict.ltr.txt).
args = Namespace(arch="wav2vec_ctc", task="audio_finetuning", labels="ltr", normalize=False, w2v_path="/x/small.pt",
                 w2v_args=Namespace(arch="wav2vec2", task="audio_pretraining", normalize=False, **WAV2VEC2),
                 apply_mask=True, dropout=0.0, final_dropout=0.0, layerdrop=0.1, mask_prob=0.65, mask_length=10,
                 mask_channel_prob=0.5, mask_channel_length=64)
write("wav2vec2-ctc-args.pt", training(args=args, model=to_fairseq(state, "2", True)), state, legacy=True)
(out / "dict.ltr.txt").write_text("".join(f"{symbol} {10 - i}\n" for i, symbol in enumerate(LETTERS)))

# 5. HuBERT, pre-trained, with its head and its dictionaries of cluster labels; an omegaconf reference in the settings.
model = HubertModel(HubertConfig(**SIZES))
state = state_of(model)
state["final_proj.weight"], state["final_proj.bias"] = torch.randn(12, 16), torch.randn(12)
state["label_embs_concat"] = torch.randn(7, 12)
hubert = dict(COMMON, _name="hubert", label_rate="${task.label_rate}", untie_final_proj=False)
cfg = OmegaConf.create({"model": hubert, "task": {"_name": "hubert_pretraining", "label_rate": 50.0, "normalize": False,
                                                  "sample_rate": 16000}})
write("hubert-omegaconf.pt",
      training(args=None, cfg=cfg, model=to_fairseq(state, "2"), task_state={"dictionaries": [Dictionary(["0", "1", "2"])]}),
      state)

# 6. HuBERT as s3prl converts it.
write("s3prl-hubert.pt",
      {"task_cfg": {"sample_rate": 16000, "normalize": False}, "model_cfg": dict(hubert, label_rate=50.0, _name="hubert"),
       "model_weight": to_fairseq(state, "2"), "dictionaries_symbols": [["<s>", "<pad>", "</s>", "<unk>", "0", "1", "2"]]},
      state)

# 7. HuBERT fine-tuned with CTC, normalised input, no dictionary anywhere.
state = state_of(HubertForCTC(HubertConfig(**SIZES, **LARGE)))
inner = {"model": dict(hubert, extractor_mode="layer_norm", conv_bias=True, layer_norm_first=True, label_rate=50.0),
         "task": {"_name": "hubert_pretraining", "normalize": True}}
outer = {"model": {"_name": "hubert_ctc", "w2v_path": "/x/hubert_large.pt", "w2v_args": inner, "apply_mask": False,
                   "final_dropout": 0.0, "layerdrop": 0.1, "mask_prob": 0.5},
         "task": {"_name": "audio_finetuning", "normalize": True}}
write("hubert-ctc-cfg.pt", training(args=None, cfg=outer, model=to_fairseq(state, "2.1", True), task_state={}), state)

# 8. data2vec, pre-trained, with its teacher.
shape = {key: value for key, value in SIZES.items() if not key.startswith("num_conv_pos_embeddings")}
state = state_of(Data2VecAudioModel(Data2VecAudioConfig(**shape, num_conv_pos_embeddings=3, conv_pos_kernel_size=5)))
weights = to_fairseq(state, "2.1")
weights["final_proj.0.weight"], weights["final_proj.0.bias"] = torch.randn(16, 16), torch.randn(16)
weights["_ema"] = OrderedDict((name, value.clone()) for name, value in list(weights.items())[:2])
data2vec = dict(COMMON, _name="data2vec_audio", extractor_mode="layer_norm", pos_conv_depth=3, conv_pos=15,
                average_top_k_layers=8)
write("data2vec-cfg.pt",
      training(args=None, cfg={"model": data2vec, "task": {"_name": "audio_pretraining", "normalize": True}}, model=weights),
      state)

# 9. data2vec fine-tuned with CTC.
state = state_of(Data2VecAudioForCTC(Data2VecAudioConfig(**shape, num_conv_pos_embeddings=3, conv_pos_kernel_size=5)))
outer = {"model": {"_name": "wav2vec_ctc", "w2v_path": "/x/audio_base_ls.pt", "apply_mask": True, "layerdrop": 0.1,
                   "w2v_args": {"model": data2vec, "task": {"_name": "audio_pretraining", "normalize": True}}},
         "task": {"_name": "audio_finetuning", "normalize": True, "labels": "ltr"}}
write("data2vec-ctc-cfg.pt", training(args=None, cfg=outer, model=to_fairseq(state, "2.1", True), task_state={}), state)

# 10. WavLM as its authors release it.
state = state_of(WavLMModel(WavLMConfig(**SIZES, num_buckets=12, max_bucket_distance=40)))
wavlm = dict(COMMON, relative_position_embedding=True, num_buckets=12, max_distance=40, gru_rel_pos=True, normalize=False)
write("wavlm.pt", {"cfg": wavlm, "model": to_fairseq(state, "2")}, state)

# 11. DeCoAR 2.0: the encoder of wav2vec 2.0 over 80 mel bands, among parts that only its pre-training used.
state = state_of(Wav2Vec2ForCTC(Wav2Vec2Config(**SIZES)))
state = OrderedDict((name.replace("wav2vec2.", "decoar2."), value) for name, value in state.items()
                    if name.startswith("wav2vec2.encoder."))
state["decoar2.feature_projection.projection.weight"] = torch.randn(16, 80)
state["decoar2.feature_projection.projection.bias"] = torch.randn(16)
weights = to_fairseq(OrderedDict((name.replace("decoar2.", ""), value) for name, value in state.items()), "2")
weights["mask_emb"] = torch.randn(16)
weights["quantizer.vars"], weights["final_proj.weight"] = torch.randn(1, 10, 6), torch.randn(80, 16)
write("decoar2.pt", {"model": weights, "epoch": 3}, state)

# 12. An s3prl run that fine-tuned HuBERT, and one that left it frozen.
state = state_of(HubertModel(HubertConfig(**SIZES)))
run = {"Featurizer": OrderedDict(weights=torch.zeros(3)), "Downstream": OrderedDict({"model.weight": torch.zeros(2, 16)}),
       "Optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "Step": 100, "Epoch": 1,
       "Args": Namespace(upstream="hubert_base", downstream="ctc", upstream_trainable=True, expdir="result"),
       "Config": {"runner": {"total_steps": 100}}}
upstream = OrderedDict(("model." + name, value) for name, value in to_fairseq(state, "2").items())
write("s3prl-run.ckpt", dict(run, Upstream=upstream), state)
torch.save(run, out / "s3prl-frozen.ckpt")

(out / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
