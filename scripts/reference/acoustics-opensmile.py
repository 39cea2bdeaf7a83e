"""openSMILE's values for synthetic signals, so that parity is tested where no recordings are at hand.

    PYTHON scripts/reference/acoustics-opensmile.py > test/fixtures/acoustics/opensmile-synthetic.json

Needs `pip install opensmile numpy` (made with opensmile 2.6.0; its licence forbids shipping it, the numbers below are its
output). The signals are rebuilt by test/acoustics/opensmile-synthetic.test.ts from the same formula. With a folder and a
list of recordings as arguments it writes what scripts/feature-parity.ts reads, in the layout of the reference folder:

    PYTHON scripts/reference/acoustics-opensmile.py FOLDER RECORDING...
"""

import json
import os
import sys

import numpy as np
import opensmile

PARAMETERS = [(16000, 1.5, 120.0, 40.0), (8000, 1.2, 210.0, -50.0), (44100, 1.0, 95.0, 20.0)]


def signal(rate, seconds, f0, glide):
    """Harmonics of f0 + glide t in three bursts, with noise; whole numbers of 1 / 32768."""
    i = np.arange(int(rate * seconds))
    t = i / rate
    phase = 2 * np.pi * (f0 * t + glide * t * t / 2)
    x = sum(np.sin(h * phase) / h**1.2 for h in range(1, 15))
    burst = np.maximum(0, np.sin(2 * np.pi * 2.3 * t)) ** 0.5
    # A linear congruential generator whose states are exact in float64.
    state, noise = 1, np.empty(len(i))
    for k in range(len(i)):
        state = (state * 16807) % 2147483647
        noise[k] = state / 2147483647 - 0.5
    return np.round(32768 * (0.15 * burst * x + 0.01 * noise)) / 32768


def smile(level):
    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, level)


def synthetic():
    out = []
    for rate, seconds, f0, glide in PARAMETERS:
        x = signal(rate, seconds, f0, glide).astype(np.float32)
        functionals = smile(opensmile.FeatureLevel.Functionals).process_signal(x, rate)
        lld = smile(opensmile.FeatureLevel.LowLevelDescriptors).process_signal(x, rate)
        out.append(
            {
                "rate": rate,
                "seconds": seconds,
                "f0": f0,
                "glide": glide,
                "functionals": {k: float(f"{v:.7g}") for k, v in functionals.iloc[0].items()},
                "descriptors": list(lld.columns),
                "frames": len(lld),
                # Every fifth frame.
                "values": [[float(f"{v:.7g}") for v in row] for row in lld.values[::5]],
            }
        )
    print(json.dumps(out, separators=(",", ":")))


def recordings(folder, paths):
    import soundfile

    os.makedirs(f"{folder}/audio", exist_ok=True)
    os.makedirs(f"{folder}/lld", exist_ok=True)
    lines = []
    for path in paths:
        name = os.path.splitext(os.path.basename(path))[0]
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(f"{folder}/audio/{name}.wav", samples, rate, subtype="PCM_16")
        lld = smile(opensmile.FeatureLevel.LowLevelDescriptors).process_file(f"{folder}/audio/{name}.wav")
        with open(f"{folder}/lld/{name}.csv", "w") as f:
            f.write(";".join(["name", "frameTime", *lld.columns]) + "\n")
            for t, row in enumerate(lld.values):
                f.write(";".join([f"'{name}'", f"{t / 100:.6f}", *(f"{v:.7e}" for v in row)]) + "\n")
        functionals = smile(opensmile.FeatureLevel.Functionals).process_file(f"{folder}/audio/{name}.wav")
        if not lines:
            lines.append(";".join(["name", "frameTime", *functionals.columns]))
        lines.append(";".join([f"'{name}'", "0.000000", *(f"{v:.7e}" for v in functionals.values[0])]))
    with open(f"{folder}/eGeMAPSv02_functionals.csv", "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        recordings(sys.argv[1], sys.argv[2:])
    else:
        synthetic()
