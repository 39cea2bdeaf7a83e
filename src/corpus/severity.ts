import { type Random, random } from "../random.ts";
import { framesPerSecond, type Mark, pitchMarks, trackPitch } from "./pitch-marks.ts";
import { analyzeSource, mix, type SourceFilter, synthesizeSource, tractPower } from "./source-filter.ts";

/**
 * A simulator of graded dysarthria-like speech, for tests, demos and the comparison of methods. It changes recordings
 * along the perceptual dimensions that clinicians rate (F. Darley, A. Aronson and J. Brown, "Differential diagnostic
 * patterns of dysarthria", 1969), each on its own. What it makes is marked `simulated` wherever it is written down. It is
 * no clinical data and says nothing about patients.
 */
export const dimensions = [
  "slowRate",
  "longPauses",
  "monopitch",
  "vowelCentralization",
  "impreciseConsonants",
  "hypernasality",
  "breathiness",
  "roughness",
  "tremor",
] as const;
export type Dimension = (typeof dimensions)[number];

/** The depth of each change, from 0 (none) to 1 (extreme). */
export type SpeechProfile = Record<Dimension, number>;

export const unchanged: SpeechProfile = {
  slowRate: 0,
  longPauses: 0,
  monopitch: 0,
  vowelCentralization: 0,
  impreciseConsonants: 0,
  hypernasality: 0,
  breathiness: 0,
  roughness: 0,
  tremor: 0,
};

/** Grades 0 (none) to 4 (severe). */
export const grades = [0, 1, 2, 3, 4] as const;

/**
 * How a speaker of a grade speaks. Grade and depth go together on the average; who has more of what is chance, so no
 * single dimension gives the grade away, and neighbouring grades overlap in each.
 */
export function speakerProfile(grade: number, speaker: string, seed: number): SpeechProfile {
  const chance = random(seed, "speaker profile", speaker);
  return mapProfile(unchanged, (_, dimension) => {
    const emphasis = 0.75 + 0.4 * chance.next();
    // People differ in tempo, pauses and liveliness however healthy they are, so these tell less of the grade.
    if (habitual.has(dimension)) return 0.6 * (grade / 4) * emphasis + 0.3 * (chance.next() - 0.2);
    return 0.9 * (grade / 4) * emphasis + 0.05 * (chance.next() - 0.3);
  });
}

const habitual = new Set<Dimension>(["slowRate", "longPauses", "monopitch"]);

/** The profile of one utterance: the speaker's, a little better or worse in all and in each dimension. */
export function utteranceProfile(profile: SpeechProfile, utterance: string, seed: number): SpeechProfile {
  const chance = random(seed, "utterance profile", utterance);
  const form = 1 + 0.07 * chance.normal();
  return mapProfile(profile, (depth) => depth * form * (1 + 0.1 * chance.normal()));
}

const mapProfile = (profile: SpeechProfile, change: (depth: number, dimension: Dimension) => number) =>
  Object.fromEntries(
    dimensions.map((d) => [d, Math.min(1, Math.max(0, change(profile[d], d)))]),
  ) as SpeechProfile;

export interface SimulatedSpeech {
  /** [samples] at the rate of the input and of the same loudness (root mean square of what is not pause) */
  samples: Float32Array;
  /** Where a second of the input is in the output: for phone and word times. */
  timeOf: (seconds: number) => number;
}

/**
 * Speaks a recording again, changed to the depths of `profile`. Works on any speech of one voice at 8 kHz or more.
 * Deterministic in its arguments.
 */
export function simulateSpeech(
  samples: Float32Array,
  sampleRate: number,
  profile: SpeechProfile,
  seed: number | string,
): SimulatedSpeech {
  if (samples.length < sampleRate / 20) return { samples: samples.slice(), timeOf: (seconds) => seconds };
  const source = analyzeSource(samples, sampleRate, framesPerSecond);
  const f0 = trackPitch(samples, sampleRate);
  const loudness = frameLoudness(samples, source);
  const clock = stretchedClock(f0, loudness, source, samples.length, profile.slowRate);
  const excitation = speakAgain(samples, source, f0, clock, profile, seed);
  const tract = changedTract(source, f0, loudness, profile);
  const power = source.areas.map(tractPower);
  const changedPower = tract.map(tractPower);
  const weaken = frameWeights(f0, (voiced) => (voiced ? 1 : 1 - 0.75 * profile.impreciseConsonants));
  // The same excitation through a flatter tract would be softer: keep the power that each frame had.
  const gain = power.map((p, frame) => weaken[frame] * Math.sqrt(p / changedPower[frame]));
  for (let n = 0; n < excitation.length; n++) excitation[n] *= at(gain, clock.inputs[n] / source.hop);
  const changed = { areas: tract, hop: source.hop };
  let spoken = synthesizeSource(excitation, changed, (n) => clock.inputs[n]);
  const voicing = frameWeights(f0, (voiced) => (voiced ? 1 : 0));
  if (profile.hypernasality > 0) {
    const nasal = nasalized(spoken, sampleRate, profile.hypernasality);
    spoken = spoken.map((x, n) => x + at(voicing, clock.inputs[n] / source.hop) * (nasal[n] - x));
  }
  if (profile.tremor > 0) {
    const wave = tremorWave(seed);
    spoken = spoken.map((x, n) => x * (1 + 0.45 * profile.tremor * wave(n / sampleRate)));
  }
  const level = rms(samples) / (rms(spoken) || 1);
  const limit = Math.max(1, peakOf(samples));
  const scale = Math.min(level, limit / (peakOf(spoken) || 1));
  spoken = spoken.map((x) => x * scale);
  return withPauses(spoken, clock, loudness, source, profile.longPauses, seed);
}

/** Time that runs slower in speech. */
interface Clock {
  /** Input sample of each output sample [samples of the output]. */
  inputs: Float64Array;
  /** Output sample of an input sample. */
  toOutput(sample: number): number;
}

/** Up to 1.9 times as slow; vowels give more than consonants, and silence nothing (pauses are a matter of their own). */
function stretchedClock(
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
function speakAgain(
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

/** The tract's course after its changes [frames, order]. */
function changedTract(
  { areas }: SourceFilter,
  f0: Float32Array,
  loudness: Float32Array,
  profile: SpeechProfile,
): Float32Array[] {
  const { vowelCentralization, impreciseConsonants } = profile;
  const quiet = silenceBelow(loudness);
  const isVowel = (frame: number) => f0[frame] > 0 && loudness[frame] > quiet + 10;
  const centre = meanRow(areas.filter((_, frame) => isVowel(frame))) ?? meanRow(areas)!;
  let tract = areas;
  // Vowels draw near to this speaker's own middle vowel.
  if (vowelCentralization > 0) {
    tract = tract.map((row, frame) => (f0[frame] > 0 ? mix(row, centre, 0.85 * vowelCentralization) : row));
  }
  if (impreciseConsonants > 0) {
    // Targets are not reached in time: shapes blur into their neighbours, and narrow constrictions stay open.
    tract = blurred(tract, 10 * impreciseConsonants);
    tract = tract.map((row, frame) => (f0[frame] > 0 ? row : mix(row, centre, 0.65 * impreciseConsonants)));
  }
  return tract;
}

/** Gaussian blur over frames; `sigma` in frames. */
function blurred(rows: Float32Array[], sigma: number): Float32Array[] {
  const reach = Math.ceil(2.5 * sigma);
  const weights = Array.from({ length: reach + 1 }, (_, d) => Math.exp(-0.5 * (d / sigma) ** 2));
  return rows.map((row, frame) => {
    const sum = new Float32Array(row.length);
    let total = 0;
    for (let d = -reach; d <= reach; d++) {
      const other = rows[frame + d];
      if (other === undefined) continue;
      const weight = weights[Math.abs(d)];
      total += weight;
      for (let i = 0; i < sum.length; i++) sum[i] += weight * other[i];
    }
    return sum.map((x) => x / total);
  });
}

/**
 * The open velum as one pole and one zero (D. Klatt, "Software for a cascade/parallel formant synthesizer", 1980): they
 * cancel at 270 Hz without nasality, and the zero rises into the first formant with it.
 */
function nasalized(samples: Float32Array, sampleRate: number, depth: number): Float32Array {
  const pole = resonance(270, 100, sampleRate);
  const zero = resonance(270 + 330 * depth, 100, sampleRate);
  const out = new Float32Array(samples.length);
  let [x1, x2, y1, y2] = [0, 0, 0, 0];
  samples.forEach((x, n) => {
    const y = x - zero.b * x1 + zero.c * x2 + pole.b * y1 - pole.c * y2;
    out[n] = y;
    [x1, x2, y1, y2] = [x, x1, y, y1];
  });
  return out;
}

/** Coefficients of 1 - b z^-1 + c z^-2 with its root at a frequency and bandwidth in Hz. */
function resonance(frequency: number, bandwidth: number, sampleRate: number): { b: number; c: number } {
  const radius = Math.exp((-Math.PI * bandwidth) / sampleRate);
  return { b: 2 * radius * Math.cos((2 * Math.PI * frequency) / sampleRate), c: radius ** 2 };
}

/** A slow swing of 4 to 7 Hz, not quite regular; within [-1, 1], a function of seconds. */
function tremorWave(seed: number | string): (seconds: number) => number {
  const chance = random(seed, "tremor");
  const rate = 4 + 3 * chance.next();
  const phase = 2 * Math.PI * chance.next();
  return (seconds) =>
    Math.sin(2 * Math.PI * rate * seconds + phase + 0.5 * Math.sin(2 * Math.PI * 0.7 * seconds));
}

/**
 * Lengthens pauses and puts new ones where the voice is weakest anyway, with the recording's own background noise in
 * them, so that a pause is not betrayed by digital silence.
 */
function withPauses(
  spoken: Float32Array,
  clock: Clock,
  loudness: Float32Array,
  { hop, sampleRate }: SourceFilter,
  depth: number,
  seed: number | string,
): SimulatedSpeech {
  const chance = random(seed, "pauses");
  const pauses = weakPoints(loudness)
    .map((frame) => ({ at: Math.round(clock.toOutput(frame * hop)), wanted: chance.next() < 0.7 * depth }))
    .map((p) => ({ ...p, samples: Math.round(sampleRate * (0.06 + 0.35 * depth * (0.4 + chance.next()))) }))
    .filter((p) => p.wanted && p.at < spoken.length);
  const noise = backgroundLevel(spoken, hop);
  const fade = Math.round(0.004 * sampleRate);
  const pieces: Float32Array[] = [];
  let from = 0;
  for (const { at: to, samples } of pauses) {
    pieces.push(faded(spoken.slice(from, to), from > 0, true, fade));
    pieces.push(Float32Array.from({ length: samples }, () => noise * chance.normal()));
    from = to;
  }
  pieces.push(faded(spoken.slice(from), from > 0, false, fade));
  const timeOf = (seconds: number) => {
    const place = clock.toOutput(seconds * sampleRate);
    const paused = pauses.reduce((sum, p) => sum + (p.at < place ? p.samples : 0), 0);
    return (place + paused) / sampleRate;
  };
  return { samples: joined(pieces), timeOf };
}

/** Frames of least loudness, clearly below what surrounds them, at least 0.2 s apart and inside the speech. */
function weakPoints(loudness: Float32Array): number[] {
  const reach = Math.round(0.1 * framesPerSecond);
  const loud = silenceBelow(loudness) + 10;
  const first = loudness.findIndex((level) => level > loud);
  const last = loudness.findLastIndex((level) => level > loud);
  const found: number[] = [];
  for (let frame = first + reach; frame < last - reach; frame++) {
    const around = loudness.subarray(frame - reach, frame + reach + 1);
    const lowest = Math.min(...around);
    if (
      loudness[frame] === lowest &&
      Math.max(...around) - lowest > 9 &&
      frame - (found.at(-1) ?? -99) >= 2 * reach
    ) {
      found.push(frame);
    }
  }
  return found;
}

function faded(piece: Float32Array, start: boolean, end: boolean, samples: number): Float32Array {
  for (let i = 0; i < Math.min(samples, piece.length); i++) {
    if (start) piece[i] *= i / samples;
    if (end) piece[piece.length - 1 - i] *= i / samples;
  }
  return piece;
}

function joined(pieces: Float32Array[]): Float32Array {
  const out = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** Level of the quietest twentieth of frames (root mean square). */
function backgroundLevel(samples: Float32Array, hop: number): number {
  const levels: number[] = [];
  for (let i = 0; i + hop <= samples.length; i += hop) levels.push(rms(samples.subarray(i, i + hop)));
  levels.sort((a, b) => a - b);
  return levels[Math.floor(levels.length / 20)] ?? 0;
}

/** dB per frame, over 20 ms. */
function frameLoudness(samples: Float32Array, { hop, areas }: SourceFilter): Float32Array {
  return Float32Array.from(areas, (_, frame) => {
    const piece = samples.subarray(Math.max(0, frame * hop - 2 * hop), frame * hop + 2 * hop);
    return 20 * Math.log10(rms(piece) + 1e-6);
  });
}

/** 35 dB below the loudest twentieth of frames: silence. */
function silenceBelow(loudness: Float32Array): number {
  const sorted = loudness.toSorted();
  return sorted[Math.floor(0.95 * (sorted.length - 1))] - 35;
}

/** A weight per frame that depends on voicing, blurred over 20 ms so that nothing clicks. */
function frameWeights(f0: Float32Array, weight: (voiced: boolean) => number): Float32Array {
  const plain = Array.from(f0, (f) => Float32Array.of(weight(f > 0)));
  return Float32Array.from(blurred(plain, 2), (row) => row[0]);
}

/** Value of a course between frames. */
function at(course: ArrayLike<number>, position: number): number {
  const clamped = Math.min(course.length - 1, Math.max(0, position));
  const frame = Math.floor(clamped);
  const next = Math.min(course.length - 1, frame + 1);
  return course[frame] + (clamped - frame) * (course[next] - course[frame]);
}

function rms(samples: Float32Array): number {
  let sum = 0;
  for (const x of samples) sum += x * x;
  return Math.sqrt(sum / Math.max(1, samples.length));
}

function peakOf(samples: Float32Array): number {
  let peak = 0;
  for (const x of samples) peak = Math.max(peak, Math.abs(x));
  return peak;
}

const meanOf = (values: number[]) => values.reduce((sum, x) => sum + x, 0) / Math.max(1, values.length);

function meanRow(rows: Float32Array[]): Float32Array | undefined {
  if (rows.length === 0) return undefined;
  return rows[0].map((_, i) => meanOf(rows.map((row) => row[i])));
}
