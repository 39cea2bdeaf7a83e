"""Values of the spectra and of resampling by torchaudio, librosa and NumPy, for test/audio.

Writes test/fixtures/audio/spectra.json and test/fixtures/audio/resample.json. Needs torch, torchaudio and librosa.
The two octave-band descriptors are computed here from Yaafe's published definitions with plain NumPy loops; Yaafe itself
was not run.
"""

import json
import math
from pathlib import Path

import librosa
import numpy as np
import torch
import torchaudio
import torchaudio.compliance.kaldi as kaldi

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "audio"


def signal(count, rate):
    """The test signal, which test/audio/signal.ts makes with the same arithmetic: chirp, tone and noise."""
    state = 12345
    out = np.zeros(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        noise = state / 2**31 - 1
        t = i / rate
        out[i] = 0.4 * math.sin(2 * math.pi * (200 + 2000 * t) * t) + 0.2 * math.sin(2 * math.pi * 440 * t) + 0.1 * noise
    return out.astype(np.float32)


def pack(matrix):
    """Frame-major rows, seven significant digits."""
    array = np.asarray(matrix, dtype=np.float64)
    return {"shape": list(array.shape), "data": [float(f"{v:.7g}") for v in array.ravel()]}


def blocks(x, size, hop):
    padded = np.concatenate([np.zeros(size // 2), x, np.zeros((size - 1) // 2)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    starts = range(0, len(padded) - size + 1, hop)
    return np.array([np.abs(np.fft.rfft(window * padded[s : s + size])) ** 2 for s in starts])


def nearest(x):
    """Rounds halves up, as C does for positive numbers; Python's round takes them to even."""
    return math.floor(x + 0.5)


def octave_intensity(x, rate, size=1024, hop=512, low=27.5):
    count = 1 + int(math.floor(math.log2(rate / 2 / low)))
    peaks = [0.0] + [low * 2**i * size / rate for i in range(count)] + [size / 2]
    rows = []
    for power in blocks(x, size, hop):
        row = []
        for i in range(1, count + 1):
            total = 0.0
            for f in range(math.ceil(peaks[i - 1]), math.floor(peaks[i + 1]) + 1):
                if f < peaks[i]:
                    weight = (f - peaks[i - 1]) / (peaks[i] - peaks[i - 1])
                else:
                    weight = 1 - (f - peaks[i]) / (peaks[i + 1] - peaks[i])
                total += 2 * weight * power[f]
            row.append(math.log(max(total, math.sqrt(power.max() * 1e-6))))
        rows.append(row)
    return rows


def band_flatness(x, rate, size=1024, hop=512):
    top = rate // 2
    bottom = top * 2 ** nearest(math.log2(250 / top))
    bands = []
    k = 0
    while True:
        low, high = bottom * 2 ** (k / 4), bottom * 2 ** ((k + 1) / 4) * 1.05
        if low >= top or high > rate / 2:
            break
        first, last = nearest(low * 0.95 / (rate / size)), nearest(high / (rate / size))
        group = 1 if low < 1000 else 2 ** math.floor(math.log2(low / 500))
        if group > 1:
            last = nearest((last - first + 1) / group) * group + first - 1
        bands.append((first, last + 1, group))
        k += 1
    rows = []
    for power in blocks(x, size, hop):
        row = []
        for first, end, group in bands:
            sums = power[first:end].reshape(-1, group).sum(1) + np.finfo(float).eps
            row.append(np.exp(np.log(sums).mean()) / sums.mean())
        rows.append(row)
    return rows


def spectra():
    rate = 16000
    x = signal(5600, rate)
    wave = torch.from_numpy(x)
    integers = (wave * 32768).unsqueeze(0)
    stft = torch.stft(wave, 400, 160, window=torch.hann_window(400), return_complex=True).T.numpy()
    odd = torch.stft(wave, 251, 300, 199, torch.hamming_window(199), center=False, return_complex=True).T.numpy()
    mel = torchaudio.transforms.MelSpectrogram(rate, 400, hop_length=160, n_mels=40)(wave).T
    mfcc = torchaudio.transforms.MFCC(
        rate, 13, melkwargs={"n_fft": 400, "hop_length": 160, "n_mels": 40, "center": True}
    )(wave)
    melspec = dict(n_fft=512, hop_length=160, win_length=400, n_mels=40, fmin=60, fmax=7000)
    return {
        "samples": 5600,
        "sampleRate": rate,
        "stft": {"frames": [0, 17, 35], "re": pack(stft[[0, 17, 35]].real), "im": pack(stft[[0, 17, 35]].imag)},
        "stftOdd": {"frames": [0, 9, 17], "re": pack(odd[[0, 9, 17]].real), "im": pack(odd[[0, 9, 17]].imag)},
        "melHtk": pack(mel),
        "melSlaney": pack(librosa.feature.melspectrogram(y=x, sr=rate, **melspec).T),
        "mfccTorchaudio": pack(mfcc.T),
        "mfccLibrosa": pack(librosa.feature.mfcc(y=x, sr=rate, n_mfcc=13, **melspec).T),
        "deltas": pack(torchaudio.functional.compute_deltas(mfcc).T),
        "kaldiFbank": pack(kaldi.fbank(integers, sample_frequency=rate)),
        "kaldiFbank80": pack(
            kaldi.fbank(
                integers, num_mel_bins=80, window_type="hamming", snip_edges=False, high_freq=-400.0, low_freq=40.0
            )[::4]
        ),
        "kaldiMfcc": pack(kaldi.mfcc(integers, sample_frequency=rate)),
        "chroma": pack(librosa.feature.chroma_stft(y=x, sr=rate, tuning=0.0).T),
        "octaveIntensity": pack(octave_intensity(x.astype(np.float64), rate)),
        "bandFlatness": pack(band_flatness(x.astype(np.float64), rate)),
    }


def resampling():
    pairs = [(8000, 16000, 400), (44100, 16000, 1200), (48000, 16000, 1200), (22050, 16000, 800), (16000, 8000, 600)]
    pairs += [(11025, 16000, 300), (16000, 44100, 300)]
    best = dict(lowpass_filter_width=64, rolloff=0.9475937167399596, beta=14.769656459379492)
    rows = []
    for source, target, count in pairs:
        wave = torch.from_numpy(signal(count, source)).double()
        out = torchaudio.functional.resample(wave, source, target, resampling_method="sinc_interp_kaiser", **best)
        rows.append({"from": source, "to": target, "samples": count, "expected": pack(out)["data"]})
    # Another sharpness, so that the options are checked too (torchaudio's "kaiser fast").
    fast = dict(lowpass_filter_width=16, rolloff=0.85, beta=8.555504641634386)
    wave = torch.from_numpy(signal(500, 44100)).double()
    out = torchaudio.functional.resample(wave, 44100, 16000, resampling_method="sinc_interp_kaiser", **fast)
    options = {"zeros": 16, "rolloff": 0.85, "beta": 8.555504641634386}
    rows.append({"from": 44100, "to": 16000, "samples": 500, "options": options, "expected": pack(out)["data"]})
    return rows


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "spectra.json").write_text(json.dumps(spectra(), separators=(",", ":")) + "\n")
    (OUT / "resample.json").write_text(json.dumps(resampling(), separators=(",", ":")) + "\n")
