import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PARITY_BARS, parity } from "../../src/train/parity.ts";
import { referenceDir } from "../shared.ts";

// Logits, hidden states, loss, all gradients and ten steps of Adam against transformers and PyTorch.

const committed = ["wav2vec2-tiny", "wav2vec2-adapter", "pase-tiny", "pase-plus-tiny", "vq-wav2vec-tiny"];
const folders = [
  ...committed.map((name) => ({
    name: `${name} (in this repository)`,
    folder: join(import.meta.dirname, "../fixtures/reference", name),
  })),
  ...["wav2vec2-base", "wav2vec2-xlsr"].map((name) => ({ name, folder: referenceDir("upstreams", name) })),
];

describe("models agree with PyTorch", () => {
  for (const { name, folder } of folders)
    test.skipIf(folder === undefined)(name, async () => {
      const { ok, errors, worst } = await parity(folder!, { threads: 2 });
      const kinds = Object.keys(PARITY_BARS) as (keyof typeof PARITY_BARS)[];
      for (const kind of kinds)
        expect(errors[kind], `worst: ${JSON.stringify(worst)}`).toBeLessThanOrEqual(PARITY_BARS[kind]);
      expect(ok).toBe(true);
    });
});
