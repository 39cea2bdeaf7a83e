import type { Value } from "../../src/runtime/program.ts";
import { Optimiser } from "../../src/train/optimiser.ts";
import { compileTraining } from "../../src/train/program.ts";
import { gradientsInto, tinyBatch, tinyModel, tinyStore } from "../tiny/tiny-model.ts";

// Measures resident memory (MB) early and late in a long task; started by endurance.test.ts.

const model = tinyModel({ dropout: 0.1 });
const compiled = () => compileTraining(model.table, model.traced, { trained: () => true, threads: 1 });

function memory(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss() / 1e6;
}

async function steps() {
  const store = tinyStore(model);
  const program = await compiled();
  const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.98], eps: 1e-8 }, store, { threads: 1 });
  const batch = tinyBatch(model);
  const into = gradientsInto(store);
  const loss: number[] = [];
  let early = 0;
  for (let step = 1; step <= 1000; step++) {
    const seed: Value = { dtype: "i32", shape: [], data: Int32Array.of(step) };
    const results = await program.run({ ...store.values, ...batch, seed }, into);
    const range = { start: 0, end: store.trainedSize };
    const norm = await optimiser.norm([range]);
    await optimiser.step([{ ...range, lr: 2e-3, weightDecay: 0, step }], Math.min(1, 1 / norm));
    if (step === 1 || step === 1000) loss.push(Number(results.loss.data[0]));
    if (step === 200) early = memory();
  }
  const late = memory();
  await optimiser.dispose();
  await program.dispose();
  return { early, late, loss };
}

async function lengths() {
  const store = tinyStore(model);
  const program = await compiled();
  const into = gradientsInto(store);
  const run = async (samples: number) => program.run({ ...store.values, ...tinyBatch(model, samples) }, into);
  const LONGEST = 8000;
  for (let i = 0; i < 5; i++) await run(LONGEST);
  const early = memory();
  for (let round = 0; round < 3; round++)
    for (let i = 0; i < 40; i++) await run(LONGEST - 150 * ((i * 17) % 40));
  const late = memory();
  await program.dispose();
  return { early, late, loss: [] };
}

async function sessions() {
  const store = tinyStore(model);
  const once = async () => {
    const program = await compiled();
    await program.run({ ...store.values, ...tinyBatch(model) }, gradientsInto(store));
    await program.dispose();
    // A collection that comes when it likes lets the process peak by chance, and what it touched once it keeps.
    globalThis.gc?.();
  };
  // Enough for the compiler's own code to be compiled: until then the process grows without any leak.
  for (let i = 0; i < 12; i++) await once();
  const early = memory();
  for (let i = 0; i < 15; i++) await once();
  return { early, late: memory(), loss: [] };
}

/** The most memory that a step over 1,000 frames ever takes, as it is and with its layers recomputed. */
async function peak(recomputed: boolean) {
  const deep = tinyModel({ layers: 6, hidden: 32 });
  const store = tinyStore(deep);
  const early = memory();
  const program = await compileTraining(deep.table, deep.traced, {
    trained: () => true,
    threads: 1,
    ...(recomputed ? { recompute: ({ name }) => name.startsWith("encoder.layers.") } : {}),
  });
  await program.run({ ...store.values, ...tinyBatch(deep, 20_000) }, gradientsInto(store));
  await program.dispose();
  return { early, late: process.resourceUsage().maxRSS / 1e3, loss: [] };
}

const tasks: Record<string, () => Promise<object>> = {
  steps,
  lengths,
  sessions,
  kept: () => peak(false),
  recomputed: () => peak(true),
};
console.log(JSON.stringify(await tasks[process.argv[2]]()));
