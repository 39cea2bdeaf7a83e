import type { Command } from "commander";

/** A command's module is loaded only when it is used, so that `--help` is immediate. */
export interface CommandEntry {
  name: string;
  summary: string;
  load(): Promise<{ command(): Command }>;
}

/** Every command there is, in the order of `--help`: only those that work. */
export const commands: CommandEntry[] = [
  {
    name: "demo",
    summary: "train on synthetic speech, grade a recording and write a report, in minutes and without data",
    load: () => import("./demo.ts"),
  },
  {
    name: "train",
    summary: "train a recipe into a run folder, or go on with a run",
    load: () => import("./train.ts"),
  },
  {
    name: "eval",
    summary: "evaluate the model of a finished run",
    load: () => import("./eval.ts"),
  },
  {
    name: "compare",
    summary: "compare two finished runs: errors with intervals, and a paired test",
    load: () => import("./compare.ts"),
  },
  {
    name: "pack",
    summary: "pack the masks of a run into a small file bound to its backbone",
    load: () => import("./pack.ts"),
  },
  {
    name: "unpack",
    summary: "write a mask pack over its backbone as a dense model",
    load: () => import("./unpack.ts"),
  },
  {
    name: "prune",
    summary: "take whole channels and heads out of a model, and measure what that buys",
    load: () => import("./prune.ts"),
  },
  {
    name: "lm",
    summary: "compile language models for decoding",
    load: () => import("./lm.ts"),
  },
  {
    name: "analyse",
    summary: "look into what was learned: masks of several tasks",
    load: () => import("./analyse.ts"),
  },
  {
    name: "sweep",
    summary: "run a recipe over a grid of settings and seeds",
    load: () => import("./sweep-train.ts"),
  },
  {
    name: "merge",
    summary: "merge models that were tuned from one base: interpolation, linear, TIES, DARE, SLERP",
    load: () => import("./merge.ts"),
  },
  {
    name: "assess",
    summary: "grade recordings of a speaker with a severity model, into a report that says why",
    load: () => import("./assess.ts"),
  },
  {
    name: "severity",
    summary: "studies of graded speech: cross-validation over speakers, grid, analysis",
    load: () => import("./severity.ts"),
  },
  {
    name: "transcribe",
    summary: "write down what is said in recordings of any length, with times",
    load: () => import("./transcribe.ts"),
  },
  {
    name: "extract",
    summary: "hidden states of any model, as NumPy or safetensors arrays",
    load: () => import("./extract.ts"),
  },
  {
    name: "export",
    summary: "write a model as ONNX for other runtimes, quantised if asked",
    load: () => import("./export.ts"),
  },
  {
    name: "parity",
    summary: "compare with reference values from PyTorch",
    load: () => import("./parity.ts"),
  },
  {
    name: "inspect",
    summary: "say what a model is, what training freezes, and the memory each plan needs",
    load: () => import("./inspect.ts"),
  },
  {
    name: "convert",
    summary: "rewrite a checkpoint of any source as a Hugging Face folder or a safetensors file",
    load: () => import("./convert.ts"),
  },
  {
    name: "corpus",
    summary: "manifests of corpora; check, fetch, synthesize and change them",
    load: () => import("./corpus.ts"),
  },
  {
    name: "align",
    summary: "find when each phone and word of a known text was spoken, with a trained model",
    load: () => import("./align.ts"),
  },
  {
    name: "features",
    summary: "acoustic features of recordings as a table: eGeMAPS, pretext labels, clinical, mel, MFCC",
    load: () => import("./features.ts"),
  },
  {
    name: "superb",
    summary: "probe a frozen model on the tasks of SUPERB",
    load: () => import("./superb.ts"),
  },
  {
    name: "score",
    summary: "SUPERB scores of a table of results",
    load: () => import("./score.ts"),
  },
  {
    name: "select",
    summary: "compute which signal features to pre-train on for a task, and with what weights",
    load: () => import("./select.ts"),
  },
  {
    name: "results",
    summary: "run the miniature replication of a paper and write down what held",
    load: () => import("./results.ts"),
  },
  {
    name: "doctor",
    summary: "say what runs on this machine, what is missing and how to get it",
    load: () => import("./doctor.ts"),
  },
];
