"""Writes a set of reference folders that, between them, turn every option that a Hugging Face config of these models has.

    PYTHON scripts/reference/upstream-set.py ROOT [--speech DIR] [NAME ...]

Then `voxsmith parity ROOT/<name>` for each. --speech names a folder of recordings (any tree of .wav or .flac) for those
that ask for real speech; without it they get the synthetic signal. The bar of 1e-4 is below PyTorch's own float32
rounding in two cases, which are left out: long utterances (its CTC gradient alone is off by 5e-6 at 50 frames of random
logits, 3e-5 at 160 and 3e-4 at 500), and a group-norm extractor with a bias in its first convolution (that gradient is
nothing but rounding).
"""

import argparse
import subprocess
import sys
from pathlib import Path

STABLE = "feat_extract_norm=layer do_stable_layer_norm=true conv_bias=true"
SETS = {
    # group norm, odd sizes, three convolutions, odd positional kernel, last symbol as blank
    "group-odd": "--seed 11 --lengths 4200,3013,2501 --label-lengths 7,12,3 --config hidden_size=36 num_attention_heads=3"
    " intermediate_size=70 num_hidden_layers=2 conv_dim=[20,28,24] conv_kernel=[10,5,3] conv_stride=[5,4,3]"
    " num_conv_pos_embeddings=15 num_conv_pos_embedding_groups=6 vocab_size=11 pad_token_id=10"
    " feat_extract_activation=relu hidden_act=gelu_new ctc_loss_reduction=mean ctc_zero_infinity=false",
    # an epsilon that shows where it is used and where it is not, blank inside the vocabulary, no convolution bias
    "stable-eps": "--seed 12 --speech --lengths 21003,16000,7777,12345 --label-lengths 20,14,5,9 --config"
    " feat_extract_norm=layer do_stable_layer_norm=true conv_bias=false layer_norm_eps=1e-3 hidden_size=64"
    " num_attention_heads=8 intermediate_size=160 num_hidden_layers=5 num_conv_pos_embeddings=24"
    " num_conv_pos_embedding_groups=2 pad_token_id=5 vocab_size=29",
    # layer norm in the extractor, post-norm in the encoder, other activations, one group
    "layer-postln": "--seed 13 --config feat_extract_norm=layer conv_bias=true hidden_act=swish hidden_size=40"
    " feat_extract_activation=gelu_new num_conv_pos_embeddings=7 num_conv_pos_embedding_groups=1 num_attention_heads=5"
    " ctc_loss_reduction=mean",
    # group norm and a mask, pre-norm in the encoder, one layer, a positional kernel longer than the audio
    "group-mask": "--seed 14 --mask yes --config do_stable_layer_norm=true num_hidden_layers=1 hidden_size=32"
    " num_conv_pos_embeddings=128 num_conv_pos_embedding_groups=16 num_attention_heads=2 intermediate_size=130"
    " layer_norm_eps=1e-6",
    # a batch of one, eight layers, convolutions of seven widths
    "single": f"--seed 15 --speech --lengths 48000 --label-lengths 38 --config {STABLE} num_hidden_layers=8 hidden_size=24"
    " num_attention_heads=2 intermediate_size=48 conv_dim=[16,24,40,16,12,20,28] ctc_zero_infinity=false vocab_size=45",
    # an impossible alignment and an empty target, under sum and under mean
    "impossible": "--seed 16 --lengths 8000,3200,6400,4001 --label-lengths 6,30,0,2 --config feat_extract_norm=layer"
    " conv_bias=true pad_token_id=13",
    # no mask with layer norm; masked_spec_embed in the checkpoint, with a gradient of 0
    "nomask-specembed": f"--seed 17 --mask no --lengths 8000,3200,6400,4001 --label-lengths 6,30,0,2 --config {STABLE}"
    " mask_time_prob=0.05 ctc_loss_reduction=mean num_conv_pos_embeddings=9",
    # two wide convolutions, one head, a feed-forward layer narrower than the model
    "wide": "--seed 18 --lengths 6400,6400,3000,1600,6399 --label-lengths 10,1,5,2,20 --config hidden_size=96"
    " num_attention_heads=1 intermediate_size=33 num_hidden_layers=2 conv_dim=[48,64] conv_kernel=[25,7]"
    " conv_stride=[20,8] hidden_act=relu num_conv_pos_embeddings=33 num_conv_pos_embedding_groups=8 vocab_size=101"
    " ctc_zero_infinity=false",
    "hubert-odd": "--model hubert --seed 21 --lengths 4600,3000 --label-lengths 7,3 --config feat_proj_layer_norm=false"
    " num_conv_pos_embeddings=11 conv_dim=[16,24,24] conv_kernel=[10,5,3] conv_stride=[5,4,4] pad_token_id=3",
    "data2vec-odd": "--model data2vec-audio --seed 22 --config conv_pos_kernel_size=8 num_conv_pos_embeddings=3"
    " ctc_loss_reduction=mean conv_bias=true",
    "wavlm-odd": f"--model wavlm --seed 23 --config {STABLE} num_buckets=16 max_bucket_distance=40",
    # pre-norm without a mask, other activations, one group, an epsilon that shows where it is used
    "hubert-stable": f"--model hubert --seed 24 --speech --mask no --lengths 12000,9001,4003,16000 --label-lengths 9,7,0,12"
    f" --config {STABLE} hidden_size=40 num_attention_heads=5 num_hidden_layers=5 hidden_act=gelu_new layer_norm_eps=1e-3"
    " num_conv_pos_embeddings=31 num_conv_pos_embedding_groups=1 ctc_loss_reduction=mean",
    # one wide positional convolution, even, many groups; no mask; three convolutions in the extractor
    "data2vec-one": "--model data2vec-audio --seed 25 --mask no --lengths 5000,4100 --label-lengths 8,3 --config"
    " conv_pos_kernel_size=14 num_conv_pos_embeddings=1 num_conv_pos_embedding_groups=12 hidden_size=36"
    " num_attention_heads=2 conv_dim=[16,24,20] conv_kernel=[10,5,3] conv_stride=[5,4,4] num_hidden_layers=1 pad_token_id=13",
    # bucket bounds at whole numbers, distances beyond the last bucket, one layer
    "wavlm-far": "--model wavlm --seed 26 --speech --lengths 16000,15999 --label-lengths 12,30 --config num_buckets=16"
    " max_bucket_distance=16 num_hidden_layers=1 num_attention_heads=3 hidden_size=36 conv_dim=[32,32,24]"
    " conv_kernel=[10,8,4] conv_stride=[5,8,4]",
    # group norm with a mask, eight layers, an odd number of buckets, one head, very short utterances
    "wavlm-mask": "--model wavlm --seed 27 --mask yes --lengths 6400,420,3000 --label-lengths 10,0,5 --config num_buckets=13"
    " max_bucket_distance=7 num_hidden_layers=8 num_attention_heads=1 hidden_size=24 intermediate_size=50"
    " num_conv_pos_embedding_groups=3 ctc_loss_reduction=mean",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("names", nargs="*", help=f"some of: {' '.join(SETS)}")
    parser.add_argument("--speech", metavar="DIR")
    args = parser.parse_args()
    for name in args.names or SETS:
        if name not in SETS:
            parser.error(f"no set {name!r}; there are {', '.join(SETS)}")
        speech = f"--audio {args.speech}" if args.speech else ""
        options = SETS[name].replace("--speech", speech).split()
        script = Path(__file__).with_name("upstream-parity.py")
        subprocess.run([sys.executable, script, args.root / name, *options], check=True)


if __name__ == "__main__":
    main()
