import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { readManifest, type Utterance } from "../../corpus/manifest.ts";
import type { Trial } from "../../corpus/readers/voxceleb.ts";
import { readSplitFile } from "../../corpus/split-file.ts";
import { splitCorpus } from "../../corpus/splits.ts";
import { UserError } from "../../errors.ts";
import { random } from "../../random.ts";
import { classTask, labelOf, type Parts, sequenceTask, speakerOf } from "../build.ts";
import type { CtcHead } from "../ctc-task.ts";
import { common } from "../recipes.ts";
import type { ProbeRecipe, ProbeTask } from "../task.ts";
import { MARGIN } from "./asv.ts";
import { verificationTask } from "./verification.ts";

/*
 * A suite on an hour of real speech instead of SUPERB's thousand: what a representation has of phones, speakers, words
 * and values, in minutes. Heads and losses are SUPERB's; steps and batches fit the data. Its numbers compare models with
 * each other, never with the literature.
 */

const source = "voxsmith's own; heads as in s3prl";

const recipe = (steps: number, batch: number, lr: number, best: string, higher: boolean): ProbeRecipe => ({
  ...common,
  optimizer: { ...common.optimizer, lr },
  head: { projection: 256, pool: higher ? "mean" : "none" },
  ...{ steps, batch, sampling: "buckets", evaluateEvery: Math.ceil(steps / 6) },
  best: { metric: best, higher },
  source,
});

/** Manifest of one of the corpora below `root`. */
function corpus(root: string, name: string): Utterance[] {
  if (existsSync(join(root, name))) return readManifest(join(root, name));
  throw new UserError(
    `${root}: the miniature suite needs the folder ${name} with its manifest there; name another --corpus-root`,
  );
}

const byChance = "split by chance: speakers are not labelled, so voices may be on both sides";

/** The split of a corpus that all recipes share: models/nano was pre-trained on its training part alone. */
const SHARED = resolve(import.meta.dirname, "../../../recipes/splits/shared.json");
export const sharedParts = (root: string, name: string): Parts =>
  splitCorpus(corpus(root, name), readSplitFile(SHARED, name));

/**
 * SUPERB's head of phones, one linear layer a frame, hardly learns from an hour of speech (nor from a hundred of log mel, where its
 * error rate is 82 %), so that it ranked nothing here. Two time-delay layers hear what stands beside a frame. Two frames become
 * one first, where they are not 40 ms already: these readers take 200 ms for a phone, and the fewer blanks stand between labels, the
 * sooner CTC finds them.
 */
const PHONE_HEAD = {
  stack: 2,
  longest: 0.04,
  delays: [
    { width: 128, context: 5, dilation: 1 },
    { width: 128, context: 3, dilation: 1 },
  ],
} satisfies CtcHead;

/** Canonical phones of read English. Rate and batch are those that learned most from validation speakers (docs/superb.md). */
export function phoneTask(name: string, parts: Parts, steps: number): ProbeTask {
  const base = recipe(steps, 8, 3e-3, "per", false);
  return sequenceTask(
    {
      name,
      recipe: {
        ...base,
        schedule: { name: "linear", warmup: 0.05, finalScale: 0 },
        head: { type: "time-delay", ...PHONE_HEAD },
        source: "voxsmith's own",
      },
      notes: ["phones are the canonical ones of the words, not what learners of English said"],
      columns: {},
      head: PHONE_HEAD,
      vocabulary: { unit: "phones", dropStress: true },
      rates: { per: "phones" },
      headline: "per",
    },
    parts,
  );
}

/** Canonical phones by speakers that the probe did not hear. */
export const miniaturePhonemes = (root: string): ProbeTask =>
  phoneTask("mini-phonemes", sharedParts(root, "speechocean762"), 1500);

/** Which of 54 speakers reads a sentence. */
export function miniatureSpeakers(root: string): ProbeTask {
  const utterances = corpus(root, "speechocean762");
  // Of each speaker's 20 sentences 3 are for validation and 3 for the test: the classes are known voices.
  const parts = eachDivided(utterances, (u) => u.speaker ?? "", 0.15, 0.15);
  return classTask(
    {
      ...{ name: "mini-speakers", recipe: recipe(600, 16, 1e-3, "accuracy", true), columns: {} },
      notes: ["closed set: the same speakers in every part"],
      ...{ projection: 256, labels: ["speaker"], answerOf: speakerOf },
    },
    parts,
  );
}

/** One of six wake words, spoken alone or in noise. */
export function miniatureKeywords(root: string): ProbeTask {
  return classTask(
    {
      ...{ name: "mini-keywords", recipe: recipe(400, 16, 1e-3, "accuracy", true), columns: {} },
      notes: [byChance],
      ...{ projection: 256, labels: ["keyword"], answerOf: labelOf },
    },
    eachDivided(corpus(root, "wakewords"), (u) => labelOf(u, "keyword"), 0.2, 0.3),
  );
}

/** Values of the slots of spoken drink orders: for each slot the value, or that it is not there. */
export function miniatureSlots(root: string): ProbeTask {
  const utterances = corpus(root, "barista");
  const slots = [...new Set(utterances.flatMap((u) => Object.keys(u.slots ?? {})))].sort();
  return classTask(
    {
      ...{ name: "mini-slots", recipe: recipe(400, 16, 1e-3, "accuracy.mean", true), columns: {} },
      notes: [
        byChance,
        "the corpus has no transcripts: a question for each slot instead of SUPERB's tagged text; values that training never had are never right",
      ],
      ...{ projection: 256, labels: slots, answerOf: (u, slot) => u.slots?.[slot] ?? "(none)" },
      headline: "accuracy.mean",
    },
    splitCorpus(utterances, { by: "random", valid: 0.2, test: 0.3, seed: 0 }),
  );
}

/** Digits by two speakers that the probe did not hear. */
export function miniatureDigits(root: string): ProbeTask {
  const parts = sharedParts(root, "fsdd");
  return classTask(
    {
      ...{ name: "mini-digits", recipe: recipe(400, 32, 1e-3, "accuracy", true), columns: {}, notes: [] },
      ...{ projection: 256, labels: ["digit"], answerOf: labelOf },
    },
    parts,
  );
}

/**
 * Whether two sentences are by the same of 12 speakers that the probe did not hear: all pairs of their sentences.
 * @param kept which recordings take part; default all
 */
export function miniatureVerification(root: string, kept = (_: Utterance) => true): Promise<ProbeTask> {
  const { train, test } = sharedParts(root, "speechocean762");
  const parts = { train: train.filter(kept), test: test.filter(kept) };
  const labelled = ({ labels, ...u }: Utterance) => ({ ...u, labels: { ...labels, speaker: speakerOf(u) } });
  // The last head counts: choosing one by the trials would make them part of the training.
  const { best: _, ...base } = recipe(600, 16, 1e-3, "eer", false);
  const given = { ...base, head: { type: "x-vector", width: 128 }, evaluateEvery: base.steps };
  return verificationTask(
    {
      ...{ name: "mini-verification", columns: {}, notes: ["all pairs of the test part"], recipe: given },
      ...{ width: 128, verification: MARGIN, shortest: 2, list: root },
    },
    { train: parts.train.map(labelled), valid: [], test: parts.test.map(labelled) },
    pairs(parts.test),
  );
}

/** Every pair of recordings as a trial. */
export function pairs(utterances: readonly Utterance[]): Trial[] {
  return utterances.flatMap((a, i) =>
    utterances.slice(i + 1).map((b) => ({ first: a.id, second: b.id, same: speakerOf(a) === speakerOf(b) })),
  );
}

/** Divides the utterances of each class by chance, in the same shares. */
function eachDivided(
  utterances: readonly Utterance[],
  classOf: (u: Utterance) => string,
  valid: number,
  test: number,
): Parts {
  const parts: Record<keyof Parts, Utterance[]> = { train: [], valid: [], test: [] };
  const classes = new Map<string, Utterance[]>();
  for (const utterance of utterances)
    classes.set(classOf(utterance), [...(classes.get(classOf(utterance)) ?? []), utterance]);
  for (const [name, members] of [...classes].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const order = random(0, "mini", name).shuffle([...members].sort((a, b) => (a.id < b.id ? -1 : 1)));
    const [tests, valids] = [test, valid].map((share) => Math.round(share * order.length));
    parts.test.push(...order.slice(0, tests));
    parts.valid.push(...order.slice(tests, tests + valids));
    parts.train.push(...order.slice(tests + valids));
  }
  return parts;
}
