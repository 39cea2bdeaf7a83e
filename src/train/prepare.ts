import { UserError } from "../errors.ts";
import type { Schedule } from "../nn/schedules.ts";
import { schedule } from "../nn/schedules.ts";
import { freezeAroundAdapters } from "./adapter-plan.ts";
import {
  type DataOptions,
  type DividedCorpus,
  openCorpus,
  openStream,
  type Part,
  type Stream,
} from "./data.ts";
import { type Training, trainingOf } from "./groups.ts";
import { withLocalUpstream } from "./locate.ts";
import { lossOf } from "./losses/index.ts";
import type { TargetSource } from "./losses/kind.ts";
import { maskPlan, startMasks, type WeightMasks } from "./masks.ts";
import {
  headFrames,
  headHop,
  isAdapter,
  loadUpstream,
  type Model,
  modelOf,
  requireHeads,
  sayWhatIsAssumed,
} from "./model.ts";
import { type ObjectiveWeights, objectiveWeights } from "./objective-weights.ts";
import { UpdateOrder } from "./order.ts";
import { Pruner } from "./pruning.ts";
import type { Objective, Recipe } from "./recipe-schema.ts";
import { loadHeads } from "./start-heads.ts";
import { ParameterStore } from "./store.ts";
import type { Target } from "./targets.ts";
import {
  continuedHeads,
  everCounts,
  namePaths,
  type Task,
  type TaskObjective,
  traceEvaluation,
} from "./task.ts";

/** A recipe's model and data, read and checked. Close its streams when done. */
export interface Loaded {
  readonly recipe: Recipe;
  readonly task: Task;
  readonly streams: readonly Stream[];
  readonly store: ParameterStore;
  readonly training: ReadonlyMap<string, Training>;
  /** The masks over frozen weights that the plan learns. */
  readonly masks?: WeightMasks;
  /** What zeroes weights as they train. */
  readonly pruner?: Pruner;
}

/** Everything a run needs, with nothing written yet. */
export interface Prepared extends Loaded {
  readonly orders: ReadonlyMap<string, UpdateOrder>;
  readonly totalSteps: number;
  /** Steps of the head-first phase. */
  readonly headSteps: number;
  readonly weights: ObjectiveWeights;
  /** Factor of the learning rate by step; NewBob's follows the validation loss instead. */
  readonly schedule: Schedule | undefined;
}

export interface LoadOptions extends DataOptions {
  /** Symbols and classes that are known already (those of a trained model); otherwise the training part gives them. */
  readonly targets?: ReadonlyMap<string, Target>;
  /** The parts that will be used, all by default. */
  readonly parts?: readonly Part[];
  /** Whether to load the upstream's pre-trained weights (default true). */
  readonly weights?: boolean;
  /** The model whose hidden states or codebook give labels by default: `upstream.model` where not given. */
  readonly model?: string;
}

/** Reads and checks recipe, model and data, and plans the run. @throws UserError for whatever is wrong with them */
export async function prepare(recipe: Recipe, options: DataOptions): Promise<Prepared> {
  const loaded = await load(recipe, options);
  try {
    const plan = planOf(recipe, loaded.streams);
    const { prune } = recipe.plan;
    const pruner = prune && new Pruner(prune, loaded.store, loaded.training, plan.totalSteps);
    return { ...loaded, ...plan, pruner };
  } catch (error) {
    await closeStreams(loaded.streams);
    throw error;
  }
}

/** Reads and checks recipe, model and data. @throws UserError for whatever is wrong with them */
export async function load(recipe: Recipe, options: LoadOptions): Promise<Loaded> {
  const model = modelOf(await withLocalUpstream(recipe, options.log));
  if (options.weights !== false) sayWhatIsAssumed(model, recipe, options.log);
  const active = Object.entries(recipe.objectives).filter(([, o]) => everCounts(o));
  if (active.length === 0) throw new UserError("objectives: every weight is 0; nothing would be learned");
  checkBest(recipe, active);
  checkFrames(model, active);
  // Before any audio is read; where only trained weights will be read, they have what they need.
  if (options.weights !== false) requireHeads(model, continuedHeads(active.map(([, o]) => o)));
  const streams: Stream[] = [];
  try {
    const targets = new Map<string, Target>();
    for (const [name, spec] of [["main", recipe] as const, ...Object.entries(recipe.streams)]) {
      const own = active.filter(([, o]) => o.stream === name);
      if (own.length === 0 && name !== "main") continue;
      const corpus = await openCorpus(name, spec.corpus, options);
      for (const [objective, o] of own)
        targets.set(
          objective,
          options.targets?.get(objective) ?? lossOf(o).target(o, targetSource(corpus, o, model, options)),
        );
      const asked = own.map(([objective, o]) => ({
        name: objective,
        spec: o,
        target: targets.get(objective)!,
      }));
      const stream = await openStream(corpus, asked, {
        ...options,
        batch: spec.batch,
        longTargets: recipe.guards.longTargets,
        frames: (samples) => headFrames(model, samples) as number,
        hop: headHop(model),
        model: options.model ?? model.source ?? recipe.upstream.model,
        fastest: recipe.augment.speed?.[1] ?? 1,
        parts: options.parts,
        threads: 1,
      });
      streams.push(stream);
      for (const [objective, target] of stream.targets) targets.set(objective, target);
    }
    const paths = namePaths(active, model);
    const objectives = active.map(
      ([name, spec]): TaskObjective => ({ name, spec, target: targets.get(name)!, path: paths.get(name)! }),
    );
    const task: Task = {
      ...{ model, layers: recipe.upstream.layers, objectives },
      augment: recipe.augment.features,
    };
    return {
      recipe,
      task,
      streams,
      ...planOf(recipe, streams),
      ...parametersOf(recipe, task, options.weights),
    };
  } catch (error) {
    await closeStreams(streams);
    throw error;
  }
}

export async function closeStreams(streams: readonly Stream[]): Promise<void> {
  for (const { loader } of streams) await loader.close();
}

/** Where an objective's symbols or classes are read off: the training part; with `skipBad`, what of it has any. */
function targetSource(
  { train, spec }: DividedCorpus,
  objective: Objective,
  { config }: Model,
  { skipBad }: DataOptions,
): TargetSource {
  const source = { utterances: train, corpus: spec, config };
  if (!skipBad) return source;
  const utterances = train.filter((utterance) => {
    try {
      lossOf(objective).target(objective, { ...source, utterances: [utterance] });
      return true;
    } catch (error) {
      if (error instanceof UserError) return false;
      throw error;
    }
  });
  return { ...source, utterances };
}

/** What is learned of the upstream's own frames, or hidden ones, is nothing that others behind it can learn. */
function checkFrames({ crdnn }: Model, active: readonly (readonly [string, Objective])[]) {
  const own = active.find(([, o]) => lossOf(o).derive !== undefined || lossOf(o).asTrained);
  if (crdnn === undefined || own === undefined) return;
  const [name, { loss }] = own;
  throw new UserError(
    `crdnn: stands behind the upstream, and objectives.${name} (${loss}) learns of its frames`,
  );
}

function checkBest(
  { evaluate }: Recipe,
  active: readonly (readonly [string, Recipe["objectives"][string]])[],
) {
  if (evaluate.best === "loss") return;
  const known = active.flatMap(([name, o]) =>
    ["loss", ...lossOf(o).metrics(o)].map((metric) => `${name}.${metric}`),
  );
  if (!known.includes(evaluate.best))
    throw new UserError(
      `evaluate.best: \`${evaluate.best}\` is no metric of this recipe; there are loss, ${known.join(", ")}`,
    );
}

function planOf(recipe: Recipe, streams: readonly Stream[]) {
  const orders = new Map(streams.map((stream) => [stream.name, new UpdateOrder(stream, recipe.seed)]));
  const main = orders.get("main")!;
  const totalSteps = recipe.steps ?? Math.max(1, main.stepsOf(recipe.epochs ?? 10));
  const epochs = recipe.epochs ?? totalSteps / main.stepsOf(1);
  const active = Object.fromEntries(Object.entries(recipe.objectives).filter(([, o]) => everCounts(o)));
  return {
    orders,
    totalSteps,
    headSteps: Math.trunc(recipe.plan.headFirst * totalSteps),
    weights: objectiveWeights(active, totalSteps / epochs, totalSteps),
    schedule: recipe.schedule.name === "newbob" ? undefined : schedule(recipe.schedule, totalSteps),
  };
}

/** The parameters with their starting values, and how each trains. */
export function parametersOf(recipe: Recipe, task: Task, weights = true) {
  const { table } = traceEvaluation(task, task.objectives, false);
  const prefix = `${task.model.upstream.prefix}.`;
  // Recipes name the upstream's parameters from inside it: `encoder.layers.0`.
  const bare = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  const names = [...table.specs.keys()];
  const byBareName = trainingOf(names.map(bare), recipe.plan, recipe.optimizer);
  const training = new Map(names.map((name) => [name, byBareName.get(bare(name))!]));
  const plan = maskPlan(recipe.plan.mask, training, prefix);
  freezeAroundAdapters(recipe.plan, training, prefix);
  const store = new ParameterStore(
    table.specs,
    (name) => !training.get(name)!.frozen,
    (name) => plan?.masked.has(name) ?? false,
  );
  if (store.trainedSize === 0) throw new UserError("plan.freeze: leaves no parameter to train");
  store.initialise(
    recipe.seed,
    // The vector for hidden frames is not in every file; where it is, it is read over this start.
    names.filter(
      (name) =>
        task.model.source === undefined ||
        !name.startsWith(prefix) ||
        isAdapter(name) ||
        name === `${prefix}masked_spec_embed`,
    ),
  );
  if (!weights) return { store, training };
  loadUpstream(task.model, store, continuedHeads(task.objectives.map(({ spec }) => spec)));
  if (recipe.upstream.heads === "load") loadHeads(task, store);
  return { store, training, masks: plan && startMasks(plan, store, recipe.seed) };
}
