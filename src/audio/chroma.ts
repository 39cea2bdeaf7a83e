import { type Filterbank, filterbank } from "./mel.ts";
import { bandEnergies, type FrameMatrix, type StftOptions } from "./spectra.ts";

export interface ChromaOptions extends Partial<StftOptions> {
  /** Pitch classes to the octave (default 12). */
  classes?: number;
  /** Deviation of the tuning from A = 440 Hz in pitch classes (default 0). */
  tuning?: number;
}

/**
 * Energy of each pitch class, C first, the largest of a frame being 1; [frames, classes]. Defaults: a 2048-sample Hann
 * window every 512 samples, centred, padded with zeros. As librosa's `chroma_stft` with fixed tuning (Ellis, "Chroma
 * feature analysis and synthesis", 2007).
 */
export function chroma(samples: Float32Array, sampleRate: number, options: ChromaOptions = {}): FrameMatrix {
  const { classes = 12, tuning = 0, fftSize = 2048, hop = 512, pad = "zeros" } = options;
  const bank = chromaFilterbank(fftSize, sampleRate, classes, tuning);
  const out = bandEnergies(samples, bank, { ...options, fftSize, hop, pad });
  for (let t = 0; t < out.frames; t++) {
    const row = out.data.subarray(t * classes, (t + 1) * classes);
    const top = row.reduce((a, b) => Math.max(a, b), 0);
    // Silence stays zero: float32's smallest normal number is librosa's threshold too.
    if (top > 1.1754944e-38) for (let c = 0; c < classes; c++) row[c] /= top;
  }
  return out;
}

/** Octaves around which all others count less, by a Gaussian of this width (octave 5: 440 Hz is at 4 * 12 classes). */
const [centreOctave, octaveWidth] = [5, 2];

/** Gaussian bumps around each pitch class; each bin's weights have Euclidean norm 1 before the octave weighting. */
function chromaFilterbank(fftSize: number, sampleRate: number, classes: number, tuning: number): Filterbank {
  const a0 = (440 * 2 ** (tuning / classes)) / 16;
  const pitch = Float64Array.from(
    { length: fftSize },
    (_, k) => classes * Math.log2((k * sampleRate) / fftSize / a0),
  );
  pitch[0] = pitch[1] - 1.5 * classes; // 0 Hz has no pitch: a broad bump a little away from the first bin's
  const half = Math.round(classes / 2);
  const shift = 3 * Math.floor(classes / 12); // A stands at 0; turn C there
  const columns = Array.from({ length: (fftSize >> 1) + 1 }, (_, k) => {
    const width = k < fftSize - 1 ? Math.max(1, pitch[k + 1] - pitch[k]) : 1;
    const column = Float64Array.from({ length: classes }, (_, c) => {
      const distance = modulo(pitch[k] - (c + shift) + half, classes) - half;
      return Math.exp(-0.5 * ((2 * distance) / width) ** 2);
    });
    const octave = Math.exp(-0.5 * ((pitch[k] / classes - centreOctave) / octaveWidth) ** 2);
    const scale = octave / Math.hypot(...column);
    return column.map((w) => w * scale);
  });
  return filterbank(classes, columns.length, (c, k) => columns[k][c]);
}

const modulo = (a: number, b: number) => ((a % b) + b) % b;
