import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ops from "../src/ops/index.ts";
import { ParameterTable } from "../src/params/params.ts";
import { random } from "../src/random.ts";
import { symbol } from "../src/tensor/dims.ts";
import { sizeOf } from "../src/tensor/evaluate.ts";
import { writeJson } from "../src/train/export.ts";
import { loadUpstream, modelOf } from "../src/train/model.ts";
import { parseRecipe } from "../src/train/recipe.ts";
import { ParameterStore } from "../src/train/store.ts";
import { upstreamOf } from "../src/upstreams/index.ts";
import { writeSafetensors } from "../src/weights/safetensors.ts";
import { layoutNamed } from "./layouts.ts";

const USAGE = `node --import tsx bench/loading.ts [NAME]

Writes a checkpoint of a released layout (xls-r-300m by default) with random weights, loads it in a process of its own as
training does, and prints that process's peak memory beside the size of the weights.`;

const [name = "xls-r-300m", folder] = process.argv.slice(2);
const config = layoutNamed(name, USAGE);
const upstream = upstreamOf(config, name);
const table = new ParameterTable();
const audio = ops.input("audio", [symbol("batch"), symbol("samples")]);
upstream.forward({ audio }, table.at(upstream.prefix));
const specs = [...table.specs.values()];

if (folder === undefined) {
  const scratch = mkdtempSync(join(tmpdir(), "loading-"));
  try {
    writeJson(join(scratch, "config.json"), config);
    const rng = random(1, "weights");
    writeSafetensors(
      join(scratch, "model.safetensors"),
      specs.map(({ name: parameter, shape }) => ({
        name: parameter,
        dtype: "F32",
        shape: [...shape],
        data: () => Float32Array.from({ length: sizeOf(shape) }, () => rng.next() - 0.5),
      })),
    );
    const { spawnSync } = await import("node:child_process");
    const own = [...process.execArgv, import.meta.filename, name, scratch];
    const { status } = spawnSync(process.execPath, own, { stdio: "inherit" });
    process.exitCode = status ?? 1;
  } finally {
    rmSync(scratch, { recursive: true });
  }
} else {
  const before = process.resourceUsage().maxRSS * 1024;
  const recipe = parseRecipe(
    JSON.stringify({
      name: "loading",
      upstream: { model: folder },
      corpus: { manifest: "none.jsonl" },
      objectives: { word: { loss: "cross-entropy", target: "labels.word" } },
      optimizer: { name: "adam" },
    }),
    "loading",
  );
  const store = new ParameterStore(table.specs, () => false);
  loadUpstream(modelOf(recipe), store);
  const peak = process.resourceUsage().maxRSS * 1024;
  const size = statSync(join(folder, "model.safetensors")).size;
  const giga = (bytes: number) => (bytes / 1e9).toFixed(3);
  console.log(
    `${name} | checkpoint ${giga(size)} GB | peak of the process ${giga(peak)} GB (${(peak / size).toFixed(2)} x), of which ${giga(before)} GB before loading`,
  );
}
