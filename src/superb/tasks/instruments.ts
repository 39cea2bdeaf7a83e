import type { Utterance } from "../../corpus/manifest.ts";
import { UserError } from "../../errors.ts";
import { accuracy, classificationScores } from "../../metrics/classification.ts";
import * as ops from "../../ops/index.ts";
import { i32 } from "../../runtime/program.ts";
import { labelOf, listed, type Parts } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { type FeatureSource, type Heard, hiddenState } from "../features.ts";
import { RandomForest } from "../random-forest.ts";
import { common } from "../recipes.ts";
import type { Learner, Measured, Prepare, ProbeRecipe, ProbeTask } from "../task.ts";
import { headOf, pldaRecipe } from "./asv.ts";
import { classesOf, crossEntropySum, XVECTOR, xvectorOf } from "./verification.ts";

/** Instrument recognition of Zaiem et al. (2022), section VIII: one instrument by an x-vector (Medley-solos-DB). */
export const medleySolos: Prepare = async (root, trial) => {
  const folder = folderOf(root, "medley-solos", "Medley-solos-DB", "medley-solos-db");
  const parts = await partsOf(folder, "medley-solos-db");
  needParts("medley-solos", folder, parts, "train", "valid", "test");
  return [xvectorClasses("medley-solos", "instrument", trial?.hidden ?? XVECTOR.width, parts)];
};

/** A label of whole recordings, learned by the layers of an x-vector. */
export function xvectorClasses(name: string, label: string, width: number, parts: Parts): ProbeTask {
  const base = pldaRecipe(parts.train.length, { epochs: 10, width });
  const recipe: ProbeRecipe = {
    ...base,
    head: { ...headOf(width), loss: { name: "softmax" } },
    evaluateEvery: Math.ceil(base.steps / 10),
    best: { metric: "accuracy", higher: true },
    source: "Zaiem et al. 2022, section VIII: as their speaker verification; the best epoch is our choice",
  };
  const { items, parts: indices } = listed(parts, recipe);
  const said = items.map(({ utterance }) => labelOf(utterance, label));
  const classes = [...new Set(indices.train.map((i) => said[i]))].sort();
  const ids = items.map(({ utterance }) => utterance.id);
  const learner: Learner = {
    scores: (input, p) => classesOf(xvectorOf(input, p, width), p, width, classes.length),
    loss(scores, _, __, declare) {
      const labels = declare(ops.input("labels", [scores.shape[0]], "i32"));
      return crossEntropySum(scores, labels, classes.length);
    },
    feeds: (batch) => ({
      labels: i32(
        [batch.length],
        batch.map((item) => classes.indexOf(said[item])),
      ),
    }),
    weight: (batch) => batch.length,
    read: (item, { values }) => ({
      ...{ id: ids[item], reference: said[item] },
      hypothesis: classes[values.indexOf(Math.max(...values))],
    }),
    metrics(predictions) {
      const all = [...predictions.values()];
      return {
        accuracy: accuracy(
          all.map(({ reference }) => String(reference)),
          all.map(({ hypothesis }) => String(hypothesis)),
        ),
      };
    },
  };
  return {
    ...{
      name,
      recipe,
      items,
      parts: indices,
      columns: {},
      notes: ["no batch normalisation between the layers"],
    },
    headline: { metric: "accuracy", higher: true },
    learner: () => learner,
  };
}

/** OpenMIC-2018 with its authors' baseline: a random forest for each instrument on what raters labelled. */
export const openmic: Prepare = async (root) => {
  const folder = folderOf(root, "openmic", "openmic-2018", "OpenMIC-2018");
  const parts = await partsOf(folder, "openmic-2018");
  needParts("openmic", folder, parts, "train", "test");
  return [heardInstruments(parts)];
};

const FOREST = { trees: 100, depth: 8, seed: 0 };
/** Likelihood from which an instrument counts as heard, as in the authors' baseline. */
const HEARD = 0.5;

/** Several labels with likelihoods, each of some of the recordings. */
export function heardInstruments(parts: Parts): ProbeTask {
  const { items, parts: indices } = listed({ ...parts, valid: [] }, recipe);
  return {
    ...{ name: "openmic", recipe, items, parts: indices, columns: {} },
    notes: [
      "F1 is the mean of that of heard and of not heard, `f1.heard` that of heard alone; the paper does not say which it means",
    ],
    headline: { metric: "f1", higher: true },
    measure: (source, log) => measure(source, items, indices, log),
  };
}

async function measure(
  source: FeatureSource,
  items: readonly Heard[],
  { train, test }: ProbeTask["parts"],
  log: (line: string) => void,
): Promise<Measured> {
  const layer = source.upstream.layers - 1;
  const means = new Map<number, Float32Array>();
  for (const item of [...train, ...test]) means.set(item, await meanOf(source, items[item], layer));
  const names = [...new Set(train.flatMap((i) => Object.keys(items[i].utterance.labels ?? {})))].sort();
  const metrics: Record<string, number> = {};
  const answers = new Map<number, Record<string, string>>();
  const scores = names.flatMap((name) => {
    const asked = (part: readonly number[]) =>
      part.filter((i) => likelihood(items[i].utterance, name) !== undefined);
    const truth = (i: number) => (likelihood(items[i].utterance, name)! >= HEARD ? 1 : 0);
    const [known, wanted] = [asked(train), asked(test)];
    if (known.length === 0 || wanted.length === 0) return [];
    const forest = new RandomForest(
      known.map((i) => means.get(i)!),
      known.map(truth),
      2,
      FOREST,
    );
    const said = wanted.map((i) => forest.predict(means.get(i)!));
    for (const [at, i] of wanted.entries())
      answers.set(i, { ...answers.get(i), [name]: said[at] === 1 ? "heard" : "not heard" });
    const { macroF1, classes } = classificationScores(wanted.map(truth), said, [0, 1]);
    metrics[`f1.${name}`] = macroF1;
    log(`openmic: ${name} ${macroF1.toFixed(4)} of ${known.length} and ${wanted.length} clips`);
    return [{ both: macroF1, heard: classes[1].f1 }];
  });
  if (scores.length === 0) throw new UserError("openmic: no instrument is labelled in both parts");
  const mean = (of: (score: (typeof scores)[number]) => number) =>
    scores.reduce((sum, score) => sum + of(score), 0) / scores.length;
  return {
    metrics: { f1: mean(({ both }) => both), "f1.heard": mean(({ heard }) => heard), ...metrics },
    predictions: [...answers].map(([i, hypothesis]) => ({ id: items[i].utterance.id, hypothesis })),
    layer,
  };
}

const likelihood = ({ labels }: Utterance, name: string): number | undefined => {
  const value = labels?.[name];
  return value === undefined ? undefined : Number(value);
};

/** A hidden state's mean over time. */
async function meanOf(source: FeatureSource, heard: Heard, layer: number): Promise<Float32Array> {
  const features = await source.get(heard);
  const states = hiddenState(features, layer);
  const mean = new Float64Array(features.dim);
  for (const [i, value] of states.entries()) mean[i % features.dim] += value / features.frames;
  return Float32Array.from(mean);
}

const recipe: ProbeRecipe = {
  ...common,
  head: { type: "random forest", ...FOREST, features: "sqrt", heard: HEARD },
  ...{ steps: 0, batch: 1, sampling: "shuffle", evaluateEvery: 1 },
  source: "recalled: the authors' baseline notebook (100 trees, depth 8, likelihood 0.5)",
};
