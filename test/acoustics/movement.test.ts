import { beforeAll, describe, expect, test } from "vitest";
import {
  cornerDigits,
  type Movement,
  medians,
  sentenceMovements,
  sentences,
  shareMoved,
  vowelMovements,
} from "../../scripts/clinical-movement.ts";
import { dataDir } from "../shared.ts";

// On a few real recordings what docs/features.md shows on many: each clinical feature goes where its dimension should take it.

const data = dataDir("speechocean762") && dataDir("fsdd") && dataDir();

describe.skipIf(data === undefined)("clinical features of real recordings", () => {
  let moved: Movement[];

  beforeAll(async () => {
    const depths = [0, 0.5, 1];
    moved = [
      ...sentenceMovements(await sentences(data!, 4), depths),
      ...vowelMovements(await cornerDigits(data!, 3), depths),
    ];
  }, 240_000);

  test("go where their dimension takes them, further with its depth", () => {
    expect(moved).toHaveLength(14);
    for (const movement of moved) {
      const { dimension, feature, direction } = movement;
      const [none, half, full] = medians(movement).map((value) => direction * value);
      const said = `${feature} under ${dimension}: ${direction * none}, ${direction * half}, ${direction * full}`;
      expect(full, said).toBeGreaterThan(none);
      // Short recordings have no pause to lengthen at half depth; nothing may go the wrong way, though.
      expect(half, said).toBeGreaterThanOrEqual(none);
      expect(half, said).toBeLessThanOrEqual(full);
      expect(shareMoved(movement), said).toBeGreaterThanOrEqual(0.66);
    }
  });
});
