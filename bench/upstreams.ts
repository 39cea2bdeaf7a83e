import { parseArgs } from "node:util";
import * as ops from "../src/ops/index.ts";
import { ParameterTable } from "../src/params/params.ts";
import { random } from "../src/random.ts";
import { compile } from "../src/runtime/cpu.ts";
import { f32, i32 } from "../src/runtime/program.ts";
import { symbol } from "../src/tensor/dims.ts";
import { evaluationGraph } from "../src/train/program.ts";
import { ParameterStore } from "../src/train/store.ts";
import { upstreamOf } from "../src/upstreams/index.ts";
import { layoutNamed } from "./layouts.ts";

const USAGE = `node --import tsx bench/upstreams.ts NAME [--batch 1] [--seconds 5] [--threads 2] [--json]

The forward pass of a released model at its real size with random weights: time, memory, and whether all is finite.
One model a process, so that the peak is its own.`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    batch: { type: "string", default: "1" },
    seconds: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
  },
});
const [name = ""] = positionals;
const config = layoutNamed(name, USAGE);
const batch = Number(values.batch);
const samples = 16_000 * Number(values.seconds);

const began = performance.now();
const upstream = upstreamOf(config, name);
const table = new ParameterTable();
const audio = ops.input("audio", [symbol("batch"), symbol("samples")]);
const frames = ops.input("frames", [symbol("batch")], "i32");
const { last } = upstream.forward({ audio, frames }, table.at(upstream.prefix));
const program = await compile(evaluationGraph(table, { last }, [audio, frames]), {
  threads: Number(values.threads),
});
const builtMs = performance.now() - began;
const store = new ParameterStore(table.specs, () => false);
store.initialise(1);
const rng = random(1, "audio");
const feeds = {
  ...store.values,
  audio: f32(
    [batch, samples],
    Float32Array.from({ length: batch * samples }, () => rng.normal()),
  ),
  frames: i32([batch], new Int32Array(batch).fill(upstream.frames(samples) as number)),
};
const times: number[] = [];
let finite = true;
for (let round = 0; round < 3; round++) {
  const start = performance.now();
  const { last: out } = await program.run(feeds);
  times.push(performance.now() - start);
  finite &&= (out.data as Float32Array).every((x) => Number.isFinite(x));
}
await program.dispose();
const row = {
  name,
  parameters: store.weights.length,
  weightsMB: Math.round((store.weights.length * 4) / 1e6),
  builtMs: Math.round(builtMs),
  forwardMs: Math.round(Math.min(...times)),
  peakMB: Math.round(process.resourceUsage().maxRSS / 1024),
  finite,
};
console.log(
  values.json
    ? JSON.stringify(row)
    : `${name} | ${(row.parameters / 1e6).toFixed(1)} M parameters, ${row.weightsMB} MB | built in ${row.builtMs} ms | ${batch} x ${values.seconds} s in ${row.forwardMs} ms | peak ${row.peakMB} MB | ${finite ? "all finite" : "NOT FINITE"}`,
);
if (!finite) process.exitCode = 1;
