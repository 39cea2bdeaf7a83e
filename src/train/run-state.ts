import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { NewBobState } from "../nn/schedules.ts";
import { openSafetensors, writeSafetensors } from "../weights/safetensors.ts";
import { type Json, loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import type { BlankStreaks } from "./guard.ts";

/** What a run knows besides its buffers; all else is a function of the recipe and the step. */
export interface RunState {
  /** Updates done. */
  step: number;
  /** Updates of each parameter. */
  updates: Record<string, number>;
  /** The best evaluation of the present stretch of the loss. */
  best: { step: number; value: number; stretch: number } | null;
  newBob: NewBobState | null;
  blanks: BlankStreaks;
  /** Evaluations in a row in which the codes of an objective were collapsed. */
  collapsed: Record<string, number>;
}

/** Checkpoints of a run, and the weights of its best evaluation in files of their own beside them. */
export class RunStates {
  private readonly folder: string;
  private readonly keep: number;

  constructor(folder: string, keep: number) {
    this.folder = folder;
    this.keep = keep;
  }

  save(state: RunState, buffers: Record<string, Float32Array>): void {
    const { step, ...rest } = state;
    saveCheckpoint(this.folder, { step, state: rest as unknown as Json, buffers }, this.keep);
    this.removeOldBests();
  }

  /** Fills `buffers` from the newest whole checkpoint; undefined where there is none. */
  load(buffers: Record<string, Float32Array>, log: (line: string) => void): RunState | undefined {
    const found = loadCheckpoint(this.folder, log, buffers);
    return found && { ...(found.state as unknown as Omit<RunState, "step">), step: found.step };
  }

  saveBest(step: number, weights: Float32Array): void {
    mkdirSync(this.folder, { recursive: true });
    writeSafetensors(this.bestPath(step), [
      { name: "weights", dtype: "F32", shape: [weights.length], data: weights },
    ]);
  }

  loadBest(step: number, into: Float32Array): void {
    const file = openSafetensors(this.bestPath(step));
    try {
      file.readF32("weights", into);
    } finally {
      file.close();
    }
  }

  private bestPath(step: number): string {
    return join(this.folder, `best-${String(step).padStart(8, "0")}.safetensors`);
  }

  /** A best stays as long as a checkpoint that is kept may lead back to it. */
  private removeOldBests(): void {
    const names = readdirSync(this.folder);
    const wanted = new Set(
      names.flatMap((name) => {
        const path = join(this.folder, name, "state.json");
        if (!name.startsWith("step-") || !existsSync(path)) return [];
        const { state }: { state: RunState } = JSON.parse(readFileSync(path, "utf8"));
        return state.best === null ? [] : [this.bestPath(state.best.step)];
      }),
    );
    for (const name of names)
      if (name.startsWith("best-") && !wanted.has(join(this.folder, name)))
        rmSync(join(this.folder, name), { force: true });
  }
}
