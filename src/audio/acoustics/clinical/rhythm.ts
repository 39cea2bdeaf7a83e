import { deviation, mean } from "../functionals.ts";
import { type PhoneClass, type PhoneInterval, phoneClassifier } from "./phones.ts";

/** Measures of speech rhythm from vocalic and consonantal intervals; durations in seconds, NaN where undefined. */
export interface Rhythm {
  /** Share of vocalic intervals in the speech, percent (Ramus, Nespor & Mehler, Cognition 73, 1999). */
  percentV: number;
  /** Standard deviations of vocalic and consonantal intervals (ibid.). */
  deltaV: number;
  deltaC: number;
  /** The same over their means, percent (Dellwo 2006; White & Mattys, Journal of Phonetics 35, 2007). */
  varcoV: number;
  varcoC: number;
  /** Mean absolute difference of successive intervals, ms (Grabe & Low 2002). */
  rPviV: number;
  rPviC: number;
  /** The same over the two intervals' mean, percent (ibid.). */
  nPviV: number;
  nPviC: number;
}

/**
 * Successive phones of one class form one interval; silence ends an interval, and the pairwise indices do not reach
 * across it. Phones must be in order of time.
 */
export function rhythm(phones: readonly PhoneInterval[]): Rhythm {
  const classOf = phoneClassifier(phones.map(({ label }) => label));
  const vowels = intervals(phones, classOf, "vowel");
  const consonants = intervals(phones, classOf, "consonant");
  const v = vowels.flat();
  const c = consonants.flat();
  const vocalic = sum(v);
  return {
    percentV: (100 * vocalic) / (vocalic + sum(c)),
    deltaV: v.length > 1 ? deviation(v) : Number.NaN,
    deltaC: c.length > 1 ? deviation(c) : Number.NaN,
    varcoV: v.length > 1 ? (100 * deviation(v)) / mean(v) : Number.NaN,
    varcoC: c.length > 1 ? (100 * deviation(c)) / mean(c) : Number.NaN,
    rPviV: 1000 * pairwise(vowels, (a, b) => Math.abs(a - b)),
    rPviC: 1000 * pairwise(consonants, (a, b) => Math.abs(a - b)),
    nPviV: 100 * pairwise(vowels, (a, b) => Math.abs(a - b) / ((a + b) / 2)),
    nPviC: 100 * pairwise(consonants, (a, b) => Math.abs(a - b) / ((a + b) / 2)),
  };
}

/** Durations of the intervals of a class, by stretch of speech without silence. */
function intervals(
  phones: readonly PhoneInterval[],
  classOf: (label: string) => PhoneClass,
  wanted: PhoneClass,
): number[][] {
  const stretches: number[][] = [[]];
  let open = false;
  for (const { start, end, label } of phones) {
    const found = classOf(label);
    if (found === "silence") stretches.push([]);
    const stretch = stretches[stretches.length - 1];
    if (found === wanted) {
      if (open) stretch[stretch.length - 1] += end - start;
      else stretch.push(end - start);
    }
    open = found === wanted;
  }
  return stretches;
}

function pairwise(stretches: number[][], difference: (a: number, b: number) => number): number {
  const differences = stretches.flatMap((durations) =>
    durations.slice(1).map((duration, i) => difference(durations[i], duration)),
  );
  return differences.length > 0 ? mean(differences) : Number.NaN;
}

function sum(x: number[]): number {
  return x.reduce((total, v) => total + v, 0);
}
