import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { RunError, UserError } from "../../../errors.ts";
import { duration } from "../../../train/progress.ts";
import { writeAtomically } from "../../../weights/file.ts";

/** Raised where the budget or Ctrl-C ends a replication: what is done stays. */
export class Stopped extends Error {
  override name = "Stopped";
}

export interface WorkOptions {
  readonly folder: string;
  /** Seconds that this call may take. */
  readonly budget?: number;
  /** Only counts what would be done. */
  readonly planOnly: boolean;
  /** Pieces at the same time (default 1), where several are asked for at once. */
  readonly jobs?: number;
  /** Seconds that a piece of a kind takes, before one has been measured. */
  readonly prior?: Readonly<Record<string, number>>;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

/** One piece's result as it is kept. */
export interface Done<T> {
  readonly seconds: number;
  readonly result?: T;
  /** Why it failed; a failed run is a result, too. */
  readonly error?: string;
}

/**
 * Pieces of work that are done once: each result is a file, and a later call with the same key reads it. A piece starts only
 * where the mean time of its kind still fits into the budget.
 */
export class Work {
  /** Pieces without a result, by kind: what a plan counts. */
  readonly left: Record<string, number> = {};
  private readonly options: WorkOptions;
  private readonly began = performance.now();
  private readonly times = new Map<string, number[]>();
  private readonly planned = new Set<string>();
  private readonly inHand = new Map<string, Promise<unknown>>();
  private count = 0;
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(options: WorkOptions) {
    this.options = options;
  }

  /**
   * A piece's result; undefined in a plan where it is not done yet. One that is being made is waited for, not made twice.
   * @param key what the result depends on: one of another key is refused
   * @throws Stopped where there is no time left for it
   */
  async do<T>(kind: string, name: string, key: string, run: () => Promise<T>): Promise<Done<T> | undefined> {
    const { folder, planOnly } = this.options;
    const file = join(folder, "done", `${name}.json`);
    if (existsSync(file)) {
      const { key: found, ...done }: Done<T> & { key: string } = JSON.parse(readFileSync(file, "utf8"));
      if (found !== key)
        throw new UserError(
          `${file}: is a result of other settings; choose another --out, or remove ${folder}`,
        );
      this.measured(kind, done.seconds);
      return done;
    }
    if (planOnly) {
      // What several results are made from is done once.
      if (!this.planned.has(name)) this.left[kind] = (this.left[kind] ?? 0) + 1;
      this.planned.add(name);
      return undefined;
    }
    const begun = this.inHand.get(name) as Promise<Done<T>> | undefined;
    if (begun) return begun;
    const promise = this.kept(kind, name, key, file, run);
    this.inHand.set(name, promise);
    try {
      return await promise;
    } finally {
      this.inHand.delete(name);
    }
  }

  /** Makes a piece when it is its turn, and writes its result. */
  private async kept<T>(
    ...[kind, name, key, file, run]: [string, string, string, string, () => Promise<T>]
  ): Promise<Done<T>> {
    await this.turn();
    try {
      const done = await this.make(kind, name, run);
      mkdirSync(dirname(file), { recursive: true });
      writeAtomically(file, (put) => put(Buffer.from(`${JSON.stringify({ key, ...done }, null, 1)}\n`)));
      this.measured(kind, done.seconds);
      return done;
    } finally {
      this.running--;
      this.waiting.shift()?.();
    }
  }

  /** Waits until fewer pieces are made than may be at a time. */
  private async turn(): Promise<void> {
    while (this.running >= (this.options.jobs ?? 1)) await new Promise<void>((go) => this.waiting.push(go));
    this.running++;
  }

  private async make<T>(kind: string, name: string, run: () => Promise<T>): Promise<Done<T>> {
    const { signal, log } = this.options;
    if (signal.aborted) throw new Stopped("interrupted");
    const expected = this.expected(kind) ?? 0;
    const room = (this.options.budget ?? Number.POSITIVE_INFINITY) - this.elapsed();
    if (room <= 0 || expected > room)
      throw new Stopped(`${duration(Math.max(0, room))} left, and ${name} takes about ${duration(expected)}`);
    log(`${++this.count}: ${name}`);
    const start = performance.now();
    const seconds = () => (performance.now() - start) / 1000;
    try {
      return { result: await run(), seconds: seconds() };
    } catch (error) {
      if (signal.aborted) throw new Stopped("interrupted");
      if (!(error instanceof RunError)) throw error;
      log(`  failed: ${error.message}`);
      return { error: error.message, seconds: seconds() };
    }
  }

  /** Whether nothing is done, only counted. */
  get planning(): boolean {
    return this.options.planOnly;
  }

  /** Mean seconds of a kind where it has been measured, else those that were given for it. */
  expected(kind: string): number | undefined {
    const times = this.times.get(kind);
    return times ? times.reduce((a, b) => a + b, 0) / times.length : this.options.prior?.[kind];
  }

  /** Seconds that what is left takes, shared out to the jobs; `whole` where the time of every kind of it is known. */
  get timeLeft(): { seconds: number; whole: boolean } {
    const kinds = Object.entries(this.left);
    const seconds = kinds.reduce((sum, [kind, count]) => sum + count * (this.expected(kind) ?? 0), 0);
    const whole = kinds.every(([kind]) => this.expected(kind) !== undefined);
    return { seconds: seconds / (this.options.jobs ?? 1), whole };
  }

  private measured(kind: string, seconds: number): void {
    this.times.set(kind, [...(this.times.get(kind) ?? []), seconds]);
  }

  private elapsed(): number {
    return (performance.now() - this.began) / 1000;
  }
}

/** Waits for all, also where one fails: nothing goes on unseen. @throws what the first failed with */
export async function allOf(pieces: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(pieces)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}
