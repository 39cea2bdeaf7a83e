import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { RunError, UserError } from "../../../errors.ts";
import { evaluateRun } from "../../../train/evaluate-run.ts";
import { readRecipe } from "../../../train/recipe.ts";
import { readRun } from "../../../train/run-folder.ts";
import { train } from "../../../train/trainer.ts";
import { BIN } from "./child.ts";

/** What a process for cells is asked, one JSON object a line on its stdin. */
export type CellTask =
  | { kind: "train"; recipe: string; data: string; out: string; threads: number }
  | { kind: "test"; run: string; data: string; predictions: string; threads: number };

/** What it answers, one line on stdout for each task. */
type CellReply = { metrics: Record<string, number> } | { error: string; user: boolean };

/**
 * Processes that train and test cells one after another: several at once, and a crash takes one run with it and no more.
 * Starting one costs seconds, so it is kept from cell to cell.
 */
export class CellProcesses {
  private readonly idle: CellProcess[] = [];
  private readonly all: CellProcess[] = [];
  private readonly folder: string;
  private readonly signal: AbortSignal;

  /** @param folder where what the processes say is kept */
  constructor(folder: string, signal: AbortSignal) {
    this.folder = folder;
    this.signal = signal;
  }

  /** Metrics of a task. @throws UserError or RunError with the task's own sentence */
  async run(task: CellTask): Promise<Record<string, number>> {
    const process = this.idle.pop() ?? this.started();
    try {
      const reply = await process.ask(task);
      if ("metrics" in reply) return reply.metrics;
      throw reply.user ? new UserError(reply.error) : new RunError(reply.error);
    } finally {
      if (process.alive) this.idle.push(process);
    }
  }

  private started(): CellProcess {
    const process = new CellProcess(join(this.folder, `process-${this.all.length}.log`), this.signal);
    this.all.push(process);
    return process;
  }

  close(): void {
    for (const process of this.all) process.end();
  }
}

class CellProcess {
  alive = true;
  private readonly child: ChildProcess;
  private readonly log: string;
  private waiting: ((reply: CellReply) => void) | undefined;
  private readonly stop: () => void;
  private readonly signal: AbortSignal;

  constructor(log: string, signal: AbortSignal) {
    mkdirSync(join(log, ".."), { recursive: true });
    this.log = log;
    this.signal = signal;
    this.child = spawn(process.execPath, [BIN, "severity", "cells"], { stdio: ["pipe", "pipe", "pipe"] });
    const said = createWriteStream(log, { flags: "a" });
    this.child.stderr!.pipe(said);
    createInterface({ input: this.child.stdout! }).on("line", (line) => this.settle(JSON.parse(line)));
    this.child.on("error", (error) => this.over(error.message));
    this.child.on("close", (status, killed) => this.over(`stopped (${killed ?? `exit status ${status}`})`));
    this.stop = () => this.child.kill("SIGINT");
    signal.addEventListener("abort", this.stop, { once: true });
  }

  ask(task: CellTask): Promise<CellReply> {
    return new Promise((resolve) => {
      this.waiting = resolve;
      this.child.stdin!.write(`${JSON.stringify(task)}\n`);
    });
  }

  private settle(reply: CellReply): void {
    this.waiting?.(reply);
    this.waiting = undefined;
  }

  private over(why: string): void {
    this.alive = false;
    this.signal.removeEventListener("abort", this.stop);
    this.settle({ error: `its process ${why}; see ${this.log}`, user: false });
  }

  end(): void {
    this.signal.removeEventListener("abort", this.stop);
    this.child.stdin?.end();
  }
}

/** The other side: does tasks from stdin until it ends or `signal` is raised. */
export async function serveCells(signal: AbortSignal): Promise<void> {
  const say = (line: string) => process.stderr.write(`${line}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    let reply: CellReply;
    try {
      const metrics = await doTask(JSON.parse(line), signal, say);
      reply = { metrics: { ...metrics } };
    } catch (error) {
      if (!(error instanceof UserError || error instanceof RunError)) throw error;
      reply = { error: error.message, user: error instanceof UserError };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
    if (signal.aborted) return;
  }
}

async function doTask(
  task: CellTask,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<Readonly<Record<string, number>>> {
  const { threads } = task;
  if (task.kind === "test") {
    const { run, data, predictions } = task;
    const options = { data, skipBad: false, threads, log, predictionsFile: predictions };
    return (await evaluateRun(run, "test", options)).metrics;
  }
  const { recipe, data, out } = task;
  // Finished, but stopped before its result was written down.
  const before = readRun(out);
  if (before?.status === "finished") return before.metrics ?? {};
  log(`training ${out}`);
  const result = await train(readRecipe(recipe, [`threads=${threads}`]), {
    ...{ data, out, skipBad: false, signal, log },
    // After a failure nothing is resumed: what failed once would fail there again.
    overwrite: before?.status === "failed",
  });
  if (result.status === "interrupted") throw new RunError(`stopped after step ${result.step}`);
  return result.metrics;
}
