import { existsSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { UserError } from "../errors.ts";
import { applyBits } from "../params/mask.ts";
import { f32, type Value } from "../runtime/program.ts";
import { LINEAGE_FILE } from "../train/lineage.ts";
import { MASKS, readMasks } from "../train/mask-file.ts";
import {
  ADAPTED_UPSTREAM,
  backboneStore,
  describeTask,
  ownNames,
  type Packed,
  readAnyPack,
  smallFiles,
} from "../train/pack.ts";
import { checkBackbone, type PackReport, writePack } from "../train/pack-file.ts";
import { cachedModel } from "../weights/hub.ts";
import { openSafetensors, type TensorEntry } from "../weights/safetensors.ts";
import { type AdaptedUpstream, openAdapted } from "./adapted.ts";
import { entryOf } from "./catalogue.ts";
import { FeatureSource } from "./features.ts";
import { Head } from "./head.ts";
import { type Asked, Hearing } from "./hearing.ts";
import { dataHash } from "./order.ts";
import { timed } from "./probe.ts";
import type { ProbeResult } from "./results.ts";
import type { LearnedTask, Part, Prediction, ProbeRecipe, Trial } from "./task.ts";

const RESULT = "result.json";
const RECIPE = "recipe.yaml";
const FILES = [RESULT, RECIPE, ADAPTED_UPSTREAM, LINEAGE_FILE];

/** Whether a folder is that of a task which `voxsmith superb --train` has finished. */
export const isTaskFolder = (folder: string): boolean => existsSync(join(folder, RESULT));

/**
 * Packs the masks and the head of a SUPERB task, which `voxsmith superb --train masks` has learned.
 * @throws UserError where the folder holds none, or the backbone is another one
 */
export function packTask(folder: string, out: string, backbone?: string): PackReport {
  const files = smallFiles(folder, FILES);
  const lacking = [RESULT, RECIPE, ADAPTED_UPSTREAM].find((name) => files[name] === undefined);
  if (lacking !== undefined || !existsSync(join(folder, MASKS)))
    throw new UserError(
      `${folder}: has no ${lacking ?? MASKS}; only tasks of \`voxsmith superb --train masks\` can be packed`,
    );
  const masks = readMasks(join(folder, MASKS));
  const described = describeTask(files, folder);
  const store = backboneStore(described, backbone);
  const { prefix } = described.task.model.upstream;
  checkBackbone(masks.path, masks.backbone, [`${prefix}.masked_spec_embed`], store, prefix);
  const head = openSafetensors(join(folder, "head.safetensors"));
  const own = [...head.infos].map(
    ([name, { shape }]): TensorEntry => ({ name, dtype: "F32", shape, data: head.readF32(name) }),
  );
  head.close();
  const { task: name }: ProbeResult = JSON.parse(files[RESULT]);
  return writePack(out, { name, masks, weights: (matrix) => store.array(matrix), own, files });
}

export interface TaskPackOptions {
  /** The folder that holds the corpora. */
  readonly root: string;
  /** The packs' backbone; by default where it was when the first of them was learned. */
  readonly backbone?: string;
  readonly threads?: number;
  /** Heads of other sizes than the official ones. */
  readonly trial?: Trial;
}

export interface TaskPackEvaluation {
  readonly part: Part;
  readonly tasks: readonly {
    readonly name: string;
    readonly utterances: number;
    readonly metrics: Readonly<Record<string, number>>;
  }[];
  readonly predictions: readonly Prediction[];
}

/**
 * Evaluates packs of SUPERB tasks over one loaded backbone, each on its own corpus. In memory stand the backbone, one more copy of
 * what is masked, and the packs.
 * @throws UserError where a pack has another backbone, or its corpus is not the one that it learned from
 */
export async function evaluateTaskPacks(
  paths: readonly string[],
  part: Part,
  { root, backbone, threads, trial }: TaskPackOptions,
): Promise<TaskPackEvaluation> {
  const packs = paths.map(readAnyPack);
  const source = cachedModel(backbone ?? packs[0].source!);
  const upstream = await openAdapted(source, { train: "masks", lr: 0 }, { threads });
  const hearing = new Hearing(upstream, new FeatureSource(upstream, undefined));
  const tasks: TaskPackEvaluation["tasks"][number][] = [];
  const predictions: Prediction[] = [];
  try {
    const switched = new SwitchedMasks(upstream);
    for (const pack of packs) {
      const task = await taskOfPack(pack, root, trial);
      const head = new Head(task, upstream, threads);
      try {
        const values = switched.to(pack, head);
        const asked: Asked = {
          ...{ task, learner: head.learner },
          predict: (...batch) => head.predict(values, ...batch),
        };
        const { metrics, lines } = (await hearing.evaluate([asked], part)).get(asked)!;
        tasks.push({ name: pack.name, utterances: task.parts[part].length, metrics });
        predictions.push(...lines().map((line) => ({ ...line, task: pack.name })));
      } finally {
        await head.dispose();
      }
    }
  } finally {
    await upstream.dispose();
  }
  return { part, tasks, predictions };
}

/** The task of a pack with its corpus. @throws UserError where the corpus has other utterances than the pack learned from */
async function taskOfPack({ path, name, files }: Packed, root: string, trial?: Trial): Promise<LearnedTask> {
  const prepared = await entryOf(name).prepare(root, trial);
  const found = prepared.find((task) => task.name === name);
  if (found === undefined || !("learner" in found))
    throw new UserError(`${path}: there is no task ${name} in ${root}`);
  const { data }: ProbeResult = JSON.parse(files[RESULT]);
  const task = (await timed(found)) as LearnedTask;
  if (dataHash(task) !== data.hash)
    throw new UserError(
      `${path}: learned ${name} from another corpus than that in ${root} (${data.train} + ${data.valid} + ${data.test} utterances with hash ${data.hash}), so its head's outputs mean something else`,
    );
  const recipe: ProbeRecipe = parse(files[RECIPE]);
  return { ...task, recipe: { ...task.recipe, adaptation: recipe.adaptation } };
}

/** One backbone under the masks of one pack after the other. */
class SwitchedMasks {
  private readonly upstream: AdaptedUpstream;
  private readonly effective = new Map<string, Float32Array>();
  private checked: string | undefined;

  constructor(upstream: AdaptedUpstream) {
    this.upstream = upstream;
  }

  /** The parameters of a pack's graph; they are good until the next change. */
  to(pack: Packed, head: Head): Record<string, Value> {
    const { adapted } = this.upstream;
    const { store, prefix } = adapted;
    // Hashing a backbone takes a second.
    if (pack.backbone !== this.checked)
      checkBackbone(pack.path, pack.backbone, ownNames(pack), store, prefix);
    this.checked = pack.backbone;
    const masks = new Map(pack.masks((name) => store.array(name)).map((mask) => [mask.name, mask.bits]));
    const values: Record<string, Value> = {};
    for (const [name, { shape }] of head.trace().table.specs) {
      const own = pack.own.get(name);
      const bits = masks.get(name);
      if (adapted.isUpstream(name))
        values[name] = bits === undefined ? store.values[name] : f32(shape, this.masked(name, bits));
      else if (own === undefined || String(own.shape) !== String(shape))
        throw new UserError(
          `${pack.path}: its "${name}" has the shape [${own?.shape ?? ""}], and the task's head wants [${shape}]`,
        );
      else values[name] = f32(shape, own.data);
    }
    return values;
  }

  private masked(name: string, bits: Uint8Array): Float32Array {
    const weights = this.upstream.adapted.store.array(name);
    const effective = this.effective.get(name) ?? new Float32Array(weights.length);
    this.effective.set(name, effective);
    applyBits(bits, weights, effective);
    return effective;
  }
}
