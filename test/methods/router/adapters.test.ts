import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { evaluateRun } from "../../../src/train/evaluate-run.ts";
import { Evaluator } from "../../../src/train/evaluation.ts";
import { isAdapter } from "../../../src/train/model.ts";
import { closeStreams, prepare } from "../../../src/train/prepare.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { train } from "../../../src/train/trainer.ts";
import { openWeights } from "../../../src/weights/model-folder.ts";
import { tinyCorpus, tinyRecipe } from "../../train/tiny-corpus.ts";

const corpus = tinyCorpus(2);
const options = { data: corpus.folder, skipBad: false, log: () => {} };
const recipeOf = (plan: Record<string, unknown>, changes: Record<string, unknown> = {}) =>
  parseRecipe(tinyRecipe({ plan, ...changes }), "tiny.yaml");

/** The losses of a model as it starts, the names that train, and how many weights those are. */
async function started(plan: Record<string, unknown>) {
  const all = await prepare(recipeOf(plan), { ...options, cache: join(corpus.folder, "cache") });
  const evaluator = new Evaluator(all.task, all.store, { threads: 1, batch: 4 });
  try {
    const { predictions } = (await evaluator.evaluate(all.streams, "train"))!;
    const trained = [...all.store.specs.keys()].filter((name) => all.store.isTrained(name));
    return { losses: predictions.map(({ losses }) => losses), trained };
  } finally {
    await evaluator.dispose();
    await closeStreams(all.streams);
  }
}
const HEADS = ["heads.word.bias", "heads.word.weight", "lm_head.bias", "lm_head.weight"];
const plans = {
  serial: { adapter: { width: 4 } },
  houlsby: { adapter: { kind: "houlsby", width: 4 } },
  lora: { lora: { rank: 2, targets: ["q_proj", "v_proj", "output_dense"] } },
};

describe("a plan of adapters", () => {
  it("starts as the model itself, and trains adapters and heads alone", async () => {
    const plain = await started({});
    const count = { serial: 2 * 6, houlsby: 2 * 2 * 4, lora: 2 * 3 * 2 };
    for (const [name, plan] of Object.entries(plans)) {
      const { losses, trained } = await started(plan);
      expect([name, losses]).toEqual([name, plain.losses]);
      expect(trained.filter((each) => !isAdapter(each)).sort()).toEqual(HEADS);
      expect(trained.filter(isAdapter)).toHaveLength(count[name as keyof typeof count]);
    }
    const norms = await started({ adapter: { width: 4, alsoTrain: ["encoder.layers.*layer_norm.weight"] } });
    expect(norms.trained.filter((name) => name.endsWith("layer_norm.weight"))).toHaveLength(4);
  });

  it.each(Object.entries(plans))(
    "%s: learns, leaves frozen weights alone, and evaluates as it was trained",
    async (name, plan) => {
      const out = join(mkdtempSync(join(tmpdir(), "adapters-")), "run");
      const recipe = recipeOf(plan, { epochs: 5, optimizer: { name: "adam", lr: 0.01 } });
      const { metrics } = await train(recipe, { ...options, out });
      const again = await evaluateRun(out, "test", { ...options, threads: 1 });
      for (const [key, value] of Object.entries(again.metrics))
        expect(value).toBeCloseTo(metrics[`test.${key}`], 4);
      expect(existsSync(join(out, "adapter_config.json"))).toBe(name === "lora");

      const start = await prepare(recipe, { ...options, cache: join(corpus.folder, "cache") });
      await closeStreams(start.streams);
      const model = openWeights(out);
      const adapters = openWeights(join(out, "adapter_model.safetensors"));
      const changed: string[] = [];
      for (const key of model.infos.keys()) {
        if (isAdapter(key) || key.startsWith("lm_head")) continue;
        const [was, is] = [start.store.array(key), model.readF32(key)];
        if (was.some((x, i) => x !== is[i])) changed.push(key.split(".").at(-2)!);
      }
      // LoRA's sums are carried out in the weights of its targets; nothing else moved.
      expect([...new Set(changed)].sort()).toEqual(
        name === "lora" ? ["output_dense", "q_proj", "v_proj"] : [],
      );
      for (const key of adapters.infos.keys())
        if (/lora_B|linear_2.weight/.test(key))
          expect([key, adapters.readF32(key).some((x) => x !== 0)]).toEqual([key, true]);
      model.close();
      adapters.close();
    },
  );

  it("refuses two methods at once, and targets that fit nothing", async () => {
    await expect(started({ adapter: {}, lora: {} })).rejects.toThrow(/may have one of/);
    await expect(started({ mask: {}, lora: {} })).rejects.toThrow(/may have one of/);
    await expect(started({ lora: { targets: ["query"] } })).rejects.toThrow(/belongs to query/);
    await expect(started({ adapter: { alsoTrain: ["nothing"] } })).rejects.toThrow(/fits no parameter/);
  });
});
