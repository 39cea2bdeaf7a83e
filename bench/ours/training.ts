import type { Value } from "../../src/runtime/program.ts";
import { Optimiser } from "../../src/train/optimiser.ts";
import { compileTraining, gradientName } from "../../src/train/program.ts";
import { ParameterStore } from "../../src/train/store.ts";
import type { Wav2Vec2Config } from "../../src/upstreams/index.ts";
import { traceCtc } from "./model.ts";

export interface TrainingSettings {
  mode: "fast" | "small";
  train: "frozen-extractor" | "all";
  threads: number;
  profilePrefix?: string;
}

export interface BuiltTraining {
  store: ParameterStore;
  /** Names of the graph's inputs besides the parameters. */
  inputs: string[];
  /** Forward, backward, clipping and Adam on one batch; gives the loss. */
  step(feeds: Record<string, Value>): Promise<number>;
  endProfiling(): Promise<void>;
}

/** A CTC training step with random weights. */
export async function buildTraining(config: Wav2Vec2Config, o: TrainingSettings): Promise<BuiltTraining> {
  const traced = traceCtc(config, true);
  const trained = (name: string) => o.train === "all" || !name.startsWith("wav2vec2.feature_extractor");
  const program = await compileTraining(
    traced.table,
    { loss: traced.loss, outputs: {}, inputs: traced.inputs },
    {
      trained,
      threads: o.threads,
      profilePrefix: o.profilePrefix,
      ...(o.mode === "small" ? { recompute: () => true } : {}),
    },
  );
  const store = new ParameterStore(traced.table.specs, trained);
  store.initialise(1);
  const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.999], eps: 1e-8 }, store, {
    threads: o.threads,
  });
  const into: Record<string, Value> = {};
  for (const [name, value] of Object.entries(store.gradientValues)) into[gradientName(name)] = value;
  let count = 0;
  return {
    store,
    inputs: traced.inputs.map(({ node }) => (node.attrs as { name: string }).name),
    async step(feeds) {
      count++;
      const { loss } = await program.run({ ...store.values, ...feeds }, into);
      const range = { start: 0, end: store.trainedSize };
      const norm = await optimiser.norm([range]);
      await optimiser.step(
        [{ ...range, lr: 1e-5, weightDecay: 0, step: count }],
        Math.min(1, 1 / (norm + 1e-6)),
      );
      return (loss.data as Float32Array)[0];
    },
    endProfiling: async () => void (await program.endProfiling()),
  };
}
