import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { writeMerge } from "../../src/merge/merge.ts";
import { formatMergePlan, openModels } from "../../src/merge/models.ts";
import { type MergeSpec, mergeSpec } from "../../src/merge/spec.ts";
import { readLineage, writeLineage } from "../../src/train/lineage.ts";
import { narrow } from "../../src/weights/narrow.ts";
import { openSafetensors } from "../../src/weights/safetensors.ts";
import { halfToFloat } from "../../src/weights/tensor-file.ts";
import { modelFolder, type Tensors } from "./models.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
const fresh = () => join(mkdtempSync(join(tmpdir(), "merged-")), "out");
const tensor = (shape: number[], start: number) => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => start + 0.25 * i),
});
const ENCODER = (start: number): Tensors => ({
  "wav2vec2.encoder.layers.0.final_layer_norm.weight": tensor([4], start),
  "wav2vec2.feature_projection.projection.weight": tensor([2, 3], 2 * start),
});
const HEAD = (start: number): Tensors => ({ "lm_head.weight": tensor([3, 4], start) });

function merge(base: string, tuned: string[], given: Partial<MergeSpec> = {}) {
  const spec = mergeSpec({ method: "interpolate", ...given }, tuned.length);
  const models = openModels(base, tuned, spec);
  const out = fresh();
  try {
    writeMerge(models, spec, out);
  } finally {
    models.close();
  }
  const file = openSafetensors(join(out, "model.safetensors"));
  const values = Object.fromEntries(
    [...file.infos.keys()].map((name) => [name, file.readNumbers(name).data]),
  );
  const dtypes = [...file.infos.values()].map(({ dtype }) => dtype);
  file.close();
  return { out, values, dtypes, lines: models.lines };
}

const refused = (base: string, tuned: string[], given: Partial<MergeSpec> = {}): string => {
  try {
    merge(base, tuned, given);
  } catch (error) {
    expect((error as Error).name).toBe("UserError");
    return (error as Error).message;
  }
  throw new Error("was not refused");
};

describe("a merged folder", () => {
  it("has the base's names, configuration and pre-training heads; heads of tasks are dropped", () => {
    const base = modelFolder(
      {
        "encoder.layers.0.final_layer_norm.weight": tensor([4], 1),
        "quantizer.codevectors": tensor([1, 2], 7),
      },
      { hidden_size: 4, num_attention_heads: 2, note: "kept as it is" },
      { "preprocessor_config.json": { do_normalize: true } },
    );
    const tuned = modelFolder(
      {
        "wav2vec2.encoder.layers.0.final_layer_norm.weight": tensor([4], 3),
        "wav2vec2.masked_spec_embed": tensor([4], 0),
        ...HEAD(0),
      },
      { hidden_size: 4, num_attention_heads: 2, vocab_size: 3 },
    );
    const { out, values, lines } = merge(base, [tuned]);
    expect(readdirSync(out).sort()).toEqual([
      ...["config.json", "merge.json", "model.safetensors", "preprocessor_config.json"],
    ]);
    expect(Object.keys(values).sort()).toEqual([
      "encoder.layers.0.final_layer_norm.weight",
      "quantizer.codevectors",
    ]);
    expect([...(values["encoder.layers.0.final_layer_norm.weight"] as Float32Array)]).toEqual([
      1.5, 1.75, 2, 2.25,
    ]);
    expect([...(values["quantizer.codevectors"] as Float32Array)]).toEqual([7, 7.25]);
    expect(JSON.parse(readFileSync(join(out, "config.json"), "utf8")).note).toBe("kept as it is");
    const said = formatMergePlan(lines).join("\n");
    expect(said).toMatch(/^merged +1 tensor.*\(interpolate\): wav2vec2\.encoder/m);
    expect(said).toMatch(/^kept .*pre-training head of the base.*quantizer/m);
    expect(said).toMatch(/^dropped .*task head of .*lm_head\.weight/m);
    expect(said).toMatch(/^dropped .*mask vector of .*masked_spec_embed/m);
  });

  it("has merged heads where all models have the same, and the base's vocabulary", () => {
    const vocabulary = { "vocab.json": { "<pad>": 0, a: 1, b: 2 } };
    const base = modelFolder(
      { ...ENCODER(0), ...HEAD(0) },
      { architectures: ["Wav2Vec2ForCTC"] },
      vocabulary,
    );
    const tuned = modelFolder({ ...ENCODER(4), ...HEAD(8) }, {}, vocabulary);
    const { out, values } = merge(base, [tuned]);
    expect((values["lm_head.weight"] as Float32Array)[0]).toBe(2);
    expect(existsSync(join(out, "vocab.json"))).toBe(true);
    const other = modelFolder(
      { ...ENCODER(4), ...HEAD(8) },
      {},
      { "vocab.json": { "<pad>": 0, a: 2, b: 1 } },
    );
    expect(refused(base, [other])).toMatch(/another vocabulary than .*--heads drop/);
    expect(refused(base, [modelFolder(ENCODER(4))])).toMatch(/has the heads \(none\), not lm_head\.weight/);
    const bare = merge(base, [other], { heads: "drop" });
    expect(Object.keys(bare.values)).not.toContain("lm_head.weight");
    expect(existsSync(join(bare.out, "vocab.json"))).toBe(false);
    expect(JSON.parse(readFileSync(join(bare.out, "config.json"), "utf8")).architectures).toEqual([
      "Wav2Vec2Model",
    ]);
  });

  it("keeps half precision where all models have it, and widens where one has more", () => {
    const half = (start: number, dtype: "F16" | "BF16" | "F32") =>
      modelFolder({ "encoder.x": { ...tensor([4], start), dtype } });
    for (const dtype of ["F16", "BF16"] as const) {
      const same = merge(half(1, dtype), [half(2, dtype)], { alpha: 0.5 });
      expect(same.dtypes).toEqual([dtype]);
      expect([...(same.values["encoder.x"] as Float32Array)]).toEqual([1.5, 1.75, 2, 2.25]);
      const wide = merge(half(1, dtype), [half(2, "F32")], { alpha: 0.5 });
      expect(wide.dtypes).toEqual(["F32"]);
    }
  });

  it("merges weight normalisation as stored or by its effective weight", () => {
    const path = "encoder.pos_conv_embed.conv";
    // Kernel of 2, lengths over the other axes; the tuned v is three times as long and turned.
    const weights = (g: number[], v: number[], names: [string, string]): Tensors => ({
      [`${path}.${names[0]}`]: { shape: [1, 1, 2], data: Float32Array.from(g) },
      [`${path}.${names[1]}`]: { shape: [2, 1, 2], data: Float32Array.from(v) },
    });
    const older = ["weight_g", "weight_v"] as [string, string];
    const newer = ["parametrizations.weight.original0", "parametrizations.weight.original1"] as [
      string,
      string,
    ];
    const base = modelFolder(weights([2, 1], [1, 0, 0, 1], older));
    const tuned = modelFolder(weights([2, 1], [0, 3, 3, 0], newer));
    const stored = merge(base, [tuned], { alpha: 0.5 }).values;
    expect([...(stored[`${path}.weight_v`] as Float32Array)]).toEqual([0.5, 1.5, 1.5, 0.5]);
    expect([...(stored[`${path}.weight_g`] as Float32Array)]).toEqual([2, 1]);
    // Effective: base [2, 0; 0, 1], tuned [0, 1; 2, 0], their middle [1, .5; 1, .5].
    const effective = merge(base, [tuned], { alpha: 0.5, weightNorm: "effective" }).values;
    expect([...(effective[`${path}.weight_v`] as Float32Array)]).toEqual([1, 0.5, 1, 0.5]);
    const lengths = [...(effective[`${path}.weight_g`] as Float32Array)];
    expect(lengths[0]).toBeCloseTo(Math.SQRT2, 6);
    expect(lengths[1]).toBeCloseTo(Math.SQRT1_2, 6);
    // Where one model is all there is, nothing is computed.
    const end = merge(base, [tuned], { alpha: 0, weightNorm: "effective" }).values;
    expect([...(end[`${path}.weight_v`] as Float32Array)]).toEqual([1, 0, 0, 1]);
  });

  it("is refused, with the reason, where models do not fit or a number is none", () => {
    const base = modelFolder(ENCODER(0), { num_hidden_layers: 12 });
    const other = (tensors: Tensors, config = {}) => modelFolder(tensors, config);
    expect(refused(base, [other(ENCODER(1), { num_hidden_layers: 24 })])).toMatch(
      /num_hidden_layers is 24, the base's 12/,
    );
    expect(refused(base, [modelFolder({ "encoder.x": tensor([1], 0) }, { model_type: "hubert" })])).toMatch(
      /it is a hubert model, the base a wav2vec2 model/,
    );
    const { "wav2vec2.feature_projection.projection.weight": dropped, ...missing } = ENCODER(1);
    expect(refused(base, [other({ ...missing, "encoder.new": dropped })])).toMatch(
      /projection\.weight" is missing; "wav2vec2\.encoder\.new" is not in the base/,
    );
    const misshapen = { ...ENCODER(1), "wav2vec2.feature_projection.projection.weight": tensor([3, 2], 0) };
    expect(refused(base, [other(misshapen)])).toMatch(/is \[3, 2\] instead of \[2, 3\]/);
    const broken = ENCODER(1);
    broken["wav2vec2.feature_projection.projection.weight"].data[2] = Number.NaN;
    expect(refused(base, [other(broken)])).toMatch(/projection\.weight" holds a NaN/);
    expect(refused(base, [base, base])).toMatch(/interpolate takes one tuned model, not 2/);
    expect(refused(base, [base], { alpha: 1.5 })).toMatch(/--alpha: must be between 0 and 1/);
    expect(refused(base, [base], { method: "linear", weights: [-1] })).toMatch(/arithmetic takes signs/);
    expect(refused(base, [base], { method: "ties", density: 0 })).toMatch(/--density/);
  });
});

describe("half precision", () => {
  it("is written as it is read, rounded to the nearest, ties to even", () => {
    const all = Array.from({ length: 65536 }, (_, bits) => bits).filter(
      (bits) => (bits & 0x7c00) !== 0x7c00 || (bits & 0x3ff) === 0,
    );
    const wide = Float32Array.from(all, halfToFloat);
    expect([...(narrow(wide, "F16") as Uint16Array)]).toEqual(all);
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: -65504, max: 65504 }), (x) => {
        const [bits] = narrow(Float32Array.of(x), "F16") as Uint16Array;
        const error = (b: number) => Math.abs(halfToFloat(b) - x);
        const sign = bits & 0x8000;
        const magnitude = bits & 0x7fff;
        for (const near of [magnitude - 1, magnitude + 1]) {
          if (near < 0 || near > 0x7bff) continue;
          // Nearer than its neighbours; as near only if it is the even one.
          expect(
            error(bits) < error(sign | near) || (error(bits) === error(sign | near) && bits % 2 === 0),
          ).toBe(true);
        }
      }),
    );
    expect([...(narrow(Float32Array.of(65520, -1e9, Number.NaN), "F16") as Uint16Array)]).toEqual([
      0x7c00, 0xfc00, 0x7e00,
    ]);
    // 1 + 2^-8 lies between two bfloat16: to the even one; a NaN stays one.
    expect([
      ...(narrow(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, Number.NaN), "BF16") as Uint16Array),
    ]).toEqual([0x3f80, 0x3f82, 0x7fc0]);
  });
});

describe("voxsmith merge", () => {
  it("prints the plan, writes the folder with the lineage of its parents, and refuses to overwrite", () => {
    const [base, tuned] = [modelFolder(ENCODER(0)), modelFolder({ ...ENCODER(4), ...HEAD(1) })];
    writeLineage(base, { runs: [{ name: "base", utterances: 1 }], hashes: ["AAAAAAAAAAA="] });
    writeLineage(tuned, { runs: [{ name: "tuned", utterances: 1 }], hashes: ["AAAAAAAAAAE="] });
    const out = fresh();
    const go = (...args: string[]) =>
      spawnSync(process.execPath, [bin, "merge", base, tuned, ...args], { encoding: "utf8" });
    const planned = go("--plan", "--json");
    expect(JSON.parse(planned.stdout).plan.map((line: { action: string }) => line.action)).toEqual([
      ...["merged", "merged", "dropped"],
    ]);
    const done = go("--out", out, "--method", "ties", "--density", "0.5");
    expect(done.stderr).toMatch(/alpha 0\.25, density 0\.5, over each model, signs by mass/);
    expect(done.status).toBe(0);
    expect(readLineage(out)!.runs.map(({ name }) => name)).toEqual(["base", "tuned"]);
    const again = go("--out", out);
    expect([again.status, again.stderr]).toEqual([2, expect.stringContaining("exists already")]);
  });
});
