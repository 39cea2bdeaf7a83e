import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { confusionMatrix } from "../metrics/classification.ts";
import { countEdits } from "../metrics/error-rate.ts";
import { bootstrapInterval, type Interval, meanOf, ratioOf } from "../metrics/significance.ts";
import type { PredictionLine } from "../train/finish.ts";
import { type LogRecord, readLog } from "../train/log.ts";
import type { Answer } from "../train/losses/kind.ts";
import { type Objective, printRecipe, type Recipe, readRecipe } from "../train/recipe.ts";
import { type RunInfo, readRun } from "../train/run-folder.ts";
import { modelCard } from "./model-card.ts";
import { type Curve, type MetricResult, type RunReportInput, runReport } from "./run-report.ts";

/** What a run's folder says about itself, as far as it is there. */
interface RunRecord {
  recipe: Recipe;
  info: RunInfo;
  log: LogRecord[];
  predictions: PredictionLine[];
  /** The command that makes the run again. */
  command: string;
}

const READABLE: Readonly<Record<string, string>> = {
  accuracy: "accuracy",
  macroF1: "macro F1",
  per: "phone error rate",
  cer: "character error rate",
  wer: "word error rate",
  meanAbsoluteError: "mean absolute error",
  rootMeanSquareError: "root mean square error",
  pearson: "Pearson correlation",
};
const PERCENT = new Set(["accuracy", "macroF1", "per", "cer", "wer"]);
const HIGHER = new Set(["accuracy", "macroF1", "pearson"]);

/**
 * Writes `report.html` and the model card `README.md` into the folder of a run whose training is over. `revise` may add to
 * the report what the folder does not say.
 */
export async function publishRun(
  folder: string,
  metrics: Readonly<Record<string, number>>,
  command: string,
  revise: (input: RunReportInput) => RunReportInput = (input) => input,
): Promise<void> {
  const record: RunRecord = {
    recipe: readRecipe(join(folder, "recipe.yaml")),
    info: { ...readRun(folder)!, metrics: { ...metrics } },
    log: readLog(join(folder, "log.jsonl")),
    predictions: readPredictions(join(folder, "predictions.jsonl")),
    command,
  };
  writeFileSync(join(folder, "report.html"), await runReport(revise(reportInput(record))));
  writeFileSync(join(folder, "README.md"), card(record));
}

function readPredictions(path: string): PredictionLine[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line));
}

function reportInput(record: RunRecord): RunReportInput {
  const { recipe, info, log, predictions, command } = record;
  const test = judged(predictions);
  const objectives = Object.entries(recipe.objectives);
  return {
    title: recipe.name,
    simulated: recipe.corpus.synthetic !== undefined,
    upstream: upstreamName(recipe),
    corpus: corpusName(recipe),
    task: objectives.map(([name, o]) => `${name} (${o.loss})`).join(" + "),
    seed: recipe.seed,
    date: info.started.slice(0, 10),
    seconds: info.seconds,
    versions: info.versions,
    metrics: results(record),
    confusion: objectives.flatMap(([name, o]) => {
      const pairs = test.flatMap(({ answers }) => (answers[name]?.kind === "class" ? [answers[name]] : []));
      if (o.loss !== "cross-entropy" || pairs.length === 0) return [];
      const matrix = confusionMatrix(
        pairs.map((a) => a.truth),
        pairs.map((a) => a.predicted),
        Object.keys(pairs[0].probabilities),
      );
      return [{ ...matrix, title: name }];
    }),
    symbols: objectives.flatMap(([, o]) => (isWritten(o) ? [o.target] : []))[0],
    transcripts: transcripts(record, test),
    curves: curves(log, recipe),
    schedules: [{ name: "learning rate", points: trainPoints(log, (r) => Number(r.lr)) }],
    marks: bestMark(log),
    parts: Object.entries(info.data?.utterances ?? {}).map(([name, utterances]) => ({ name, utterances })),
    dataNotes: [splitNote(recipe)],
    reproduce: [command],
    recipe: printRecipe(recipe),
    environment: {
      platform: info.machine.platform,
      processor: info.machine.processor,
      threads: String(info.machine.threads),
    },
  };
}

/** Test utterances, or the validation part's where there are none. */
function judged(predictions: readonly PredictionLine[]): PredictionLine[] {
  const test = predictions.filter(({ part }) => part === "test");
  return test.length > 0 ? test : [...predictions];
}

/** The metrics of the part that is judged, with intervals by speaker where there are enough of them. */
function results({ info, recipe, predictions }: RunRecord): MetricResult[] {
  const test = judged(predictions);
  const part = test[0]?.part ?? "test";
  return Object.entries(info.metrics ?? {}).flatMap(([key, value]): MetricResult[] => {
    const [where, name, metric] = key.split(".");
    if (where !== part || metric === "loss" || !(metric in READABLE)) return [];
    const baseline = info.metrics?.[`baseline.${key}`];
    const answered = test.filter(({ answers }) => name in answers);
    return [
      {
        name: Object.keys(recipe.objectives).length > 1 ? `${name}: ${READABLE[metric]}` : READABLE[metric],
        value,
        percent: PERCENT.has(metric),
        better: HIGHER.has(metric) ? "higher" : "lower",
        ...interval(answered, name, metric, recipe.seed),
        split: part,
        items: `${answered.length} utterances`,
        baselines:
          baseline === undefined ? undefined : [{ name: "log-mel statistics + ridge", value: baseline }],
      },
    ];
  });
}

function interval(
  lines: readonly PredictionLine[],
  name: string,
  metric: string,
  seed: number,
): Pick<MetricResult, "low" | "high" | "level" | "by"> {
  const answers = lines.map((line) => line.answers[name]);
  const statistic =
    metric === "accuracy"
      ? meanOf(answers.map((a) => Number(a.kind === "class" && a.truth === a.predicted)))
      : metric === "per" || metric === "cer"
        ? editRatio(answers)
        : undefined;
  if (statistic === undefined || lines.length < 2) return {};
  const speakers = lines.map(({ speaker }) => speaker);
  // Utterances of one speaker are not independent, but an interval from a handful of speakers says nothing.
  const enough = speakers.every((s) => s !== undefined) && new Set(speakers).size >= 10;
  const clusters = enough ? speakers.map(String) : undefined;
  const { low, high, level }: Interval = bootstrapInterval(lines.length, statistic, {
    seed,
    clusters,
    resamples: 1000,
  });
  return { low, high, level, by: enough ? "speaker" : "utterance" };
}

function editRatio(answers: readonly Answer[]) {
  const edits = answers.map((a) => (a.kind === "sequence" ? countEdits(a.expected, a.heard) : undefined));
  return ratioOf(
    edits.map((e) => e?.errors ?? 0),
    edits.map((e) => e?.referenceTokens ?? 0),
  );
}

/** Whether an objective's answers are sequences of symbols. */
const isWritten = (o: Objective): o is Extract<Objective, { loss: "ctc" | "attention" }> =>
  o.loss === "ctc" || o.loss === "attention";

function transcripts({ recipe }: RunRecord, test: readonly PredictionLine[]): RunReportInput["transcripts"] {
  const name = Object.entries(recipe.objectives).find(([, o]) => isWritten(o))?.[0];
  if (name === undefined) return undefined;
  // Evenly from the whole part, so that every speaker is likely to be there.
  const every = Math.max(1, Math.floor(test.length / 24));
  return test
    .filter((_, i) => i % every === 0)
    .flatMap(({ id, speaker, answers }) => {
      const answer = answers[name];
      return answer?.kind === "sequence"
        ? [{ id, speaker, expected: answer.expected, heard: answer.heard }]
        : [];
    });
}

function trainPoints(log: readonly LogRecord[], value: (record: LogRecord) => number): [number, number][] {
  return log.flatMap((r): [number, number][] => {
    const y = r.event === "train" ? value(r) : Number.NaN;
    return Number.isFinite(y) ? [[r.step, y]] : [];
  });
}

function curves(log: readonly LogRecord[], recipe: Recipe): Curve[] {
  const valid = log.filter(({ event }) => event === "valid");
  const out: Curve[] = [
    { objective: "total", split: "train", points: trainPoints(log, (r) => Number(r.loss)) },
    {
      objective: "total",
      split: "validation",
      points: valid.map((r): [number, number] => [r.step, Number(r.loss)]),
    },
  ];
  for (const name of Object.keys(recipe.objectives)) {
    const losses = (r: LogRecord) => Number((r.losses as Record<string, number>)[name]);
    const metrics = (r: LogRecord) => Number((r.metrics as Record<string, number>)[`${name}.loss`]);
    out.push({ objective: name, split: "train", points: trainPoints(log, losses) });
    out.push({
      objective: name,
      split: "validation",
      points: valid.map((r): [number, number] => [r.step, metrics(r)]).filter(([, y]) => Number.isFinite(y)),
    });
  }
  return out.filter(({ points }) => points.length > 0);
}

function bestMark(log: readonly LogRecord[]): RunReportInput["marks"] {
  const best = log.filter((r) => r.event === "valid" && r.best === true).at(-1);
  return best === undefined ? [] : [{ step: best.step, label: "best" }];
}

const upstreamName = ({ upstream }: Recipe): string =>
  upstream.model ?? `${String(upstream.config?.model_type ?? "wav2vec2")} from random weights`;

const corpusName = ({ corpus }: Recipe): string =>
  corpus.manifest ?? `synthetic speech (${corpus.synthetic!.speakers} speakers)`;

function splitNote({ corpus: { split } }: Recipe): string {
  switch (split.by) {
    case "speakers":
      return `Test speakers: ${split.test.join(", ")}; validation: ${split.valid.join(", ") || "none"}; no speaker is in two parts.`;
    case "folds":
      return `Fold ${split.fold} of ${split.folds} is the test part; no speaker is in two folds.`;
    case "list":
      return `Parts are the lists of ${split.corpus} in ${basename(split.file)}.`;
    case "random":
      return "Utterances were divided at random: test speakers were heard in training, so new voices will do worse.";
    case "field":
      return "Parts are those of the manifest.";
  }
}

function card(record: RunRecord): string {
  const { recipe, info, command } = record;
  const spoken = Object.values(recipe.objectives).some((o) => o.loss === "ctc");
  return modelCard({
    name: recipe.name,
    summary: `A ${upstreamName(recipe)} trained by voxsmith on ${corpusName(recipe)} for ${Object.entries(
      recipe.objectives,
    )
      .map(([name, o]) => `${name} (${o.loss})`)
      .join(" and ")}.`,
    pipeline: spoken ? "automatic-speech-recognition" : "audio-classification",
    baseModel: recipe.upstream.model,
    simulated: recipe.corpus.synthetic !== undefined,
    data: {
      description: corpusName(recipe),
      parts: Object.entries(info.data?.utterances ?? {}).map(([name, utterances]) => ({ name, utterances })),
      notes: [splitNote(recipe)],
    },
    training: {
      facts: [
        ["optimiser", recipe.optimizer.name],
        ["learning rate", recipe.optimizer.lr],
        ["schedule", recipe.schedule.name],
        ["batch size", recipe.batch.size * recipe.batch.accumulate],
        ["seed", recipe.seed],
      ],
      seconds: info.seconds,
      hardware: info.machine.processor,
    },
    metrics: results(record),
    reproduce: [command],
    versions: info.versions,
  });
}
