import { percentile } from "../functionals.ts";

/** Loudness contour of speech with its pauses and syllable nuclei, all at 100 frames a second. */
export interface SpeechActivity {
  /** Level of each frame, dB re full scale. */
  levels: Float64Array;
  /** Frames from the first to the last that is not silent, [first, end). */
  speech: [first: number, end: number];
  /** Silent stretches inside the speech that last at least `minPause`, [first, end) in frames. */
  pauses: [first: number, end: number][];
  /** Frames of syllable nuclei. */
  nuclei: number[];
}

const stepSeconds = 0.01;
const windowSeconds = 0.064;
/** Below the loud part of the recording by so many dB a frame is silent. */
const silenceDb = 25;
/** A pause shorter than this, in seconds, is a stop closure. */
const minPause = 0.3;
/** A syllable's peak rises at least so many dB above the valley before it. */
const minDip = 2;

/**
 * Pauses and syllable nuclei from level and voicing alone (N. H. de Jong & T. Wempe, "Praat script to detect syllable nuclei
 * and measure speech rate automatically", Behavior Research Methods 41, 2009). `voiced` tells for a frame whether it is.
 */
export function speechActivity(
  samples: Float32Array,
  sampleRate: number,
  voiced: (frame: number) => boolean,
): SpeechActivity {
  const levels = levelContour(samples, sampleRate);
  const sorted = Float64Array.from(levels).sort();
  const threshold = Math.max(percentile(sorted, 0.99) - silenceDb, sorted[0] ?? Number.NEGATIVE_INFINITY);
  const loud = Array.from(levels, (level) => level > threshold);
  const first = Math.max(0, loud.indexOf(true));
  const end = loud.lastIndexOf(true) + 1;
  const pauses: [number, number][] = [];
  for (let t = first; t < end; ) {
    if (loud[t]) t++;
    else {
      const from = t;
      while (t < end && !loud[t]) t++;
      if ((t - from) * stepSeconds >= minPause) pauses.push([from, t]);
    }
  }
  return { levels, speech: [first, Math.max(first, end)], pauses, nuclei: nuclei(levels, threshold, voiced) };
}

/** Mean power in a Gaussian-like window around each frame, dB. */
function levelContour(samples: Float32Array, sampleRate: number): Float64Array {
  const size = Math.round(windowSeconds * sampleRate);
  const step = stepSeconds * sampleRate;
  const window = Float64Array.from(
    { length: size },
    (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / size),
  );
  const total = window.reduce((sum, w) => sum + w, 0);
  return Float64Array.from({ length: Math.ceil(samples.length / step) }, (_, t) => {
    const start = Math.round((t + 0.5) * step - size / 2);
    let power = 0;
    for (let i = 0; i < size; i++) {
      const v = samples[start + i] ?? 0;
      power += window[i] * v * v;
    }
    return 10 * Math.log10(Math.max(1e-12, power / total));
  });
}

/** Peaks above the threshold, `minDip` above the valley before them, in voiced frames. */
function nuclei(levels: Float64Array, threshold: number, voiced: (frame: number) => boolean): number[] {
  const found: number[] = [];
  let valley = Number.POSITIVE_INFINITY;
  let peak = -1;
  const close = () => {
    if (peak >= 0 && voiced(peak)) found.push(peak);
    peak = -1;
  };
  for (let t = 0; t < levels.length; t++) {
    const level = levels[t];
    if (peak >= 0 && level > levels[peak]) peak = t;
    else if (peak >= 0 && level < levels[peak] - minDip) {
      close();
      valley = level;
    } else if (peak < 0) {
      valley = Math.min(valley, level);
      if (level > threshold && level > valley + minDip) peak = t;
    }
  }
  close();
  return found;
}
