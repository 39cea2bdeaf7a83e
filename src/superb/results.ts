import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { UserError } from "../errors.ts";
import type { SuperbMetric } from "../metrics/superb-score.ts";
import { type Json, loadCheckpoint, saveCheckpoint } from "../train/checkpoint.ts";
import { lineageOf, writeLineage } from "../train/lineage.ts";
import { writeMasks } from "../train/mask-file.ts";
import { ADAPTED_UPSTREAM } from "../train/pack.ts";
import { versions } from "../train/versions.ts";
import { writeAtomically } from "../weights/file.ts";
import { writeSafetensors } from "../weights/safetensors.ts";
import { dataHash } from "./order.ts";
import type { Prediction, ProbeTask } from "./task.ts";
import type { HeadTrainer, TrainerState } from "./trainer.ts";

/** What one task came to. */
export interface ProbeResult {
  readonly task: string;
  readonly model: { readonly name: string; readonly hash: string };
  readonly seed: number;
  /** Test metrics; rates between 0 and 1. */
  readonly metrics: Readonly<Record<string, number>>;
  /** The same as columns of the SUPERB score (per cent, except QbE); none for tasks that it does not know. */
  readonly columns: Readonly<Partial<Record<SuperbMetric, number>>>;
  readonly headline: { readonly metric: string; readonly value: number; readonly higher: boolean };
  /** Learned share of each hidden state, or 1 for the one that was chosen; the transformer's input first. */
  readonly layerWeights: readonly number[];
  readonly steps: number;
  /** The update whose weights were tested, and its validation metric. */
  readonly best?: { readonly step: number; readonly value: number };
  /** Utterances of each part, and a hash of what they are. */
  readonly data: {
    readonly train: number;
    readonly valid: number;
    readonly test: number;
    readonly hash: string;
  };
  /** Test utterances that the model or an ancestor trained on; absent where the model does not say what it learned from. */
  readonly overlap?: number;
  readonly notes: readonly string[];
  readonly seconds: number;
}

/** What a probe found, before it is a result. */
export interface Found {
  metrics: Readonly<Record<string, number>>;
  predictions: readonly Prediction[];
  layerWeights: readonly number[];
  steps: number;
  best?: { readonly step: number; readonly value: number };
  seconds: number;
}

/** Where the results of a model's probes stand, a folder for each task; nothing is kept without one. */
export class ResultFolder {
  private readonly out: string | undefined;
  private readonly model: ProbeResult["model"];
  private readonly seed: number;
  private readonly log: (line: string) => void;

  constructor(
    out: string | undefined,
    model: ProbeResult["model"],
    seed: number,
    log: (line: string) => void,
  ) {
    this.out = out;
    this.model = model;
    this.seed = seed;
    this.log = log;
  }

  private folderOf(task: ProbeTask): string | undefined {
    return this.out && join(this.out, task.name);
  }

  /** What a result depends on: a result of anything else in the same place is not this one. */
  private key(task: ProbeTask): string {
    const parts = [this.model.hash, this.seed, task.recipe, dataHash(task)];
    return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 16);
  }

  /** Writes what a call came to (`report.json`), and a row for `voxsmith score` (`scores.csv`) of all that stands there. */
  saveReport(report: object): void {
    if (this.out === undefined) return;
    mkdirSync(this.out, { recursive: true });
    write(join(this.out, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
    const columns = meanColumns(this.standing());
    const names = Object.keys(columns);
    if (names.length === 0) return;
    const name = `"${this.model.name.replaceAll('"', '""')}"`;
    write(
      join(this.out, "scores.csv"),
      `${["name", ...names].join(",")}\n${[name, ...Object.values(columns)].join(",")}\n`,
    );
  }

  /** Results of this model and seed, those of earlier calls with other tasks among them. */
  private standing(): ProbeResult[] {
    const files = readdirSync(this.out!).map((name) => join(this.out!, name, "result.json"));
    return files
      .filter(existsSync)
      .map((file) => readResult(file))
      .filter(({ model, seed }) => model.hash === this.model.hash && seed === this.seed);
  }

  finished(task: ProbeTask): ProbeResult | undefined {
    const path = join(this.folderOf(task) ?? "", "result.json");
    if (this.folderOf(task) === undefined || !existsSync(path)) return undefined;
    const { key, ...result } = readResult(path);
    return key === this.key(task) ? result : undefined;
  }

  restore(trainer: HeadTrainer): void {
    const folder = this.folderOf(trainer.task);
    if (folder === undefined) return;
    const path = join(folder, "checkpoints", this.key(trainer.task));
    const found = loadCheckpoint(path, this.log, trainer.buffers());
    if (found === undefined) return;
    trainer.resume(found.state as unknown as TrainerState);
    this.log(`${trainer.task.name}: goes on after update ${trainer.step}`);
  }

  checkpoint(trainer: HeadTrainer): void {
    const folder = this.folderOf(trainer.task);
    if (folder === undefined) return;
    const state = trainer.state() as unknown as Json;
    saveCheckpoint(
      join(folder, "checkpoints", this.key(trainer.task)),
      { step: trainer.step, state, buffers: trainer.buffers() },
      1,
    );
  }

  /** Writes the head, and what of the upstream trained with it: its weights, or its masks. */
  saveHead({ task, store, masks, adapted }: HeadTrainer): void {
    const folder = this.folderOf(task);
    if (folder === undefined) return;
    mkdirSync(folder, { recursive: true });
    const own = (name: string) => adapted?.isUpstream(name) !== true;
    const save = (file: string, wanted: (name: string) => boolean) =>
      writeSafetensors(
        join(folder, file),
        [...store.specs]
          .filter(([name]) => wanted(name))
          .map(([name, { shape }]) => ({
            ...{ name, dtype: "F32" as const, shape: [...shape] },
            data: store.array(name),
          })),
      );
    save("head.safetensors", own);
    if (adapted === undefined) return;
    if (masks !== undefined) writeMasks(folder, masks, store, adapted.prefix);
    else save("upstream.safetensors", (name) => !own(name));
    write(join(folder, ADAPTED_UPSTREAM), `${JSON.stringify(adapted.described, null, 2)}\n`);
    const heard = task.parts.train.map((i) => task.items[i].utterance);
    writeLineage(folder, lineageOf(task.name, heard, adapted.lineage));
  }

  save(task: ProbeTask, found: Found, overlapping: number | undefined): ProbeResult {
    const { metrics, predictions, layerWeights, steps, best, seconds } = found;
    const columns: Partial<Record<SuperbMetric, number>> = {};
    for (const [metric, column] of Object.entries(task.columns))
      columns[column] = column === "QbE" ? metrics[metric] : 100 * metrics[metric];
    const { train, valid, test } = task.parts;
    const result: ProbeResult = {
      task: task.name,
      model: this.model,
      seed: this.seed,
      metrics,
      columns,
      headline: { ...task.headline, value: metrics[task.headline.metric] },
      layerWeights,
      steps,
      ...(best && { best }),
      data: { train: train.length, valid: valid.length, test: test.length, hash: dataHash(task) },
      ...(overlapping !== undefined && { overlap: overlapping }),
      notes: task.notes,
      seconds,
    };
    const folder = this.folderOf(task);
    if (folder !== undefined) {
      mkdirSync(folder, { recursive: true });
      write(join(folder, "recipe.yaml"), stringify({ task: task.name, seed: this.seed, ...task.recipe }));
      write(
        join(folder, "predictions.jsonl"),
        predictions.map((line) => `${JSON.stringify(line)}\n`).join(""),
      );
      // Last, since it says that the others are whole.
      const whole = { key: this.key(task), versions: versions(), ...result };
      write(join(folder, "result.json"), `${JSON.stringify(whole, null, 2)}\n`);
    }
    return result;
  }
}

function readResult(path: string): ProbeResult & { key: string } {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    throw new UserError(`${path}: is not JSON; remove it to probe anew`);
  }
}

/** Columns of the SUPERB score; where several probes have the same one (the folds of emotion recognition), their mean. */
export function meanColumns(results: readonly ProbeResult[]): Partial<Record<SuperbMetric, number>> {
  const values = new Map<SuperbMetric, number[]>();
  for (const { columns } of results)
    for (const [name, value] of Object.entries(columns) as [SuperbMetric, number][])
      values.set(name, [...(values.get(name) ?? []), value]);
  return Object.fromEntries(
    [...values].map(([name, all]) => [name, all.reduce((a, b) => a + b, 0) / all.length]),
  );
}

function write(path: string, text: string): void {
  writeAtomically(path, (put) => put(Buffer.from(text)));
}
