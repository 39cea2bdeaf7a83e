import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { compile } from "../../src/runtime/cpu.ts";
import { f32, type Value } from "../../src/runtime/program.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

// What PyTorch computed in float64 (scripts/reference), and how ours is held against it.

export interface Stored {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

export const fixture = <T>(name: string): T =>
  JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/reference", name), "utf8"));

export const stored = ({ shape, data }: Stored): Value => f32(shape, Float32Array.from(data));

/** Runs a graph of the given outputs once; inputs are found by their names in `feeds`. */
export async function runOnce(
  outputs: Readonly<Record<string, Tensor>>,
  inputs: readonly Tensor[],
  feeds: Readonly<Record<string, Value>>,
): Promise<Record<string, Value>> {
  const program = await compile(
    {
      inputs: inputs.map((tensor) => ({ name: (tensor.node.attrs as { name: string }).name, tensor })),
      outputs: Object.entries(outputs).map(([name, tensor]) => ({ name, tensor })),
      late: [],
    },
    { threads: 1 },
  );
  try {
    return await program.run(feeds);
  } finally {
    await program.dispose();
  }
}

/** The scalar <y, dy> whose gradients are those that flow back from dy. */
export const against = (y: Tensor, dy: Tensor): Tensor => ops.sumAll(ops.mul(y, dy));

/** Norm of the difference over the norm of the reference. */
export function expectClose(got: Value, want: Stored, bar = 2e-6): void {
  expect([...got.shape]).toEqual([...want.shape]);
  let difference = 0;
  let size = 0;
  for (const [i, v] of want.data.entries()) {
    difference += (Number(got.data[i]) - v) ** 2;
    size += v * v;
  }
  expect(Math.sqrt(difference)).toBeLessThanOrEqual(bar * Math.max(Math.sqrt(size), 1e-3));
}
