import { countBy, groupBy } from "./group.ts";
import { phoneSymbols, type Utterance } from "./manifest.ts";

/** What a corpus has, in numbers. */
export interface CorpusStats {
  utterances: number;
  /** Undefined where durations are not all known. */
  hours: number | undefined;
  /** Seconds of the shortest, the middle and the longest utterance. */
  seconds: { shortest: number; median: number; longest: number } | undefined;
  speakers: number;
  withText: number;
  withPhones: number;
  /** Distinct phones, sorted. */
  phones: string[];
  /** Utterances of each value of each label that has at most 50 values; the range of each that is a number otherwise. */
  labels: Record<string, Record<string, number> | { from: number; to: number }>;
  splits: Record<string, { utterances: number; hours: number | undefined; speakers: number }>;
  /** Utterances whose grade was simulated. */
  simulated: number;
}

const secondsOf = ({ duration, start = 0, end }: Utterance) =>
  duration ?? (end === undefined ? undefined : end - start);

function hoursOf(utterances: readonly Utterance[]): number | undefined {
  let sum = 0;
  for (const utterance of utterances) {
    const seconds = secondsOf(utterance);
    if (seconds === undefined) return undefined;
    sum += seconds;
  }
  return sum / 3600;
}

const speakersOf = (utterances: readonly Utterance[]) =>
  new Set(utterances.flatMap((u) => (u.speaker === undefined ? [] : [u.speaker]))).size;

/** Counts what a corpus has. Reads no sound files; `withDurations` fills in what the manifest lacks. */
export function corpusStats(utterances: readonly Utterance[]): CorpusStats {
  const hours = hoursOf(utterances);
  const lengths = utterances.map((u) => secondsOf(u) ?? 0).sort((a, b) => a - b);
  const known = hours !== undefined && lengths.length > 0;
  const splits = groupBy(
    utterances.filter((u) => u.split !== undefined),
    (u) => u.split!,
  );
  const given = utterances.flatMap(({ labels = {} }) => Object.entries(labels));
  const values = groupBy(given, ([name]) => name);
  return {
    utterances: utterances.length,
    hours,
    seconds: known
      ? { shortest: lengths[0], median: lengths[lengths.length >> 1], longest: lengths[lengths.length - 1] }
      : undefined,
    speakers: speakersOf(utterances),
    withText: utterances.filter((u) => u.text !== undefined).length,
    withPhones: utterances.filter((u) => u.phones !== undefined).length,
    phones: [...new Set(utterances.flatMap((u) => phoneSymbols(u) ?? []))].sort(),
    labels: Object.fromEntries(
      [...values].flatMap(([name, list]) =>
        summary(
          name,
          list.map(([, value]) => value),
        ),
      ),
    ),
    splits: Object.fromEntries(
      [...splits].map(([name, own]) => [
        name,
        { utterances: own.length, hours: hoursOf(own), speakers: speakersOf(own) },
      ]),
    ),
    simulated: utterances.filter((u) => u.simulated).length,
  };
}

function summary(name: string, values: (string | number)[]) {
  const counts = countBy(values, String);
  if (counts.size <= 50) return [[name, Object.fromEntries(counts)] as const];
  const numbers = values.filter((v) => typeof v === "number");
  if (numbers.length < values.length) return [];
  const from = numbers.reduce((a, b) => Math.min(a, b));
  return [[name, { from, to: numbers.reduce((a, b) => Math.max(a, b)) }] as const];
}
