import { type ChildProcess, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";

/** A program that answers one JSON line for each JSON line: ours (bench/ours/worker.ts) or a peer's (bench/peer/*.py). */
export class WorkerProcess {
  private readonly child: ChildProcess;
  private readonly lines: Interface;
  private readonly waiting: { resolve: (line: string) => void; reject: (fault: Error) => void }[] = [];
  /** What it said when it was ready. */
  readonly ready: Promise<Record<string, unknown>>;

  constructor(command: string, args: readonly string[]) {
    this.child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.lines = createInterface({ input: this.child.stdout! });
    this.lines.on("line", (line) => this.waiting.shift()?.resolve(line));
    const fail = (why: string) => {
      for (const { reject } of this.waiting.splice(0))
        reject(new Error(`${command} ${args.join(" ")}: ${why}`));
    };
    this.child.on("error", (fault) => fail(fault.message));
    this.child.on("exit", (code) => fail(`ended with status ${code}`));
    this.ready = this.answer();
  }

  private async answer(): Promise<Record<string, unknown>> {
    const line = await new Promise<string>((resolve, reject) => this.waiting.push({ resolve, reject }));
    const reply = JSON.parse(line) as Record<string, unknown>;
    if (typeof reply.error === "string") throw new Error(reply.error);
    return reply;
  }

  ask(message: object): Promise<Record<string, unknown>> {
    this.child.stdin!.write(`${JSON.stringify(message)}\n`);
    return this.answer();
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin!.end(`${JSON.stringify({ cmd: "exit" })}\n`);
    await ended;
    this.lines.close();
  }
}

/** Our side, with the same commands. */
export const ourWorker = (): WorkerProcess =>
  new WorkerProcess(process.execPath, [
    "--import",
    "tsx",
    new URL("./ours/worker.ts", import.meta.url).pathname,
  ]);

export const peerWorker = (python: string, program: "train_step" | "infer"): WorkerProcess =>
  new WorkerProcess(python, [new URL(`./peer/${program}.py`, import.meta.url).pathname]);

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}
