import { groupBy } from "../../corpus/group.ts";
import type { Phone, Utterance } from "../../corpus/manifest.ts";
import { frequentWords } from "../../corpus/subsets.ts";
import { UserError } from "../../errors.ts";
import { random } from "../../random.ts";

/** A stretch of speech that has one class of the downstream task. */
export interface Unit {
  /** Seconds from the start of the utterance's audio. */
  readonly start?: number;
  readonly end?: number;
  readonly class: string;
}

/** An utterance with the units that are taken from it. */
export interface UnitSource {
  readonly utterance: Utterance;
  readonly units: readonly Unit[];
}

export interface UnitOptions {
  /** `phones`, `words`, `speaker`, or a label's name. */
  readonly task: string;
  /** At most so many classes, drawn at random (the paper takes 50 speakers); all where absent. */
  readonly classes?: number;
  /** At most so many units of a class, drawn at random; 300 for words as in the paper, else all. */
  readonly perClass?: number;
  /** Shortest phone in frames of 10 ms (default 16, the shipped segments' minimum). */
  readonly leastFrames?: number;
  /** Words count from so many occurrences on (default 300). */
  readonly leastWords?: number;
  readonly seed?: number;
}

/** Cuts a corpus into units of the task's classes (Zaiem et al. 2022, sections IV and VI-C). @throws UserError saying what is missing */
export function unitsOf(utterances: readonly Utterance[], options: UnitOptions): UnitSource[] {
  const { task, classes, perClass, leastFrames = 16, leastWords = 300, seed = 1 } = options;
  if (task === "words") return wordUnits(utterances, leastWords, perClass ?? 300);
  const all = utterances.flatMap((utterance) =>
    (task === "phones" ? phoneUnits(utterance, leastFrames) : [wholeUnit(utterance, task)]).map((unit) => ({
      utterance,
      unit,
    })),
  );
  if (all.length === 0) throw new UserError(`phones: none is as long as ${leastFrames * 10} ms`);
  const byClass = groupBy(all, ({ unit }) => unit.class);
  const names = [...byClass.keys()].sort();
  if (names.length < 2 && all.length < 4)
    throw new UserError(
      `--task ${task}: the corpus has ${all.length} unit(s) of one class; nothing to compare`,
    );
  const drawn = classes === undefined ? names : random(seed, "classes").shuffle(names).slice(0, classes);
  const chosen = new Set(
    drawn.flatMap((name) => {
      const members = byClass.get(name)!;
      return perClass === undefined || members.length <= perClass
        ? members
        : random(seed, "units", name).shuffle(members).slice(0, perClass);
    }),
  );
  return grouped(all.filter((each) => chosen.has(each)));
}

const grouped = (all: readonly { utterance: Utterance; unit: Unit }[]): UnitSource[] =>
  [...groupBy(all, ({ utterance }) => utterance)].map(([utterance, own]) => ({
    utterance,
    units: own.map(({ unit }) => unit),
  }));

function wholeUnit(utterance: Utterance, task: string): Unit {
  const value = task === "speaker" ? utterance.speaker : utterance.labels?.[task];
  if (value === undefined)
    throw new UserError(
      `utterance "${utterance.id}" has no ${task === "speaker" ? "speaker" : `label "${task}"`}; --task names phones, words, speaker or a label that every utterance has`,
    );
  return { class: String(value) };
}

function phoneUnits({ id, phones = [] }: Utterance, leastFrames: number): Unit[] {
  if (phones.some((phone) => typeof phone === "string") || phones.length === 0)
    throw new UserError(
      `utterance "${id}" has no phones with times, which --task phones needs; "voxsmith align" and "voxsmith corpus alignments" find them`,
    );
  return (phones as Phone[])
    .filter(({ start, end }) => Math.trunc(100 * end) - Math.trunc(100 * start) >= leastFrames)
    .map(({ phone, start, end }) => ({ class: phone, start, end }));
}

/** Word segments are utterances of their own already. */
function wordUnits(utterances: readonly Utterance[], least: number, each: number): UnitSource[] {
  const words = frequentWords(utterances, { least, each });
  if (words.length === 0)
    throw new UserError(
      `--task words: no word with times and five letters or more occurs ${least} times; --least-words N asks for fewer`,
    );
  return words.map((utterance) => ({ utterance, units: [{ class: utterance.text! }] }));
}
