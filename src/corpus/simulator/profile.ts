import { random } from "../../random.ts";

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
