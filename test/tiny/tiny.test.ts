import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Optimiser } from "../../src/train/optimiser.ts";
import { compileTraining } from "../../src/train/program.ts";
import { openSafetensors, writeSafetensors } from "../../src/weights/safetensors.ts";
import { gradientsInto, tinyBatch, tinyModel, tinyStore } from "./tiny-model.ts";

// Is it alive? One training step, one round trip of weights, one gradient: `npx vitest run test/tiny`.

test("a training step lowers the loss, and its gradients are slopes", async () => {
  const model = tinyModel();
  const store = tinyStore(model);
  const program = await compileTraining(model.table, model.traced, { trained: () => true, threads: 1 });
  const feeds = { ...store.values, ...tinyBatch(model) };
  const into = gradientsInto(store);
  const lossNow = async () => Number((await program.run(feeds, into)).loss.data[0]);

  const before = await lossNow();
  const gradients = store.gradients.slice();
  const weights = store.weights.slice();
  // Along the gradient the slope is its squared norm.
  const square = gradients.reduce((sum, g) => sum + g * g, 0);
  const h = 1e-2 / Math.sqrt(square);
  const at = async (step: number) => {
    for (let i = 0; i < weights.length; i++) store.weights[i] = weights[i] + step * gradients[i];
    return lossNow();
  };
  const slope = ((await at(h)) - (await at(-h))) / (2 * h);
  expect(Math.abs(slope / square - 1)).toBeLessThan(0.02);

  store.weights.set(weights);
  expect(await lossNow()).toBe(before);
  const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.98], eps: 1e-8 }, store, { threads: 1 });
  await optimiser.step([{ start: 0, end: store.trainedSize, lr: 1e-3, weightDecay: 0, step: 1 }], 1);
  expect(await lossNow()).toBeLessThan(before);
  await optimiser.dispose();
  await program.dispose();
});

test("weights go into a file and come back", () => {
  const store = tinyStore(tinyModel());
  const path = join(mkdtempSync(join(tmpdir(), "tiny-")), "model.safetensors");
  const entries = [...store.specs.values()].map(({ name, shape }) => ({
    name,
    dtype: "F32" as const,
    shape,
    data: store.array(name),
  }));
  writeSafetensors(path, entries);
  const file = openSafetensors(path);
  expect([...file.infos.keys()].sort()).toEqual([...store.specs.keys()].sort());
  for (const name of store.specs.keys()) expect(file.readF32(name)).toEqual(store.array(name));
  file.close();
});
