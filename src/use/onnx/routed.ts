import { LabelVocabulary, Vocabulary } from "../../corpus/vocab.ts";
import { UserError } from "../../errors.ts";
import { type Shape, symbol } from "../../tensor/dims.ts";
import { openPack } from "../../train/open-model.ts";
import { RoutedModel, type RoutedTask } from "../../train/routed.ts";
import type { Target } from "../../train/targets.ts";
import type { Task } from "../../train/task.ts";
import { storeOf } from "../../train/trained-task.ts";
import { checkExport, type ExportCheck, type ExportOptions } from "./export.ts";
import { exportedGraph } from "./graph.ts";
import { METADATA_KEY, metadataOf, outputMetadata, writeSidecars } from "./sidecars.ts";
import { readTask, type TaskMask, taskPath, writeTask } from "./task-file.ts";
import { type OnnxFile, onnxPath, writeOnnxFile } from "./write.ts";

export interface RoutedFile extends OnnxFile {
  /** The file of each task, by name. */
  readonly tasks: Readonly<Record<string, string>>;
}

/**
 * Writes one model for all tasks over a backbone: masks and what else is a task's own (heads) are graph inputs, a file
 * `tasks/NAME.safetensors` for each pack holds them. A head's last size is left open, so that a task with other symbols, also one
 * that is packed later, needs no other model.
 * @throws UserError where a pack has another backbone or heads of another kind
 */
export async function exportRouted(
  folder: string,
  packs: readonly string[],
  options: ExportOptions & { readonly backbone?: string },
): Promise<RoutedFile> {
  if (options.quantize)
    throw new UserError("--quantize: does not go with --mask-inputs, whose weights are masked while it runs");
  const model = RoutedModel.open(packs, options.backbone);
  const tasks = [...model.tasks.values()];
  const [{ pack: first }] = tasks;
  const own = ownShapes(tasks);
  const masked = new Map(
    tasks.flatMap(({ masks }) => masks.map(({ name, shape }) => [name, shape] as const)),
  );
  const weights = Object.fromEntries(Object.entries(model.backbone).filter(([name]) => !own.has(name)));
  const graph = await exportedGraph({ task: first.task, store: { values: weights } }, options.samples, {
    masked: new Set(masked.keys()),
    own,
  });
  const audio = { sampleRate: first.recipe.corpus.sampleRate, normalize: first.recipe.corpus.normalize };
  const metadata = metadataOf({ task: first.task, audio }, graph, options);
  const file = writeOnnxFile(onnxPath(folder, false), graph, {
    ...options,
    metadata: { [METADATA_KEY]: JSON.stringify(metadata) },
  });
  const bare: Task = { ...first.task, objectives: [] };
  writeSidecars(folder, { task: bare, audio }, metadata, file.files.length > 1);
  const asked = new Set(metadata.task!.parameters.map(({ name }) => name));
  const paths: Record<string, string> = {};
  for (const [name, { pack, masks, own: values }] of model.tasks) {
    const path = taskPath(folder, name);
    const mine = new Map<string, TaskMask>(masks.map(({ name, shape, bits }) => [name, { shape, bits }]));
    // Where only other tasks mask a matrix, all of it is kept.
    for (const [matrix, shape] of masked)
      if (!mine.has(matrix))
        mine.set(matrix, {
          shape,
          bits: new Uint8Array(Math.ceil(shape.reduce((a, b) => a * b, 1) / 8)).fill(255),
        });
    const objectives = new Map(pack.task.objectives.map((objective) => [objective.name, objective]));
    writeTask(path, {
      name,
      outputs: graph.outputs.map((output) =>
        outputMetadata({ ...output, objective: output.objective && objectives.get(output.objective.name) }),
      ),
      masks: mine,
      own: new Map([...asked].map((key) => [key, values[key] ?? model.backbone[key]])),
    });
    paths[name] = path;
  }
  return { ...file, files: [...file.files, ...Object.values(paths)], tasks: paths };
}

/** Compares each task of a routed model with the trainer's own evaluation of its pack; the worst error, the first task's times. */
export async function checkRouted(
  { files: [onnx], tasks }: RoutedFile,
  packs: readonly string[],
  options: { readonly threads?: number; readonly backbone?: string } = {},
): Promise<ExportCheck> {
  const checks: ExportCheck[] = [];
  for (const pack of packs) {
    const model = openPack(pack, options.backbone);
    const { feeds } = readTask(tasks[model.recipe!.name]);
    checks.push(await checkExport(onnx, model, { ...options, feeds }));
  }
  return { ...checks[0], error: Math.max(...checks.map(({ error }) => error)) };
}

/**
 * The parameters that differ between tasks besides masks, with the sizes that depend on the symbols or classes left open.
 * @throws UserError where heads are of different kinds
 */
function ownShapes(tasks: readonly RoutedTask[]): Map<string, Shape> {
  const all = tasks.map(({ pack }) => ({ pack, shapes: openShapes(pack.task) }));
  const [first, ...others] = all;
  const kind = ({ shapes }: (typeof all)[number]) =>
    JSON.stringify([...shapes].map(([name, shape]) => [name, shape.map(String)]));
  for (const other of others)
    if (kind(other) !== kind(first))
      throw new UserError(
        `${other.pack.path}: has heads of another kind than ${first.pack.path}; one model serves tasks with the same objectives: export them apart`,
      );
  const named = new Set(tasks.flatMap(({ own }) => Object.keys(own)));
  return new Map([...first.shapes].filter(([name]) => named.has(name)));
}

/** Shapes of all parameters of a task; sizes that its targets decide are symbols. */
function openShapes(task: Task): Map<string, Shape> {
  const { specs } = storeOf(task);
  const wider = storeOf({
    ...task,
    objectives: task.objectives.map((o) => ({ ...o, target: widened(o.target) })),
  });
  return new Map(
    [...specs].map(([name, { shape }]) => {
      const other = wider.specs.get(name)!.shape;
      const head = task.objectives.find(({ path }) => name.startsWith(`${path}.`));
      return [name, shape.map((size, i) => (other[i] === size ? size : symbol(`classes.${head?.name}`)))];
    }),
  );
}

/** The same target with one symbol or class more. */
function widened(target: Target): Target {
  const more = "voxsmith: one more";
  if (target.kind === "sequence")
    return {
      ...target,
      vocabulary: new Vocabulary([...target.vocabulary.symbols, more], target.vocabulary.options),
    };
  if (target.kind === "class" || target.kind === "frame-class")
    return { ...target, labels: new LabelVocabulary(target.labels.label, [...target.labels.classes, more]) };
  return target;
}
