import { parseArgs } from "node:util";
import { alternate, type Case, type Row } from "./alternate.ts";
import { benchAssess } from "./assess.ts";
import { benchAudio } from "./audio.ts";
import { benchBuild } from "./build.ts";
import { benchDecode } from "./decode.ts";
import { benchFeatures } from "./features.ts";
import { benchHeads } from "./heads.ts";
import { benchLong } from "./long.ts";
import { benchMaskedStep, benchTaskSwitch } from "./masks.ts";
import { benchMerge } from "./merge.ts";
import type { BenchOptions } from "./options.ts";
import { benchPrefetch } from "./prefetch.ts";
import { benchProbe } from "./probe.ts";
import { benchSelect } from "./select.ts";
import { benchStructured } from "./structured.ts";

const USAGE = `npm run bench -- NAME [options]

  train-step   a wav2vec2-base CTC training step, 4 x 5 s, Adam, clipping: forward, backward, update
  infer        the forward pass of wav2vec2-base over 10 s
  build        from the model's code to the runtime's session, for a training step of wav2vec2-base (--rounds: builds)
  assess       a severity report of 10 s at base size, model loaded and from a cold process
  masked-step  the same step learning masks (S3-Router), beside the full one; thresholds beside torch.kthvalue and topk
  task-switch  changing the task of a base-size model with masks: from packed bits, and as graph inputs
  structured   size and speed of a base model after export with zeros scattered, and with channels and heads taken out
  decode       beam search with a word 4-gram and a letter 4-gram, and what a model of LibriSpeech's size takes
  audio        decoding, resampling and spectra
  features     eGeMAPS over real files
  select       weights of pretext tasks at the paper's size, over generated audio
  probe        probes of the miniature suite from cached hidden states, and computing them whenever they are heard
  heads        SUPERB's heads at official sizes and batches: an update, reading a recording, peak memory (--rounds: updates)
  long         peak memory of transcribing ten minutes and an hour
  prefetch     how long training steps on real recordings wait for their audio (--rounds: steps)
  merge        two models of 315 M values, by interpolation and by TIES

  --peer PYTHON     a Python with the other side's packages: the same work there, in alternating rounds
  --rounds N        counted rounds (default 5)
  --only TEXT       only the rows whose name or mode contains TEXT
  --threads N       default 2
  --share F         probe: that share of the recordings and updates (default 1); select: of the utterances; decode: n-grams as a share of
                    LibriSpeech's 4-gram (default 0.05)
  --upstream NAME   probe: base (default; the whole suite takes some ten hours, --share 0.02 some twenty minutes) or small
  --profile PREFIX  train-step, infer: the runtime's own profile of our side, a JSON file for each row; steps are slower with it
  --json            one object a line`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: "string" },
    rounds: { type: "string", default: "5" },
    only: { type: "string", default: "" },
    threads: { type: "string", default: "2" },
    share: { type: "string" },
    upstream: { type: "string" },
    profile: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const [name] = positionals;
const threads = Number(values.threads);
const rounds = Number(values.rounds);
const profiled = values.profile === undefined ? {} : { profilePrefix: values.profile };

function trainingCases(): Case[] {
  const cases: Case[] = [];
  for (const [train, label] of [
    ["frozen-extractor", "frozen extractor"],
    ["all", "everything trained"],
  ] as const)
    for (const dropout of ["zero", "default"] as const)
      for (const [mode, precision] of [
        ["fast", "f32"],
        ["fast", "bf16"],
        ["small", "f32"],
      ] as const) {
        const shared = { dropout, train, batch: 4, seconds: 5, threads };
        cases.push({
          name: `train-step: ${label}, ${dropout === "zero" ? "no dropout" : "default dropout"}`,
          mode,
          ours: { task: "train-step", mode, ...shared, ...profiled },
          peer: {
            name: `PyTorch ${precision}`,
            program: "train_step",
            setup: { mode: precision, ...shared },
          },
        });
      }
  return cases;
}

function inferenceCases(): Case[] {
  const shared = { batch: 1, seconds: 10, threads };
  return (["f32", "bf16"] as const).map((precision) => ({
    name: "infer: wav2vec2-base, 10 s",
    mode: "fast",
    ours: { task: "infer", mode: "fast", dropout: "zero", train: "all", ...shared, ...profiled },
    peer: { name: `PyTorch ${precision}`, program: "infer", setup: { mode: precision, ...shared } },
  }));
}

function show(row: Row): string {
  if (values.json) return JSON.stringify(row);
  const { ours, peer } = row;
  const mine = `${row.name} | ${row.mode} | ours ${ours.medianMs} ms (min ${ours.minMs}), peak ${ours.peakMB} MB, built in ${ours.compileMs} ms`;
  if (peer === undefined) return mine;
  return `${mine} | ${peer.name} ${peer.medianMs} ms (min ${peer.minMs}), peak ${peer.peakMB} MB | ratio ${row.ratio} (pairs ${row.pairs!.join(", ")})`;
}

async function compare(all: readonly Case[]): Promise<void> {
  const cases = all.filter((c) => `${c.name} ${c.mode} ${c.peer?.name}`.includes(values.only));
  // Without a peer the rows that differ only in it would repeat.
  const own = cases.filter(
    (c, i) =>
      values.peer !== undefined || cases.findIndex((o) => o.name === c.name && o.mode === c.mode) === i,
  );
  for (const c of own) {
    const row = await alternate(c, values.peer, rounds);
    if (row.load > 0.5)
      console.error(
        `the load average was ${row.load.toFixed(1)}: something else is running, times are not to be trusted`,
      );
    console.log(show(row));
  }
}

const BENCHES: Readonly<Record<string, (options: BenchOptions) => Promise<void> | void>> = {
  "train-step": () => compare(trainingCases()),
  infer: () => compare(inferenceCases()),
  build: benchBuild,
  assess: benchAssess,
  "masked-step": benchMaskedStep,
  "task-switch": benchTaskSwitch,
  structured: benchStructured,
  decode: benchDecode,
  audio: benchAudio,
  features: benchFeatures,
  select: benchSelect,
  probe: benchProbe,
  heads: benchHeads,
  long: benchLong,
  prefetch: benchPrefetch,
  merge: benchMerge,
};

if (values.help || name === undefined) console.log(USAGE);
else if (Object.hasOwn(BENCHES, name))
  await BENCHES[name]({
    ...{ json: values.json, rounds, threads, only: values.only, peer: values.peer },
    upstream: values.upstream,
    share: values.share === undefined ? undefined : Number(values.share),
  });
else {
  console.error(`bench: there is no "${name}"; it can be ${Object.keys(BENCHES).join(", ")}`);
  process.exitCode = 2;
}
