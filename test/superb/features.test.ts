import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { random } from "../../src/random.ts";
import { compile } from "../../src/runtime/cpu.ts";
import { f32, type Value } from "../../src/runtime/program.ts";
import { FeatureCache, type Features, featureBytes } from "../../src/superb/cache.ts";
import { batchOf, hiddenState, toFeatures } from "../../src/superb/features.ts";
import { floatToHalf, halfTable } from "../../src/weights/half.ts";
import { halfToFloat } from "../../src/weights/tensor-file.ts";

describe("halves", () => {
  test("every half is itself", () => {
    const table = halfTable();
    for (let bits = 0; bits < 65536; bits++) {
      const value = halfToFloat(bits);
      if (Number.isNaN(value)) expect(floatToHalf(value) & 0x7fff).toBeGreaterThan(0x7c00);
      else if (floatToHalf(value) !== bits || !Object.is(table[bits], value)) expect.fail(`half ${bits}`);
    }
  });

  test("other numbers become the nearest half, ties the even one, too large ones infinite", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: -70000, max: 70000 }), (value) => {
        const bits = floatToHalf(value);
        const size = bits & 0x7fff;
        const off = (other: number) => Math.abs(halfToFloat((bits & 0x8000) | other) - value);
        if (size === 0x7c00) expect(Math.abs(value)).toBeGreaterThanOrEqual(65520);
        else {
          const neighbours = [size - 1, size + 1].filter((each) => each >= 0 && each < 0x7c00);
          for (const each of neighbours) {
            expect(off(size)).toBeLessThanOrEqual(off(each));
            if (off(size) === off(each)) expect(size % 2).toBe(0);
          }
        }
      }),
    );
  });
});

/** Hidden states of three layers, the last one far from zero. */
function states(frames: number, dim: number) {
  const chance = random("states", frames, dim);
  const layer = (shift: number, scale: number) =>
    Float32Array.from({ length: frames * dim }, () => shift + scale * chance.normal());
  return { frames, layers: [layer(0, 1), layer(-2, 0.1), layer(300, 40)] };
}

/** What a graph casts the halves of a batch to. */
const floatsOf = ({ data }: Value) => Float32Array.from(data as Uint16Array, (bits) => halfTable()[bits]);

describe("features", () => {
  test("are layer norm without weights, as the graph's layer norm has it", async () => {
    const hidden = states(5, 24);
    const features = toFeatures(hidden);
    const x = ops.input("x", [5, 24]);
    const [one, zero] = [new Float32Array(24).fill(1), new Float32Array(24)];
    const y = ops.layerNorm(x, ops.constant([24], one), ops.constant([24], zero));
    const program = await compile({
      inputs: [{ name: "x", tensor: x }],
      outputs: [{ name: "y", tensor: y }],
      late: [],
    });
    const { features: batch } = batchOf([features]);
    for (const [i, layer] of hidden.layers.entries()) {
      const { y: expected } = await program.run({ x: f32([5, 24], layer) });
      const got = floatsOf(batch).subarray(i * 120, (i + 1) * 120);
      // Halves have 11 bits.
      for (const [k, value] of (expected.data as Float32Array).entries())
        expect(Math.abs(got[k] - value)).toBeLessThan(2 ** -11 * Math.max(1, Math.abs(value)) + 1e-5);
    }
    await program.dispose();
  });

  test("give the hidden states back, more exactly than halves of them would", () => {
    const hidden = states(7, 32);
    const features = toFeatures(hidden);
    const loud = hiddenState(features, 2);
    for (const [k, value] of hidden.layers[2].entries())
      expect(Math.abs(loud[k] - value)).toBeLessThan(40 * 4 * 2 ** -11);
  });

  test("a single layer stays as it is", () => {
    const layer = Float32Array.from([4, 4.5, -3, 0.25]);
    const features = toFeatures({ frames: 2, layers: [layer] });
    expect([...hiddenState(features, 0)]).toEqual([...layer]);
    expect([...floatsOf(batchOf([features]).features)]).toEqual([...layer]);
  });

  test("stand side by side in a batch, padded with zeros", () => {
    const [a, b] = [toFeatures(states(2, 4)), toFeatures(states(3, 4))];
    const { features, frames } = batchOf([a, b]);
    expect([features.shape, frames]).toEqual([
      [3, 2, 3, 4],
      [2, 3],
    ]);
    const at = (layer: number, row: number, frame: number) =>
      Array.from(
        floatsOf(features).subarray(
          ((layer * 2 + row) * 3 + frame) * 4,
          ((layer * 2 + row) * 3 + frame) * 4 + 4,
        ),
      );
    expect(at(1, 0, 2)).toEqual([0, 0, 0, 0]);
    expect(at(2, 1, 1)).toEqual(Array.from(b.values.subarray(28, 32), (bits) => halfTable()[bits]));
  });
});

describe("the cache", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "features-"));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const model = "0123456789abcdef0123456789abcdef";
  const features: Features[] = [3, 5, 2].map((frames) => toFeatures(states(frames, 6)));
  const open = (limit = 1e9, name = model) => new FeatureCache(root, name, limit);
  const pack = (name = model) => {
    const found = readdirSync(join(root, name)).find((file) => file.endsWith(".pack"));
    return join(root, name, found ?? "");
  };
  const filled = (name = model) => {
    const cache = open(1e9, name);
    for (const [i, each] of features.entries()) cache.put(`k${i}`, each);
    cache.close();
  };

  test("a base model takes a megabyte for a second of speech, as predicted to the byte", () => {
    expect(featureBytes(13, 50, 768) / 1e6).toBeCloseTo(1, 1);
    filled();
    const predicted = features.reduce((sum, f) => sum + featureBytes(f.layers, f.frames, f.dim), 0);
    expect(statSync(pack()).size).toBe(predicted);
  });

  test("gives back what it was given, to later processes too", () => {
    filled();
    const cache = open();
    for (const [i, each] of features.entries()) expect(cache.get(`k${i}`)).toEqual(each);
    expect(cache.get("other")).toBeUndefined();
    cache.close();
  });

  test("a kill while writing loses the last entry, a damaged byte only its own", () => {
    filled();
    const index = pack().replace(/pack$/, "index");
    appendFileSync(index, '["k3",{"pack":"x');
    const bytes = readFileSync(pack());
    bytes[10] ^= 1;
    writeFileSync(pack(), bytes.subarray(0, bytes.length - 1));
    const cache = open();
    expect([0, 1, 2, 3].map((i) => cache.get(`k${i}`) !== undefined)).toEqual([false, true, false, false]);
    expect(cache.put("k0", features[0])).toBe(true);
    expect(cache.get("k0")).toEqual(features[0]);
    cache.close();
  });

  test("keeps its limit: models that nobody uses make room, the one at work does not", () => {
    const [other, busy] = ["f".repeat(32), "e".repeat(32)];
    filled(other);
    const size = statSync(pack(other)).size;
    const working = open(1e9, busy);
    working.put("k", features[0]);
    writeFileSync(join(root, busy, "in-use-1"), "");
    const cache = open(size + featureBytes(3, 3, 6));
    expect(cache.put("a", features[0])).toBe(true);
    expect(readdirSync(root).sort()).toEqual([model, busy].sort());
    expect(cache.put("b", features[1])).toBe(true);
    expect(cache.put("c", toFeatures(states(400, 6)))).toBe(false);
    expect(cache.get("a")).toEqual(features[0]);
    cache.close();
    working.close();
  });

  test("two processes write into one folder", () => {
    const [a, b] = [open(), new FeatureCache(root, model, 1e9)];
    Object.assign(b, { own: "another" });
    a.put("a", features[0]);
    b.put("b", features[1]);
    a.close();
    b.close();
    const cache = open();
    expect([cache.get("a"), cache.get("b")]).toEqual([features[0], features[1]]);
    cache.close();
  });
});
