/** Diarization error rate with the semantics of NIST's md-eval (version 22). */
import { assign } from "./assignment.ts";

/** A stretch of one speaker, in seconds. */
export interface Turn {
  speaker: string;
  start: number;
  end: number;
}

export interface DiarizationOptions {
  /** Seconds on either side of each reference boundary that are not scored, default 0 (NIST's evaluations: 0.25). */
  collar?: number;
  /** Scores only where at most one reference speaker speaks. */
  singleSpeaker?: boolean;
  /** What is scored; default, as md-eval: from the first start to the last end of the reference. */
  regions?: readonly { start: number; end: number }[];
}

export interface DiarizationError {
  /** (missed + falseAlarm + confusion) / scored; can exceed 1. */
  rate: number;
  /** Seconds of reference speech in the scored regions, overlapping speakers each counted. */
  scored: number;
  missed: number;
  falseAlarm: number;
  confusion: number;
  /** Hypothesis speaker of each reference speaker that has one. */
  mapping: Record<string, string>;
}

/** A stretch in which nobody starts or stops. */
interface Piece {
  seconds: number;
  reference: string[];
  hypothesis: string[];
}

/**
 * Error of `hypothesis` against `reference`, one recording. Speakers are mapped one to one so that their common time is
 * longest, over the whole scored regions, collars included: md-eval fixes the mapping before it cuts the collars out.
 */
export function diarizationError(
  reference: readonly Turn[],
  hypothesis: readonly Turn[],
  { collar = 0, singleSpeaker = false, regions }: DiarizationOptions = {},
): DiarizationError {
  const whole = regions ?? [
    {
      start: reference.reduce((least, { start }) => Math.min(least, start), Infinity),
      end: reference.reduce((most, { end }) => Math.max(most, end), -Infinity),
    },
  ];
  const mapping = mapSpeakers(pieces(reference, hypothesis, whole, []));

  const collars =
    collar > 0
      ? reference.flatMap(({ start, end }) =>
          [start, end].map((time) => ({ start: time - collar, end: time + collar })),
        )
      : [];
  const total = { scored: 0, missed: 0, falseAlarm: 0, confusion: 0 };
  for (const piece of pieces(reference, hypothesis, whole, collars)) {
    const [said, heard] = [piece.reference.length, piece.hypothesis.length];
    if (singleSpeaker && said > 1) continue;
    const right = piece.reference.filter((speaker) => piece.hypothesis.includes(mapping[speaker])).length;
    total.scored += said * piece.seconds;
    total.missed += Math.max(0, said - heard) * piece.seconds;
    total.falseAlarm += Math.max(0, heard - said) * piece.seconds;
    total.confusion += (Math.min(said, heard) - right) * piece.seconds;
  }
  const wrong = total.missed + total.falseAlarm + total.confusion;
  return { rate: wrong === 0 ? 0 : wrong / total.scored, ...total, mapping };
}

/** Adds recordings up: the rate of the whole is all wrong time over all scored time. */
export function sumDiarization(recordings: readonly DiarizationError[]): Omit<DiarizationError, "mapping"> {
  const total = { scored: 0, missed: 0, falseAlarm: 0, confusion: 0 };
  for (const one of recordings)
    for (const key of ["scored", "missed", "falseAlarm", "confusion"] as const) total[key] += one[key];
  const wrong = total.missed + total.falseAlarm + total.confusion;
  return { rate: wrong === 0 ? 0 : wrong / total.scored, ...total };
}

function mapSpeakers(all: readonly Piece[]): Record<string, string> {
  const names = (side: "reference" | "hypothesis") =>
    [...new Set(all.flatMap((piece) => piece[side]))].sort();
  const [rows, columns] = [names("reference"), names("hypothesis")];
  const common = rows.map(() => columns.map(() => 0));
  for (const { reference, hypothesis, seconds } of all)
    for (const r of reference)
      for (const h of hypothesis) common[rows.indexOf(r)][columns.indexOf(h)] += seconds;
  const mapping: Record<string, string> = {};
  assign(common).forEach((column, row) => {
    if (column >= 0 && common[row][column] > 0) mapping[rows[row]] = columns[column];
  });
  return mapping;
}

/** Cuts the regions at every start and end, and leaves out what lies in `excluded`. */
function pieces(
  reference: readonly Turn[],
  hypothesis: readonly Turn[],
  regions: readonly { start: number; end: number }[],
  excluded: readonly { start: number; end: number }[],
): Piece[] {
  const spans = [...reference, ...hypothesis, ...regions, ...excluded];
  const times = [...new Set(spans.flatMap(({ start, end }) => [start, end]))].sort((a, b) => a - b);
  const speakers = (turns: readonly Turn[], time: number) => [
    ...new Set(turns.filter((turn) => covers(turn, time)).map(({ speaker }) => speaker)),
  ];
  const out: Piece[] = [];
  for (let i = 0; i + 1 < times.length; i++) {
    const middle = (times[i] + times[i + 1]) / 2;
    const counts = regions.some((region) => covers(region, middle));
    if (!counts || excluded.some((zone) => covers(zone, middle))) continue;
    out.push({
      seconds: times[i + 1] - times[i],
      reference: speakers(reference, middle),
      hypothesis: speakers(hypothesis, middle),
    });
  }
  return out;
}

const covers = ({ start, end }: { start: number; end: number }, time: number) => start <= time && time < end;
