import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { replicate } from "../../../src/methods/nano/results.ts";
import { tinyModel } from "../../../src/methods/speech-ft/replication/data.ts";
import { readRecipe } from "../../../src/train/recipe.ts";
import { openSafetensors } from "../../../src/weights/safetensors.ts";
import { dataDir } from "../../shared.ts";

const root = mkdtempSync(join(tmpdir(), "nano-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const data = dataDir();

describe("the small model beside random weights and log mel", () => {
  it.skipIf(data === undefined)("is probed on test speakers, and goes on from what is there", async () => {
    const said: string[] = [];
    const options = {
      ...{ data: data!, folder: join(root, "out"), upstream: tinyModel(join(root, "model")), tiny: true },
      ...{ threads: 1, jobs: 1, planOnly: false, signal: new AbortController().signal },
      log: (line: string) => said.push(line),
    };
    expect(await replicate({ ...options, planOnly: true })).toMatchObject({ left: 3, result: { probes: 9 } });
    // Nothing fits into no time.
    expect(await replicate({ ...options, budget: 0 })).toMatchObject({ left: 3, section: undefined });
    const first = await replicate(options);
    expect(first.left).toBe(0);
    const [head] = first.section!.match(/^\| frozen upstream.*$/m)!;
    expect(head).toBe(
      "| frozen upstream | seeds | mini-digits (accuracy ↑) | mini-phonemes (per ↓) | mini-verification (eer ↓) |",
    );
    for (const name of ["model", "random weights", "log-mel"])
      expect(first.section).toMatch(new RegExp(`^\\| ${name} \\| 1 \\|( \\d+\\.\\d \\|){3}$`, "m"));
    expect(first.section!.match(/^- model against/gm)).toHaveLength(6);
    expect(said.join("\n")).toContain("hidden states");
    said.length = 0;
    expect(await replicate(options)).toEqual(first);
    expect(said.join("\n")).not.toContain("hidden states");
  });
});

describe("models/nano", () => {
  const own = resolve(import.meta.dirname, "../../..");
  const folder = join(own, "models/nano");

  it("has at most 2.4 M parameters in less than 10 MB", () => {
    const path = join(folder, "model.safetensors");
    expect(statSync(path).size).toBeLessThan(10e6);
    const file = openSafetensors(path);
    const sizes = [...file.infos.values()].map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    file.close();
    expect(sizes.reduce((a, b) => a + b)).toBeLessThanOrEqual(2.4e6);
  });

  it("is what its recipe describes, trained to its last step", () => {
    const recipe = readRecipe(join(own, "recipes/pretrain/nano.yaml"), []);
    const { architectures: _, ...config } = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    expect(config).toEqual(recipe.upstream.config);
    const curve = readFileSync(join(folder, "curve.jsonl"), "utf8").trim().split("\n");
    const last = JSON.parse(curve.at(-1)!);
    expect(last).toMatchObject({ event: "valid", step: recipe.steps });
    // Its card gives this figure.
    const named = `${(100 * last.metrics["units.accuracy"]).toFixed(1)} %`;
    expect(readFileSync(join(folder, "README.md"), "utf8")).toContain(named);
  });
});
