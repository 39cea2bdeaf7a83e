import { spawnSync } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "../src/weights/safetensors.ts";
import { bytesOf } from "../src/weights/tensor-file.ts";
import type { BenchOptions } from "./options.ts";
import { median } from "./worker-process.ts";

interface Run {
  ms: number;
  cpuMs: number;
  peakMB: number;
}

/** Shapes of XLS-R 300M: 315 M values. */
const CONFIG = {
  model_type: "wav2vec2",
  hidden_size: 1024,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  intermediate_size: 4096,
  feat_extract_norm: "layer",
  do_stable_layer_norm: true,
  conv_bias: true,
};

function shapes(): [string, number[]][] {
  const linear = (name: string, out: number, dim: number): [string, number[]][] => [
    [`${name}.weight`, [out, dim]],
    [`${name}.bias`, [out]],
  ];
  const norm = (name: string, dim: number): [string, number[]][] => [
    [`${name}.weight`, [dim]],
    [`${name}.bias`, [dim]],
  ];
  const { hidden_size: d, intermediate_size: inner, num_hidden_layers: layers } = CONFIG;
  const out: [string, number[]][] = [["masked_spec_embed", [d]]];
  for (const [i, kernel] of [10, 3, 3, 3, 3, 2, 2].entries()) {
    const path = `feature_extractor.conv_layers.${i}`;
    out.push([`${path}.conv.weight`, [512, i === 0 ? 1 : 512, kernel]], [`${path}.conv.bias`, [512]]);
    out.push(...norm(`${path}.layer_norm`, 512));
  }
  out.push(...norm("feature_projection.layer_norm", 512), ...linear("feature_projection.projection", d, 512));
  const position = "encoder.pos_conv_embed.conv";
  out.push([`${position}.parametrizations.weight.original0`, [1, 1, 128]], [`${position}.bias`, [d]]);
  out.push([`${position}.parametrizations.weight.original1`, [d, d / 16, 128]]);
  for (let layer = 0; layer < layers; layer++) {
    const path = `encoder.layers.${layer}`;
    for (const part of ["q_proj", "k_proj", "v_proj", "out_proj"])
      out.push(...linear(`${path}.attention.${part}`, d, d));
    out.push(...linear(`${path}.feed_forward.intermediate_dense`, inner, d));
    out.push(...linear(`${path}.feed_forward.output_dense`, d, inner));
    out.push(...norm(`${path}.layer_norm`, d), ...norm(`${path}.final_layer_norm`, d));
  }
  out.push(...norm("encoder.layer_norm", d));
  return out.map(([name, shape]) => [`wav2vec2.${name}`, shape]);
}

/** A random model; another seed is the same model with every value moved a little. */
function makeModel(folder: string, moved: number): void {
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), JSON.stringify(CONFIG));
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  };
  writeSafetensors(
    join(folder, "model.safetensors"),
    shapes().map(([name, shape]) => ({
      name,
      dtype: "F32",
      shape,
      data: () => {
        const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
        for (let i = 0; i < data.length; i++) data[i] = 0.05 * next();
        for (let i = 0; i < data.length; i++) data[i] += moved * next();
        return data;
      },
    })),
  );
}

/** How fast this disk takes the result's bytes and makes them durable, MB/s. */
function diskSpeed(path: string, bytes: number): number {
  const chunk = new Float32Array(1 << 22).fill(1);
  const start = performance.now();
  const file = openSync(path, "w");
  for (let done = 0; done < bytes; done += chunk.byteLength) writeSync(file, bytesOf(chunk));
  fsyncSync(file);
  closeSync(file);
  const seconds = (performance.now() - start) / 1000;
  rmSync(path);
  return bytes / 2 ** 20 / seconds;
}

/**
 * Two models of 315 M values, merged by interpolation and by TIES over the whole model, each in a process of its own that ends
 * with the result on the disk; where `peer` names a Python with numpy and safetensors, a plain NumPy script does the same in alternating rounds.
 */
export async function benchMerge({ json, peer, rounds }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bench-merge-"));
  try {
    const [base, tuned] = ["base", "tuned"].map((name) => join(folder, name));
    makeModel(base, 0);
    makeModel(tuned, 0.001);
    const script = (name: string) => new URL(name, import.meta.url).pathname;
    const run = (command: string, args: string[]): Run => {
      const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
      if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
      return JSON.parse(stdout);
    };
    for (const method of ["interpolate", "ties"]) {
      const mine: Run[] = [];
      const theirs: Run[] = [];
      const speeds: number[] = [];
      // The first round warms the page cache.
      for (let round = 0; round <= rounds; round++) {
        const out = join(folder, "out");
        const ours = run(process.execPath, [
          "--import",
          "tsx",
          script("./ours/merge.ts"),
          base,
          tuned,
          out,
          method,
        ]);
        rmSync(out, { recursive: true });
        const file = (path: string) => join(path, "model.safetensors");
        const other =
          peer &&
          run(peer, [script("./peer/merge.py"), file(base), file(tuned), join(folder, "out.st"), method]);
        rmSync(join(folder, "out.st"), { force: true });
        if (round === 0) continue;
        mine.push(ours);
        if (other) theirs.push(other);
        speeds.push(diskSpeed(join(folder, "disk"), 1.26e9));
      }
      report(json, method, mine, theirs, median(speeds));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function report(json: boolean, method: string, mine: Run[], theirs: Run[], diskMBps: number): void {
  const name = `merge: two models of 315 M values, ${method}`;
  const summary = (runs: Run[]) => ({
    medianMs: median(runs.map(({ ms }) => ms)),
    cpuMs: median(runs.map(({ cpuMs }) => cpuMs)),
    peakMB: Math.max(...runs.map(({ peakMB }) => peakMB)),
  });
  const ours = summary(mine);
  const peer = theirs.length > 0 ? { name: "NumPy", ...summary(theirs) } : undefined;
  const pairs = theirs.map((run, i) => Number((run.ms / mine[i].ms).toFixed(3)));
  const ratio = pairs.length > 0 ? median(pairs) : undefined;
  if (json) {
    console.log(JSON.stringify({ name, mode: "one process a merge", ours, peer, ratio, pairs, diskMBps }));
    return;
  }
  const said = (r: typeof ours) =>
    `${r.medianMs.toFixed(0)} ms (${r.cpuMs.toFixed(0)} ms CPU), peak ${r.peakMB.toFixed(0)} MB`;
  const disk = `writing 1.26 GB alone runs at ${diskMBps.toFixed(0)} MB/s (${(1.26e9 / 2 ** 20 / diskMBps).toFixed(1)} s)`;
  console.log(`${name} | ours ${said(ours)} | ${disk}`);
  if (peer)
    console.log(
      `${" ".repeat(name.length)} | NumPy ${said(peer)} | ratio ${ratio} (pairs ${pairs.join(", ")})`,
    );
}
