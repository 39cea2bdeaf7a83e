import { realFft } from "../../src/audio/fft.ts";
import { trackPitch } from "../../src/corpus/simulator/pitch-marks.ts";

// Plain measurements for the tests of the simulator: each takes the sound as it is, whatever made it.

const points = 256;

function powerSpectrum(piece: Float64Array): Float64Array {
  const plan = realFft(points);
  const [re, im] = [new Float64Array(plan.bins), new Float64Array(plan.bins)];
  plan.forward(piece, re, im);
  return re.map((x, bin) => x * x + im[bin] * im[bin]);
}

/** Power spectra of 16 ms frames at 16 kHz, every 10 ms, with the frame's voicing. */
export function spectra(samples: Float32Array): { power: Float64Array; voiced: boolean; energy: number }[] {
  const f0 = trackPitch(samples, 16000);
  const out: { power: Float64Array; voiced: boolean; energy: number }[] = [];
  for (let start = 0; start + points <= samples.length; start += 160) {
    const piece = Float64Array.from(
      { length: points },
      (_, i) => samples[start + i] * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / points)),
    );
    const power = powerSpectrum(piece);
    const voiced = f0[Math.round((start + points / 2) / 80)] > 0;
    out.push({ power, voiced, energy: power.reduce((a, b) => a + b, 0) });
  }
  return out;
}

const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
export const deviation = (x: number[]) => Math.sqrt(mean(x.map((v) => (v - mean(x)) ** 2)));
const hz = (bin: number) => (bin * 16000) / points;
const band = (power: Float64Array, low: number, high: number) =>
  power.reduce((sum, p, bin) => (hz(bin) >= low && hz(bin) < high ? sum + p : sum), 0);

/** Standard deviation of the pitch in semitones. */
export function pitchSpread(samples: Float32Array): number {
  const voiced = [...trackPitch(samples, 16000)].filter((f) => f > 0).map((f) => 12 * Math.log2(f));
  const sorted = voiced.sort((a, b) => a - b);
  return deviation(sorted.slice(Math.floor(0.05 * sorted.length), Math.ceil(0.95 * sorted.length)));
}

/** How far vowels lie from their mean: the standard deviation over loud voiced frames of log band energies, dB. */
export function vowelSpread(samples: Float32Array): number {
  const frames = spectra(samples).filter((f) => f.voiced);
  const loud = Math.max(...frames.map((f) => f.energy)) / 300;
  const bands = frames
    .filter((f) => f.energy > loud)
    .map(({ power, energy }) =>
      [300, 600, 900, 1300, 1800, 2400].map(
        (low) => 10 * Math.log10(band(power, low, low * 1.35) / energy + 1e-5),
      ),
    );
  return mean(bands[0].map((_, i) => deviation(bands.map((b) => b[i]))));
}

/** Energy above 3 kHz of unvoiced frames against all energy, dB: how sharp fricatives and bursts are. */
export function frication(samples: Float32Array): number {
  const all = spectra(samples);
  const total = all.reduce((sum, f) => sum + f.energy, 0);
  const sharp = all.reduce((sum, f) => sum + (f.voiced ? 0 : band(f.power, 3000, 8000)), 0);
  return 10 * Math.log10(sharp / total + 1e-9);
}

/** Energy around the nasal formant against that of the first formant's region in voiced frames, dB. */
export function nasality(samples: Float32Array): number {
  const voiced = spectra(samples).filter((f) => f.voiced);
  const sum = (low: number, high: number) => voiced.reduce((s, f) => s + band(f.power, low, high), 0);
  return 10 * Math.log10(sum(180, 400) / sum(500, 1000));
}

/** Harmonics to noise in dB: the mean normalised autocorrelation at the tracked period, above 1 kHz too. */
export function harmonicity(samples: Float32Array): number {
  const f0 = trackPitch(samples, 16000);
  const values: number[] = [];
  f0.forEach((pitch, frame) => {
    if (pitch === 0 || frame % 2 === 1) return;
    const start = frame * 80 - 320;
    let best = 0;
    const due = 16000 / pitch;
    for (let lag = Math.floor(due * 0.93); lag <= Math.ceil(due * 1.07); lag++) {
      let [xy, xx, yy] = [0, 1e-9, 1e-9];
      for (let i = start; i < start + 480; i++) {
        const a = (samples[i] ?? 0) - 0.9 * (samples[i - 1] ?? 0);
        const b = (samples[i + lag] ?? 0) - 0.9 * (samples[i + lag - 1] ?? 0);
        xy += a * b;
        xx += a * a;
        yy += b * b;
      }
      best = Math.max(best, xy / Math.sqrt(xx * yy));
    }
    const r = Math.min(0.999, Math.max(0.001, best));
    values.push(10 * Math.log10(r / (1 - r)));
  });
  return mean(values);
}

/** How strongly the loudness of a sustained sound swings at 3.5 to 7.5 Hz, relative to its mean. */
export function tremorDepth(samples: Float32Array): number {
  const levels: number[] = [];
  for (let i = 0; i + 160 <= samples.length; i += 160) {
    levels.push(Math.sqrt(samples.subarray(i, i + 160).reduce((s, x) => s + x * x, 0) / 160));
  }
  const centre = mean(levels);
  let strongest = 0;
  for (let f = 3.5; f <= 7.5; f += 0.25) {
    let [re, im] = [0, 0];
    levels.forEach((level, t) => {
      re += (level - centre) * Math.cos((2 * Math.PI * f * t) / 100);
      im += (level - centre) * Math.sin((2 * Math.PI * f * t) / 100);
    });
    strongest = Math.max(strongest, (2 * Math.hypot(re, im)) / levels.length / centre);
  }
  return strongest;
}

/** Seconds of the signal below a thirtieth of its loudness, within the speech. */
export function pauseSeconds(samples: Float32Array): number {
  const levels: number[] = [];
  for (let i = 0; i + 160 <= samples.length; i += 160) {
    levels.push(Math.sqrt(samples.subarray(i, i + 160).reduce((s, x) => s + x * x, 0) / 160));
  }
  const floor = levels.toSorted((a, b) => b - a)[Math.floor(levels.length / 20)] / 30;
  const first = levels.findIndex((level) => level > floor);
  const last = levels.findLastIndex((level) => level > floor);
  return levels.slice(first, last).filter((level) => level <= floor).length / 100;
}
