import { type Random, random } from "../../random.ts";
import { at, meanOf, rms, silenceBelow } from "./frames.ts";
import { type Mark, pitchMarks } from "./pitch-marks.ts";
import type { SpeechProfile } from "./profile.ts";
import type { SourceFilter } from "./source-filter.ts";

// The voice: its tempo, periods, pulses and breath.

/** Time that runs slower in speech. */
export interface Clock {
  /** Input sample of each output sample [samples of the output]. */
  inputs: Float64Array;
  /** Output sample of an input sample. */
  toOutput(sample: number): number;
}

/** Up to 1.9 times as slow; vowels give more than consonants, and silence nothing (pauses are a matter of their own). */
export function stretchedClock(
  f0: Float32Array,
  loudness: Float32Array,
  { hop }: SourceFilter,
  samples: number,
  depth: number,
): Clock {
  const quiet = silenceBelow(loudness);
  const ends = new Float64Array(loudness.length + 1);
  loudness.forEach((level, frame) => {
    const share = level < quiet ? 0 : f0[frame] > 0 ? 1 : 0.5;
    ends[frame + 1] = ends[frame] + hop * (1 + 0.9 * depth * share);
  });
  const toOutput = (sample: number) => at(ends, sample / hop);
  const inputs = new Float64Array(Math.round(toOutput(samples)));
  let frame = 0;
  for (let n = 0; n < inputs.length; n++) {
    while (frame + 2 < ends.length && ends[frame + 1] <= n) frame++;
    inputs[n] = hop * (frame + (n - ends[frame]) / (ends[frame + 1] - ends[frame]));
  }
  return { inputs, toOutput };
}

/**
 * The excitation at its new times and periods: pitch-synchronous overlap-add (E. Moulines and F. Charpentier, 1990) of
 * grains around the pitch marks, with Hann halves that reach to the neighbouring marks. An unchanged profile gives the
 * residual back.
 */
export function speakAgain(
  samples: Float32Array,
  source: SourceFilter,
  f0: Float32Array,
  clock: Clock,
  profile: SpeechProfile,
  seed: number | string,
): Float32Array {
  const { residual, sampleRate } = source;
  const marks = pitchMarks(samples, residual, sampleRate, f0);
  const chance = random(seed, "voice");
  const wave = tremorWave(seed);
  const out = new Float32Array(clock.inputs.length);
  const meanLogPitch = meanOf([...f0].filter((f) => f > 0).map(Math.log));
  let index = 0;
  let position = 0; // output sample
  let repeats = 0;
  while (position < out.length) {
    const input = clock.inputs[position];
    const before = index;
    while (
      index + 1 < marks.length &&
      Math.abs(marks[index + 1].at - input) <= Math.abs(marks[index].at - input)
    )
      index++;
    repeats = index === before && position > 0 ? repeats + 1 : 0;
    const { voiced } = marks[index];
    const period = spacing(marks, index);
    let stretch = 1;
    let gain = 1;
    if (voiced) {
      const deviation = Math.log(sampleRate / period) - meanLogPitch;
      // Where the tracker errs by octaves, compressing the range would add a mistake of its own.
      const flatter = Math.abs(deviation) < 0.6 ? profile.monopitch * 0.95 * deviation : 0;
      const tremble = 0.1 * profile.tremor * wave(position / sampleRate);
      const jitter = 0.07 * profile.roughness * chance.normal();
      stretch = Math.exp(flatter - tremble) * Math.max(0.6, 1 + jitter);
      gain = Math.max(0.1, 1 + 0.35 * profile.roughness * chance.normal());
      gain *= 1 - 0.55 * profile.breathiness;
    }
    // A noise grain repeated as it is would buzz; backwards it is new noise of the same colour.
    addGrain(out, residual, marks, index, position, gain, !voiced && repeats % 2 === 1);
    if (voiced && profile.breathiness > 0)
      addBreath(out, residual, marks, index, position, profile.breathiness, chance);
    position += Math.max(1, Math.round(period * stretch));
  }
  return out;
}

const spacing = (marks: Mark[], index: number) =>
  index + 1 < marks.length ? marks[index + 1].at - marks[index].at : marks[index].at - marks[index - 1].at;

function addGrain(
  out: Float32Array,
  residual: Float32Array,
  marks: Mark[],
  index: number,
  position: number,
  gain: number,
  backwards: boolean,
): void {
  const centre = marks[index].at;
  const left = centre - (marks[index - 1]?.at ?? centre - 1);
  const right = spacing(marks, index);
  for (let i = 1 - left; i < right; i++) {
    const target = position + (backwards ? -i : i);
    const value = residual[centre + i];
    if (target < 0 || target >= out.length || value === undefined) continue;
    out[target] += gain * halfHann(i, left, right) * value;
  }
}

const halfHann = (i: number, left: number, right: number) =>
  0.5 + 0.5 * Math.cos((Math.PI * i) / (i < 0 ? left : right));

/** Turbulence through a glottis that does not close: bright noise of the period's own strength. */
function addBreath(
  out: Float32Array,
  residual: Float32Array,
  marks: Mark[],
  index: number,
  position: number,
  depth: number,
  chance: Random,
): void {
  const period = spacing(marks, index);
  const centre = marks[index].at;
  const strength = 1.1 * depth * rms(residual.subarray(Math.max(0, centre - (period >> 1)), centre + period));
  let previous = chance.normal();
  for (let i = 0; i < period && position + i < out.length; i++) {
    const white = chance.normal();
    out[position + i] += strength * 0.75 * (white - 0.6 * previous);
    previous = white;
  }
}

/** A slow swing of 4 to 7 Hz, not quite regular; within [-1, 1], a function of seconds. */
export function tremorWave(seed: number | string): (seconds: number) => number {
  const chance = random(seed, "tremor");
  const rate = 4 + 3 * chance.next();
  const phase = 2 * Math.PI * chance.next();
  return (seconds) =>
    Math.sin(2 * Math.PI * rate * seconds + phase + 0.5 * Math.sin(2 * Math.PI * 0.7 * seconds));
}
