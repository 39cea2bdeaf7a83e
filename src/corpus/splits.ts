import { quote, UserError } from "../errors.ts";
import { random } from "../random.ts";
import { countBy, groupBy } from "./group.ts";
import type { Utterance } from "./manifest.ts";

/** How a corpus is divided, as a recipe states it. */
export type SplitSpec =
  /** By the manifest's `split` field: train; valid, dev or validation; test. */
  | { by: "field" }
  /** By lists of speakers; whoever is in none of them is for training. */
  | { by: "speakers"; test: string[]; valid?: string[] }
  /**
   * Speaker-independent k-fold: fold `fold` (0 to folds - 1) is the test set, the next `validFolds` (default 1,
   * 0 for none) validate, the rest train. `stratify` names labels whose values are dealt evenly over the folds.
   */
  | { by: "folds"; folds: number; fold: number; seed: number; stratify?: string[]; validFolds?: number }
  /** By lists of utterance ids, kept in a file so that all recipes divide a corpus alike. */
  | { by: "list"; train: readonly string[]; valid: readonly string[]; test: readonly string[] }
  /** By chance over utterances: speakers land on both sides, so this must be asked for (`allowSpeakerOverlap`). */
  | { by: "random"; valid: number; test: number; seed: number };

export interface Split {
  train: Utterance[];
  valid: Utterance[];
  test: Utterance[];
  /**
   * True where no speaker is in two parts, false where one is, undefined where some speakers are not known. Reports
   * must say so: accuracy on known voices is not accuracy on new ones.
   */
  speakerIndependent: boolean | undefined;
}

const parts = ["train", "valid", "test"] as const;
type Part = (typeof parts)[number];

const partNames: Record<string, Part> = {
  train: "train",
  valid: "valid",
  dev: "valid",
  validation: "valid",
  test: "test",
};

/**
 * Divides a corpus. A speaker or a recording in two parts is refused.
 *
 * @throws UserError where the specification does not fit the corpus, or where parts share a speaker and
 *   `allowSpeakerOverlap` is not set.
 */
export function splitCorpus(
  utterances: readonly Utterance[],
  spec: SplitSpec,
  options: { allowSpeakerOverlap?: boolean } = {},
): Split {
  const partOf = assign(utterances, spec);
  const split: Split = { train: [], valid: [], test: [], speakerIndependent: true };
  for (const utterance of utterances) {
    const part = partOf(utterance);
    if (part !== undefined) split[part].push(utterance);
  }
  if (split.train.length === 0) throw new UserError("the split leaves no utterance to train on");
  const shared = sharedSpeakers(split);
  if (shared.length > 0) {
    split.speakerIndependent = false;
    if (!options.allowSpeakerOverlap) {
      const { speaker, first, second } = shared[0];
      const others = shared.length > 1 ? ` (and ${shared.length - 1} other speakers)` : "";
      throw new UserError(
        `speaker ${quote(speaker)} is in both ${first} and ${second}${others}: results would not hold for ` +
          "new voices; split by speakers or folds, or set allowSpeakerOverlap to accept it",
      );
    }
  } else if (utterances.some((u) => u.speaker === undefined)) {
    split.speakerIndependent = undefined;
  }
  return split;
}

/** Speakers (and where speakers are unknown, recordings) that are in two parts of a split. */
export function sharedSpeakers(split: Pick<Split, Part>): { speaker: string; first: Part; second: Part }[] {
  const home = new Map<string, Part>();
  const shared = new Map<string, { speaker: string; first: Part; second: Part }>();
  for (const part of parts) {
    for (const utterance of split[part]) {
      const speaker = utterance.speaker ?? utterance.audio;
      const first = home.get(speaker) ?? part;
      home.set(speaker, first);
      if (first !== part && !shared.has(speaker)) shared.set(speaker, { speaker, first, second: part });
    }
  }
  return [...shared.values()];
}

function assign(
  utterances: readonly Utterance[],
  spec: SplitSpec,
): (utterance: Utterance) => Part | undefined {
  switch (spec.by) {
    case "field":
      return (utterance) => fieldPart(utterance);
    case "speakers":
      return bySpeakers(utterances, spec.test, spec.valid ?? []);
    case "folds": {
      const folds = speakerFolds(utterances, spec);
      const validFolds = spec.validFolds ?? 1;
      if (!(spec.fold >= 0 && spec.fold < spec.folds)) {
        throw new UserError(`fold ${spec.fold} does not exist: folds are numbered 0 to ${spec.folds - 1}`);
      }
      if (validFolds > spec.folds - 2) {
        throw new UserError(
          `${spec.folds} folds leave nothing to train on after 1 test and ${validFolds} validation`,
        );
      }
      return (utterance) => {
        const distance = (folds.get(speakerOf(utterance))! - spec.fold + spec.folds) % spec.folds;
        return distance === 0 ? "test" : distance <= validFolds ? "valid" : "train";
      };
    }
    case "list":
      return byLists(spec);
    case "random":
      return byChance(utterances, spec);
  }
}

function byLists(lists: Extract<SplitSpec, { by: "list" }>): (utterance: Utterance) => Part {
  const home = new Map<string, Part>();
  for (const part of parts)
    for (const id of lists[part]) {
      const first = home.get(id);
      if (first !== undefined)
        throw new UserError(`the split lists utterance ${quote(id)} in both ${first} and ${part}`);
      home.set(id, part);
    }
  return ({ id }) => {
    const part = home.get(id);
    if (part !== undefined) return part;
    throw new UserError(`utterance ${quote(id)} is in no part of the split's lists`);
  };
}

function fieldPart(utterance: Utterance): Part {
  const part = partNames[utterance.split ?? ""];
  if (part !== undefined) return part;
  const given =
    utterance.split === undefined ? "has no split field" : `is in split ${quote(utterance.split)}`;
  throw new UserError(`utterance ${quote(utterance.id)} ${given}; expected train, valid (dev) or test`);
}

function bySpeakers(utterances: readonly Utterance[], test: string[], valid: string[]) {
  const known = new Set(utterances.map(speakerOf));
  const missing = [...test, ...valid].find((speaker) => !known.has(speaker));
  if (missing !== undefined) {
    throw new UserError(
      `no utterance of speaker ${quote(missing)}; the corpus has ${list([...known].sort())}`,
    );
  }
  const both = test.find((speaker) => valid.includes(speaker));
  if (both !== undefined) throw new UserError(`speaker ${quote(both)} is listed for both test and valid`);
  return (utterance: Utterance): Part => {
    const speaker = speakerOf(utterance);
    return test.includes(speaker) ? "test" : valid.includes(speaker) ? "valid" : "train";
  };
}

function byChance(
  utterances: readonly Utterance[],
  { valid, test, seed }: { valid: number; test: number; seed: number },
) {
  if (!(valid >= 0 && test >= 0 && valid + test < 1)) {
    throw new UserError(`valid (${valid}) and test (${test}) must be fractions whose sum is below 1`);
  }
  const order = random(seed, "split").shuffle(utterances.map((u) => u.id).sort());
  const nTest = Math.round(test * order.length);
  const nValid = Math.round(valid * order.length);
  const part = new Map<string, Part>();
  order.forEach((id, i) => {
    part.set(id, i < nTest ? "test" : i < nTest + nValid ? "valid" : "train");
  });
  return (utterance: Utterance) => part.get(utterance.id);
}

/**
 * Assigns speakers to folds 0 to folds - 1. Speakers are ordered by their labels (chance orders those with equal
 * labels) and dealt like cards, so fold sizes differ by at most one speaker, and so do, between folds, the counts of
 * each value of the first label and of each combination of all labels. A speaker whose utterances carry several
 * values of a label counts as the most frequent one. Depends on nothing but speakers, labels and the seed.
 */
export function speakerFolds(
  utterances: readonly Utterance[],
  { folds, seed, stratify = [] }: { folds: number; seed: number; stratify?: string[] },
): Map<string, number> {
  const bySpeaker = groupBy(utterances, speakerOf);
  if (!Number.isInteger(folds) || folds < 2 || folds > bySpeaker.size) {
    throw new UserError(`${folds} folds need between 2 and ${bySpeaker.size} (the number of speakers)`);
  }
  const chance = random(seed, "folds");
  const strata = groupBy(chance.shuffle([...bySpeaker.keys()].sort()), (speaker) =>
    JSON.stringify(stratify.map((label) => usualLabel(bySpeaker.get(speaker)!, label))),
  );
  const dealt = [...strata.keys()].sort().flatMap((key) => strata.get(key)!);
  const seat = chance.shuffle(Array.from({ length: folds }, (_, i) => i));
  return new Map(dealt.map((speaker, i) => [speaker, seat[i % folds]]));
}

function usualLabel(utterances: Utterance[], label: string): string {
  const counts = countBy(utterances, (utterance) => {
    const value = utterance.labels?.[label];
    if (value !== undefined) return String(value);
    throw new UserError(`utterance ${quote(utterance.id)} has no label "${label}" to stratify by`);
  });
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0][0];
}

function speakerOf(utterance: Utterance): string {
  if (utterance.speaker !== undefined) return utterance.speaker;
  throw new UserError(
    `utterance ${quote(utterance.id)} names no speaker, so a speaker-independent split cannot be made`,
  );
}

const list = (items: string[], limit = 12) =>
  items.slice(0, limit).join(", ") + (items.length > limit ? `, ... (${items.length} in all)` : "");
