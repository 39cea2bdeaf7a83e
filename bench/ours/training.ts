import type { Value } from "../../src/runtime/program.ts";
import { matricesOf, WeightMasks } from "../../src/train/masks.ts";
import { Optimiser } from "../../src/train/optimiser.ts";
import { compileTraining, gradientName, type Traced, type TrainingOptions } from "../../src/train/program.ts";
import { mask as maskSchema } from "../../src/train/schema-learning.ts";
import { ParameterStore } from "../../src/train/store.ts";
import type { Wav2Vec2Config } from "../../src/upstreams/index.ts";
import { traceCtc } from "./model.ts";

export interface TrainingSettings {
  mode: "fast" | "small";
  train: "frozen-extractor" | "all";
  /** Learn masks over frozen weights (FFN, 10 %) instead of the weights. */
  masked?: boolean;
  threads: number;
  profilePrefix?: string;
}

export interface BuiltTraining {
  store: ParameterStore;
  /** Names of the graph's inputs besides the parameters. */
  inputs: string[];
  /** Forward, backward, clipping and Adam on one batch; gives the loss. */
  step(feeds: Record<string, Value>): Promise<number>;
  /** Milliseconds for the training graph: tracing, derivation, passes and the runtime's session. */
  compileMs: number;
  /** Milliseconds of the last step for score gradients, thresholds and effective weights. */
  maskMs(): number;
  endProfiling(): Promise<void>;
}

/** Traces a CTC training step: what `trainingGraph` and `compileTraining` take. */
export function traceStep(config: Wav2Vec2Config, o: TrainingSettings) {
  const traced = traceCtc(config, true);
  const spec = maskSchema.parse({});
  const matrices = o.masked ? matricesOf(traced.table.specs.keys(), spec) : [];
  const masked = new Set(matrices.map(({ name }) => name));
  const trained = o.masked
    ? (name: string) => masked.has(name) || /^lm_head|masked_spec_embed$/.test(name)
    : (name: string) => o.train === "all" || !name.startsWith("wav2vec2.feature_extractor");
  const options: TrainingOptions = {
    trained,
    threads: o.threads,
    profilePrefix: o.profilePrefix,
    ...(o.mode === "small" ? { recompute: () => true } : {}),
  };
  const { table, loss, inputs } = traced;
  return { table, step: { loss, outputs: {}, inputs } satisfies Traced, options, spec, matrices, masked };
}

/** A CTC training step with random weights. */
export async function buildTraining(config: Wav2Vec2Config, o: TrainingSettings): Promise<BuiltTraining> {
  const start = performance.now();
  const { table, step, options, spec, matrices, masked } = traceStep(config, o);
  const program = await compileTraining(table, step, options);
  const compileMs = performance.now() - start;
  const store = new ParameterStore(table.specs, options.trained, (name) => masked.has(name));
  store.initialise(1);
  const masks = o.masked ? new WeightMasks(spec, matrices, store, (name) => name) : undefined;
  masks?.start(1);
  const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.999], eps: 1e-8 }, store, {
    threads: o.threads,
  });
  const into: Record<string, Value> = {};
  for (const [name, value] of Object.entries(store.gradientValues)) into[gradientName(name)] = value;
  let count = 0;
  let maskMs = 0;
  return {
    store,
    compileMs,
    inputs: step.inputs.map(({ node }) => (node.attrs as { name: string }).name),
    async step(feeds) {
      count++;
      const { loss } = await program.run({ ...store.values, ...feeds }, into);
      const began = performance.now();
      masks?.scoreGradients(masked);
      maskMs = performance.now() - began;
      const range = { start: 0, end: store.trainedSize };
      const norm = await optimiser.norm([range]);
      await optimiser.step(
        [{ ...range, lr: 1e-5, weightDecay: 0, step: count }],
        Math.min(1, 1 / (norm + 1e-6)),
      );
      const updated = performance.now();
      masks?.apply();
      maskMs += performance.now() - updated;
      return (loss.data as Float32Array)[0];
    },
    maskMs: () => maskMs,
    endProfiling: async () => void (await program.endProfiling()),
  };
}
