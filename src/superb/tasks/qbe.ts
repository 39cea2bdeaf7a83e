import { existsSync } from "node:fs";
import { join } from "node:path";
import { readLines } from "../../corpus/formats/table.ts";
import type { Utterance } from "../../corpus/manifest.ts";
import { readers } from "../../corpus/readers/index.ts";
import { filesBelow, readCorpus } from "../../corpus/readers/reader.ts";
import { scaledDistances, subsequenceDtw } from "../../decode/subsequence-dtw.ts";
import { UserError } from "../../errors.ts";
import { falseAlarmWeight, maxTermWeightedValue, type TermTrials } from "../../metrics/term-detection.ts";
import * as ops from "../../ops/index.ts";
import { compile } from "../../runtime/cpu.ts";
import { f32, type Program } from "../../runtime/program.ts";
import { symbol } from "../../tensor/dims.ts";
import { progress } from "../../train/progress.ts";
import { folderOf } from "../corpora.ts";
import { type FeatureSource, type Heard, hiddenState } from "../features.ts";
import { common } from "../recipes.ts";
import type { Measured, Prepare, ProbeRecipe, ProbeTask } from "../task.ts";

/** Queries of fewer frames are not searched for; their scores are 0. */
const SHORTEST = 5;
/** QUESST's prior and costs, 12.49 in all. */
const BETA = falseAlarmWeight({ prior: 0.0008, costMiss: 100, costFalseAlarm: 1 });

/** SUPERB's query by example: where a spoken query occurs, by time warping of hidden states; nothing is trained. */
export const qbe: Prepare = async (root) => {
  const folder = folderOf(root, "qbe", "quesst14Database", "QUESST14");
  const all = await readCorpus("quesst14", readers, folder, { language: "nnenglish" });
  const documents = all.filter(({ labels }) => labels?.role === "document");
  const queries = (split: string) =>
    all.filter(({ labels, split: its }) => labels?.role === "query" && its === split);
  return [
    searchTask(recipe, {
      documents,
      valid: { queries: queries("valid"), occurrences: occurrencesIn(folder, "dev") },
      test: { queries: queries("test"), occurrences: occurrencesIn(folder, "eval") },
    }),
  ];
};

/** Documents (by the stem of their files) in which each query (by the stem of its file) occurs. */
export type Occurrences = ReadonlyMap<string, ReadonlySet<string>>;

export interface Search {
  readonly queries: readonly Utterance[];
  readonly occurrences: Occurrences;
}

/** The scoring package's RTTM: "LEXEME quesst14_00001 1 0 0 quesst14_dev_0001 ...". */
function occurrencesIn(folder: string, part: "dev" | "eval"): Occurrences {
  const truth = join(folder, "scoring", `groundtruth_quesst14_${part}`);
  const name = existsSync(truth) ? filesBelow(truth, ".rttm")[0] : undefined;
  if (name === undefined)
    throw new UserError(`${truth}: there is no .rttm file that says where the queries occur`);
  const found = new Map<string, Set<string>>();
  for (const { line, text } of readLines(join(truth, name))) {
    const [type, document, , , , query] = text.trim().split(/\s+/);
    if (type !== "LEXEME") continue;
    if (query === undefined)
      throw new UserError(`${join(truth, name)}:${line}: expected "LEXEME document 1 start duration query"`);
    const documents = found.get(query) ?? new Set<string>();
    found.set(query, documents.add(document));
  }
  return found;
}

/** The task on any documents and queries. */
export function searchTask(
  given: ProbeRecipe,
  { documents, valid, test }: { documents: readonly Utterance[]; valid: Search; test: Search },
): ProbeTask {
  const items = [...valid.queries, ...test.queries, ...documents].map((utterance): Heard => ({ utterance }));
  const [v, t] = [valid.queries.length, test.queries.length];
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  const texts = range(v + t, items.length);
  return {
    ...{ name: "qbe", recipe: given, items, columns: { mtwv: "QbE" } },
    parts: { train: [], valid: [...range(0, v), ...texts], test: [...range(v, v + t), ...texts] },
    notes: ["a layer is chosen on the development queries; nothing is trained"],
    headline: { metric: "mtwv", higher: true },
    measure: (source, log) => measure(source, documents, valid, test, log),
  };
}

async function measure(
  source: FeatureSource,
  documents: readonly Utterance[],
  valid: Search,
  test: Search,
  log: (line: string) => void,
): Promise<Measured> {
  const layers = Array.from({ length: source.upstream.layers }, (_, i) => i);
  const program = await matching(source.upstream.dim);
  try {
    const moments = await momentsOf(source, documents);
    const tried = await search(source, program, documents, valid, layers, moments);
    const values = layers.map(
      (layer) => maxTermWeightedValue(termsOf(tried[layer], documents, valid), BETA).value,
    );
    const layer = values.indexOf(Math.max(...values));
    log(
      `qbe: development values by layer ${values.map((value) => value.toFixed(4)).join(" ")}; layer ${layer} is tested`,
    );
    const [scores] = await search(source, program, documents, test, [layer], moments);
    const { value, threshold } = maxTermWeightedValue(termsOf(scores, documents, test), BETA);
    const predictions = test.queries.map(({ id }, q) => ({
      id,
      scores: Object.fromEntries(documents.map((document, d) => [document.id, scores[q][d]])),
    }));
    return { metrics: { mtwv: value, threshold, "valid mtwv": values[layer] }, predictions, layer };
  } finally {
    await program.dispose();
  }
}

/** Cosines between unit rows: queries [rows, dim] against a document [columns, dim]. */
function matching(dim: number): Promise<Program> {
  const queries = ops.input("queries", [symbol("rows"), dim]);
  const document = ops.input("document", [symbol("columns"), dim]);
  return compile({
    inputs: [queries, document].map((tensor, i) => ({ name: ["queries", "document"][i], tensor })),
    outputs: [{ name: "cosines", tensor: ops.matMul(queries, document, { transB: true }) }],
    late: [],
  });
}

/** Sums over frames of each layer's channels: what mean and deviation are of. */
interface Moments {
  count: number;
  sum: Float64Array[];
  squares: Float64Array[];
}

async function momentsOf(
  source: FeatureSource,
  utterances: readonly Utterance[],
  from?: Moments,
): Promise<Moments> {
  const { layers, dim } = source.upstream;
  const fresh = () => Array.from({ length: layers }, () => new Float64Array(dim));
  const moments: Moments = {
    count: from?.count ?? 0,
    sum: from?.sum.map((each) => each.slice()) ?? fresh(),
    squares: from?.squares.map((each) => each.slice()) ?? fresh(),
  };
  for (const utterance of utterances) {
    const features = await source.get({ utterance });
    moments.count += features.frames;
    for (let layer = 0; layer < layers; layer++) {
      const states = hiddenState(features, layer);
      for (const [i, value] of states.entries()) {
        moments.sum[layer][i % dim] += value;
        moments.squares[layer][i % dim] += value * value;
      }
    }
  }
  return moments;
}

/** Scores of each layer, query and document: minus the cost of the best path, in deviations from the query's mean. */
async function search(
  source: FeatureSource,
  program: Program,
  documents: readonly Utterance[],
  { queries }: Search,
  layers: readonly number[],
  documentMoments: Moments,
): Promise<number[][][]> {
  const { dim } = source.upstream;
  const moments = await momentsOf(source, queries, documentMoments);
  const lengths: number[] = [];
  const rows: Float32Array[][] = layers.map(() => []);
  for (const utterance of queries) {
    const features = await source.get({ utterance });
    lengths.push(features.frames);
    for (const [i, layer] of layers.entries())
      rows[i].push(unitRows(hiddenState(features, layer), moments, layer, dim));
  }
  const total = lengths.reduce((a, b) => a + b, 0);
  const stacked = rows.map((each) => f32([total, dim], joined(each, total * dim)));
  const scores = layers.map(() => queries.map(() => [] as number[]));
  const shown = progress({ label: `${queries.length} queries, documents`, total: documents.length });
  for (const [done, utterance] of documents.entries()) {
    const features = await source.get({ utterance });
    for (const [i, layer] of layers.entries()) {
      const columns = unitRows(hiddenState(features, layer), moments, layer, dim);
      const document = f32([features.frames, dim], columns);
      const { cosines } = await program.run({ queries: stacked[i], document });
      let at = 0;
      for (const [q, frames] of lengths.entries()) {
        const size = frames * features.frames;
        const own = (cosines.data as Float32Array).subarray(at, at + size);
        at += size;
        scores[i][q].push(frames < SHORTEST ? 0 : -cost(own, frames, features.frames));
      }
    }
    shown.update(done + 1);
  }
  shown.end();
  return scores.map((byQuery) => byQuery.map(standardised));
}

function joined(parts: readonly Float32Array[], size: number): Float32Array {
  const out = new Float32Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const cost = (cosines: Float32Array, rows: number, columns: number): number =>
  subsequenceDtw(scaledDistances(cosines, rows, columns), rows, columns).distance;

/** Channels brought to zero mean and unit deviation over the whole search, then frames to unit length. */
function unitRows(
  states: Float32Array,
  { count, sum, squares }: Moments,
  layer: number,
  dim: number,
): Float32Array {
  const mean = sum[layer].map((total) => total / count);
  const scale = squares[layer].map((total, d) => {
    const variance = (total - count * mean[d] ** 2) / Math.max(1, count - 1);
    return 1 / Math.max(Math.sqrt(Math.max(variance, 0)), 1e-9);
  });
  const out = new Float32Array(states.length);
  for (let at = 0; at < out.length; at += dim) {
    let length = 0;
    for (let d = 0; d < dim; d++) {
      out[at + d] = (states[at + d] - mean[d]) * scale[d];
      length += out[at + d] ** 2;
    }
    const factor = 1 / Math.max(Math.sqrt(length), 1e-12);
    for (let d = 0; d < dim; d++) out[at + d] *= factor;
  }
  return out;
}

function standardised(scores: readonly number[]): number[] {
  const mean = scores.reduce((a, b) => a + b, 0) / scores.length;
  const variance = scores.reduce((total, score) => total + (score - mean) ** 2, 0) / scores.length;
  return scores.map((score) => (score - mean) / Math.max(Math.sqrt(variance), 1e-9));
}

function termsOf(
  scores: readonly (readonly number[])[],
  documents: readonly Utterance[],
  { queries, occurrences }: Search,
): TermTrials[] {
  const names = documents.map(stemOf);
  return queries.map((query, q) => {
    const where = occurrences.get(stemOf(query)) ?? new Set<string>();
    const detections = names.map((name, d) => ({ score: scores[q][d], correct: where.has(name) }));
    const targets = detections.filter(({ correct }) => correct).length;
    return { term: query.id, targets, nonTargets: names.length - targets, detections };
  });
}

const stemOf = ({ audio }: Utterance): string => audio.replace(/^.*[/\\]/, "").replace(/\.\w+$/, "");

const recipe: ProbeRecipe = {
  ...common,
  head: {
    type: "none",
    distance: "exp(1 - cosine) - 1, rows scaled to 0..1",
    warping: "asymmetric, open ends",
  },
  ...{ steps: 0, batch: 1, sampling: "shuffle", evaluateEvery: 1 },
  source:
    "read: s3prl downstream/quesst14_dtw/config.yaml, expert.py, dataset.py, docs/superb.md (0.4.18); recalled: QUESST's prior .0008, cost of a " +
    "miss 100 and of a false alarm 1, a trial for each document, and the form of the RTTM files",
};
