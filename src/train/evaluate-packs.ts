import { availableParallelism, tmpdir } from "node:os";
import type { Utterance } from "../corpus/manifest.ts";
import { quote, UserError } from "../errors.ts";
import type { DataOptions, Part } from "./data.ts";
import { Evaluator } from "./evaluation.ts";
import { decodingOf, type LmOptions } from "./lm-decoding.ts";
import type { Answer } from "./losses/kind.ts";
import { closeStreams, load } from "./prepare.ts";
import { RoutedModel, type RoutedTask } from "./routed.ts";

export interface PackEvaluation {
  readonly part: Part;
  readonly tasks: readonly {
    readonly name: string;
    readonly utterances: number;
    readonly metrics: Readonly<Record<string, number>>;
  }[];
  /** In the order of the manifest within each task. */
  readonly predictions: readonly {
    readonly id: string;
    readonly task: string;
    readonly answers: Readonly<Record<string, Answer>>;
  }[];
}

export interface PackOptions extends Omit<DataOptions, "cache" | "keep"> {
  /** The packs' backbone; by default where their runs had it. */
  readonly backbone?: string;
  /** A manifest in `data` instead of that of each pack's recipe. */
  readonly manifest?: string;
  /** Label whose value names the pack of an utterance; needed with several packs. */
  readonly route?: string;
  readonly threads?: number;
  readonly decoding?: LmOptions;
}

/**
 * Evaluates packs over one loaded backbone: utterances are routed to the task that their label names, and each task's come
 * together, so that the masks are changed once a task.
 * @throws UserError where a label names no pack, a pack has another backbone, or nothing is left to evaluate
 */
export async function evaluatePacks(
  paths: readonly string[],
  part: Part,
  options: PackOptions,
): Promise<PackEvaluation> {
  const { route } = options;
  if (paths.length > 1 && route === undefined)
    throw new UserError(
      "--route: must name the manifest's label that says which of several packs an utterance is for",
    );
  const model = RoutedModel.open(paths, options.backbone);
  const taskOf = (utterance: Utterance): string => {
    const value = utterance.labels?.[route!];
    const name = String(value);
    if (value === undefined || !model.tasks.has(name))
      throw new UserError(
        `utterance ${quote(utterance.id)}: labels.${route} is ${value === undefined ? "missing" : quote(value)}; the packs are named ${[...model.tasks.keys()].join(", ")}`,
      );
    return name;
  };
  const tasks: PackEvaluation["tasks"][number][] = [];
  const predictions: PackEvaluation["predictions"][number][] = [];
  for (const [name, task] of model.tasks) {
    const keep = route === undefined ? undefined : (utterance: Utterance) => taskOf(utterance) === name;
    const result = await evaluateTask(model, name, task, part, { ...options, keep });
    if (result === undefined) continue;
    tasks.push({ name, utterances: result.predictions.length, metrics: result.metrics });
    predictions.push(...result.predictions.map((prediction) => ({ ...prediction, task: name })));
  }
  if (predictions.length === 0) throw new UserError(`no utterance of a ${part} part is for any of the packs`);
  return { part, tasks, predictions };
}

async function evaluateTask(
  model: RoutedModel,
  name: string,
  { pack }: RoutedTask,
  part: Part,
  options: PackOptions & Pick<DataOptions, "keep">,
) {
  const { recipe } = pack;
  const corpus = { ...recipe.corpus, manifest: options.manifest ?? recipe.corpus.manifest };
  const { model: source, ...upstream } = recipe.upstream;
  const loaded = await load(
    // The configuration stands in the pack; the backbone is loaded once for all.
    {
      ...recipe,
      corpus,
      upstream: { ...upstream, config: upstream.config ?? { ...pack.task.model.config } },
    },
    { ...options, cache: tmpdir(), targets: pack.targets, parts: [part], weights: false },
  );
  try {
    const threads = options.threads ?? (recipe.threads || availableParallelism());
    const { dispose, ...decoding } = await decodingOf(pack.task, options.decoding, threads);
    const evaluator = new Evaluator(
      pack.task,
      { values: model.use(name) },
      { threads, batch: recipe.evaluate.batch, ...decoding },
    );
    try {
      const result = await evaluator.evaluate(loaded.streams, part);
      if (result === undefined) return undefined;
      const predictions = result.predictions.map(({ stream, index, answers }) => {
        const { items } = loaded.streams.find((each) => each.name === stream)!;
        return { id: items[index].utterance.id, answers };
      });
      return { metrics: result.metrics, predictions };
    } finally {
      await evaluator.dispose();
      await dispose();
    }
  } finally {
    await closeStreams(loaded.streams);
  }
}
