"""SentencePiece's own models and what they make of texts: test/fixtures/reference/sentence-piece.json.

    python scripts/reference/sentence-piece.py > test/fixtures/reference/sentence-piece.json

The compiled table of the normaliser (240 kB) is left out of the models that are stored: nothing of it is read.
"""
import base64
import io
import json
import sys

import sentencepiece as spm

TEXT = """the quick brown fox jumps over the lazy dog
she sells sea shells by the sea shore
how much wood would a woodchuck chuck if a woodchuck could chuck wood
peter piper picked a peck of pickled peppers
a proper copper coffee pot
the sixth sick sheik's sixth sheep's sick
übermut tut selten gut, fünf flüsse fließen
we surely shall see the sun shine soon
which witch wished which wicked wish
""".splitlines()
ASKED = TEXT + [
    "the woodchuck's sixth coffee", "unseen words: quixotic jazz!", "  two   spaces and\ttabs ", "", "   ", "ﬁne ﬂows Ⅳ ½",
    "naïve café 東京 ok", "zero\u200bwidth\u00a0nbsp\u3000wide", "x", "Ünder Übermut", "▁ marks ▁", "a\u0007bell", "日本語",
]


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def number(value):
    out = bytearray()
    while True:
        out.append((value & 127) | (128 if value > 127 else 0))
        value >>= 7
        if value == 0:
            return bytes(out)


def without_table(data, path=((3, 2),)):
    """The message without field 2 of its field 3."""
    def walk(message, inside):
        out, at = bytearray(), 0
        while at < len(message):
            start = at
            tag, at = varint(message, at)
            field, wire = tag >> 3, tag & 7
            if wire == 0:
                _, at = varint(message, at)
            elif wire == 5:
                at += 4
            elif wire == 1:
                at += 8
            else:
                size, at = varint(message, at)
                body = message[at:at + size]
                at += size
                if inside and field == 2:
                    continue
                if not inside and field == 3:
                    body = walk(body, True)
                    out += number(tag) + number(len(body)) + body
                    continue
            out += message[start:at]
        return bytes(out)
    return walk(data, False)


models = []
for kind, size, rule in (("bpe", 90, "nmt_nfkc"), ("unigram", 70, "nmt_nfkc"), ("bpe", 60, "identity"), ("unigram", 64, "nfkc_cf")):
    made = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=made, model_type=kind, vocab_size=size, normalization_rule_name=rule,
        minloglevel=2,
    )
    data = made.getvalue()
    model = spm.SentencePieceProcessor(model_proto=data)
    models.append(dict(
        kind=kind, rule=rule, model=base64.b64encode(without_table(data)).decode(),
        pieces=[model.id_to_piece(i) for i in range(model.get_piece_size())],
        encoded=[[text, model.encode(text, out_type=str)] for text in ASKED],
    ))
json.dump(models, sys.stdout, ensure_ascii=False)
