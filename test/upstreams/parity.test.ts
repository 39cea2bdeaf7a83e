import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PARITY_BARS, parity } from "../../src/train/parity.ts";
import { referenceDir } from "../shared.ts";

// Every family against transformers and PyTorch, forward, backward and ten steps, from both forms of its weights.

const root = referenceDir("upstreams");
const folders = root === undefined ? [] : readdirSync(root).map((name) => [name, join(root, name)]);

describe.skipIf(root === undefined)("parity with PyTorch", () => {
  test.each(folders)("%s", async (_, folder) => {
    const fromSafetensors = await parity(folder, { threads: 1 });
    const { errors, worst, ok } = fromSafetensors;
    for (const kind of Object.keys(PARITY_BARS) as (keyof typeof PARITY_BARS)[])
      expect(errors[kind], `${kind}; worst: ${worst.name}`).toBeLessThanOrEqual(PARITY_BARS[kind]);
    expect(ok).toBe(true);
    const copy = mkdtempSync(join(tmpdir(), "parity-"));
    try {
      cpSync(folder, copy, { recursive: true, filter: (path) => !path.endsWith("model.safetensors") });
      // The same weights in the same graph: the same numbers.
      expect((await parity(copy, { threads: 1 })).errors).toEqual(errors);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});
