"""Tiny recordings in every format that voxsmith reads, and their samples as libsndfile decodes them.

Writes test/fixtures/audio/*.{wav,sph,flac,mp3,ogg,opus} and test/fixtures/audio/files.json. Needs soundfile (libsndfile
1.2 or later) and NumPy.
"""

import json
from pathlib import Path

import numpy as np
import soundfile as sf

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "audio"

# name, container, subtype, byte order, rate, channels, seconds
FILES = [
    ("u8.wav", "WAV", "PCM_U8", None, 8000, 1, 0.04),
    ("s16.wav", "WAV", "PCM_16", None, 16000, 2, 0.02),
    ("s24.wav", "WAV", "PCM_24", None, 16000, 2, 0.02),
    ("s32.wav", "WAV", "PCM_32", None, 16000, 1, 0.02),
    ("f32.wav", "WAV", "FLOAT", None, 16000, 2, 0.02),
    ("f64.wav", "WAV", "DOUBLE", None, 16000, 1, 0.02),
    ("alaw.wav", "WAV", "ALAW", None, 8000, 1, 0.04),
    ("ulaw.wav", "WAV", "ULAW", None, 8000, 1, 0.04),
    ("extensible24.wav", "WAVEX", "PCM_24", None, 16000, 2, 0.02),
    ("extensible-f32.wav", "WAVEX", "FLOAT", None, 16000, 1, 0.02),
    ("rifx.wav", "WAV", "PCM_16", "BIG", 16000, 1, 0.02),
    ("rf64.wav", "RF64", "PCM_16", None, 16000, 1, 0.02),
    ("adpcm.wav", "WAV", "IMA_ADPCM", None, 16000, 1, 0.05),
    ("little.sph", "NIST", "PCM_16", "LITTLE", 16000, 1, 0.02),
    ("big.sph", "NIST", "PCM_16", "BIG", 16000, 2, 0.02),
    ("s24.sph", "NIST", "PCM_24", "BIG", 16000, 1, 0.02),
    ("s8.sph", "NIST", "PCM_S8", None, 8000, 1, 0.02),
    ("ulaw.sph", "NIST", "ULAW", None, 8000, 1, 0.04),
    ("alaw.sph", "NIST", "ALAW", None, 8000, 1, 0.04),
    ("mono16.flac", "FLAC", "PCM_16", None, 16000, 1, 0.3),
    ("stereo24.flac", "FLAC", "PCM_24", None, 44100, 2, 0.11),
    ("mono8.flac", "FLAC", "PCM_S8", None, 8000, 1, 0.3),
    ("mono.mp3", "MP3", None, None, 16000, 1, 0.4),
    ("stereo.mp3", "MP3", None, None, 44100, 2, 0.2),
    ("mono.ogg", "OGG", "VORBIS", None, 16000, 1, 0.3),
    ("stereo.ogg", "OGG", "VORBIS", None, 44100, 2, 0.1),
    ("mono.opus", "OGG", "OPUS", None, 48000, 1, 0.3),
    ("stereo.opus", "OGG", "OPUS", None, 48000, 2, 0.2),
    ("three.opus", "OGG", "OPUS", None, 48000, 3, 0.1),
    # As Common Voice is distributed.
    ("mono48.mp3", "MP3", None, None, 48000, 1, 0.3),
]


def main():
    expected = {}
    random = np.random.default_rng(7)
    for name, container, subtype, endian, rate, channels, seconds in FILES:
        t = np.arange(round(rate * seconds)) / rate
        x = np.stack([0.5 * np.sin(2 * np.pi * (300 + 200 * c + 900 * t) * t) for c in range(channels)], 1)
        x += 0.02 * random.standard_normal(x.shape)
        path = OUT / name
        sf.write(path, x, rate, subtype=subtype, format=container, endian=endian)
        decoded, decoded_rate = sf.read(path, always_2d=True)
        # Some samples of each are enough, and keep the file small.
        step = 3 if len(decoded) < 1000 else 37
        digits = 8 if container in ("MP3", "OGG") else 10
        expected[name] = {
            "sampleRate": decoded_rate,
            "samples": len(decoded),
            "step": step,
            "channels": [[round(float(v), digits) for v in decoded[::step, c]] for c in range(channels)],
        }
    (OUT / "files.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
