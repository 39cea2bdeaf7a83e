import { existsSync } from "node:fs";
import { join } from "node:path";
import { type MergeSpec, mergeSpec } from "../../../merge/spec.ts";
import type { ProbeTask } from "../../../superb/index.ts";
import { mergedAndProbed, mergeModels } from "../alpha-sweep.ts";
import { type Probed, probeModel } from "../probing.ts";
import type { Tuning } from "./data.ts";
import { learnedNothing, type Size, type Tuned, tune, tuningRecipe, type Variant } from "./tune.ts";
import { allOf, type Work } from "./work.ts";

/** Speech-FT's alpha. */
export const ALPHA = 0.25;

/** What is learned in several ways at once. */
const PAIR: readonly Tuning[] = ["phonemes", "speakers"];

/** What a replication knows of one model with one seed. */
export interface Row {
  /** Such as "stable phonemes, alpha 0.25". */
  readonly model: string;
  readonly seed: number;
  readonly results: Probed;
}

/** A fine-tuning run: that it ended, and whether it learned anything. */
export interface Run {
  readonly name: string;
  readonly seed: number;
  readonly failed: boolean;
  readonly why?: string;
  readonly folder?: string;
}

export interface Setup {
  readonly base: string;
  readonly size: Size;
  readonly tasks: readonly ProbeTask[];
  /** Manifests to fine-tune on. */
  readonly data: string;
  readonly folder: string;
  readonly threads: number;
  readonly allowOverlap: boolean;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

/** Everything that is trained, merged and probed, in an order that has every comparison early; fills `rows` and `runs`. */
export class Study {
  readonly runs: Run[] = [];
  /** The lambda that validation chose, by task. */
  readonly chosen: Partial<Record<Tuning, number>> = {};
  /** One list for each strand of the work, so that rows stand in one order however many jobs there are. */
  private readonly strands: Row[][] = [];
  private readonly setup: Setup;
  private readonly work: Work;

  constructor(setup: Setup, work: Work) {
    this.setup = setup;
    this.work = work;
  }

  get rows(): readonly Row[] {
    return this.strands.flat();
  }

  /** All of it; stops where `Work` does. Seeds are the outer loop: what there is no time for is missing for all models alike. */
  async run(): Promise<void> {
    const { size, base } = this.setup;
    for (const seed of size.seeds) {
      const first = this.probe("pre-trained", seed, base, this.strand());
      const singles = size.tuning.map((task) => this.single(task, seed, this.strand()));
      // Made of the single tasks' models, which are waited for where they are not done.
      const several = PAIR.every((task) => size.tuning.includes(task)) ? this.several(seed) : [];
      await allOf([first, ...singles, ...several]);
    }
  }

  private strand(): Row[] {
    const rows: Row[] = [];
    this.strands.push(rows);
    return rows;
  }

  /** Tables 1, 7, 8, 9 and 10 for one task. */
  private async single(task: Tuning, seed: number, rows: Row[]): Promise<void> {
    const { size, base } = this.setup;
    const stable = await this.tuned([task], { kind: "stable" }, seed);
    for (const alpha of size.alphas)
      await this.merged(`stable ${task}`, seed, base, [stable], { alpha }, rows);
    const regular = await this.tuned([task], { kind: "regular" }, seed);
    for (const alpha of [ALPHA, 1])
      await this.merged(`regular ${task}`, seed, base, [regular], { alpha }, rows);
    // The first seed chooses lambda by the validation parts of the probes; the others take it.
    const lambdas = this.chosen[task] === undefined ? size.lambdas : [this.chosen[task]];
    let best: { lambda: number; value: number; results: Probed } | undefined;
    for (const lambda of lambdas) {
      const held = await this.tuned([task], { kind: "anchored", lambda }, seed);
      if (held === undefined) continue;
      const results = await this.probed(`L2 ${task} ${lambda}`, seed, held);
      if (results === undefined) continue;
      const value = validation(results);
      if (best === undefined || value > best.value) best = { lambda, value, results };
    }
    if (best === undefined) {
      // A plan before the first seed's runs knows no winner; it counts on one.
      if (this.work.planning) this.chosen[task] ??= size.lambdas[0];
      return;
    }
    this.chosen[task] ??= best.lambda;
    rows.push({ model: `stable ${task}, L2 to the start`, seed, results: best.results });
  }

  /** Table 4: phonemes and speakers in four ways, each with and without the pull back. */
  private several(seed: number): Promise<void>[] {
    const { base } = this.setup;
    const together = async (rows: Row[]) => {
      const both = await this.tuned(PAIR, { kind: "stable" }, seed);
      for (const alpha of [ALPHA, 1]) await this.merged("multi-task", seed, base, [both], { alpha }, rows);
    };
    const merged = async (method: "linear" | "ties", rows: Row[]) => {
      const singles = await Promise.all(PAIR.map((task) => this.tuned([task], { kind: "stable" }, seed)));
      for (const alpha of [ALPHA, 1]) await this.merged(method, seed, base, singles, { method, alpha }, rows);
    };
    return [
      together(this.strand()),
      merged("linear", this.strand()),
      merged("ties", this.strand()),
      this.sequential(seed, this.strand()),
    ];
  }

  /** The second task after the first. */
  private async sequential(seed: number, rows: Row[]): Promise<void> {
    const { base, folder } = this.setup;
    const [one, other] = PAIR;
    const first = await this.tuned([one], { kind: "stable" }, seed);
    if (first === undefined) return;
    // Without the pull back: speakers from the phoneme model as it is.
    const plain = await this.tuned([other], { kind: "stable" }, seed, first, "sequential");
    if (plain !== undefined) await this.probe("sequential, alpha 1", seed, plain, rows);
    const half = join(folder, "models", `sequential-${seed}`);
    if (!this.work.planning && !existsSync(half))
      mergeModels(base, [first], mergeSpec({ method: "interpolate", alpha: ALPHA }, 1), half);
    await this.probe(`sequential, first stage, alpha ${ALPHA}`, seed, half, rows);
    const second = await this.tuned([other], { kind: "stable" }, seed, half, "sequential-merged");
    await this.merged("sequential", seed, half, [second], { alpha: ALPHA }, rows);
  }

  /** The folder of a fine-tuned model; undefined where it failed. */
  private async tuned(
    tasks: readonly Tuning[],
    variant: Variant,
    seed: number,
    base = this.setup.base,
    prefix = variant.kind === "anchored" ? `L2-${variant.lambda}` : variant.kind,
  ): Promise<string | undefined> {
    const { size, threads, folder, data, signal } = this.setup;
    const name = `${prefix}-${tasks.join("+")}-${seed}`;
    const recipe = tuningRecipe(base, tasks, variant, seed, size, threads);
    // Threads change the last bits, not what is compared.
    const key = JSON.stringify({ ...recipe, threads: 0 });
    const done = await this.work.do<Tuned>(`fine-tune ${tasks.join("+")}`, `tune-${name}`, key, () =>
      tune(recipe, join(folder, "runs", name), data, signal),
    );
    const out = join(folder, "runs", name);
    // In a plan: where it will be.
    if (done === undefined) return out;
    const { result, error } = done;
    const lost = result && tasks.some((task) => learnedNothing(task, result.metrics));
    if (!this.runs.some((run) => run.name === name))
      this.runs.push({
        ...{ name, seed, failed: result === undefined || lost === true, folder: result?.folder },
        why: error ?? (lost ? "learned nothing" : undefined),
      });
    return result?.folder;
  }

  private async merged(
    name: string,
    seed: number,
    base: string,
    tuned: readonly (string | undefined)[],
    given: Partial<MergeSpec>,
    rows: Row[],
  ): Promise<void> {
    const models = tuned.filter((each) => each !== undefined);
    if (models.length < tuned.length) return;
    const spec = mergeSpec({ method: "interpolate", ...given }, tuned.length);
    const model = `${name}, alpha ${spec.alpha}`;
    const done = await this.work.do<Probed>("probe", slug(`probe-${model}-${seed}`), this.key(models), () =>
      mergedAndProbed(base, models, spec, this.setup.tasks, this.probing(model, seed)),
    );
    if (done?.result) rows.push({ model, seed, results: done.result });
  }

  private async probe(model: string, seed: number, folder: string, rows: Row[]): Promise<void> {
    const results = await this.probed(model, seed, folder);
    if (results !== undefined) rows.push({ model, seed, results });
  }

  private async probed(model: string, seed: number, folder: string): Promise<Probed | undefined> {
    const done = await this.work.do<Probed>("probe", slug(`probe-${model}-${seed}`), this.key([folder]), () =>
      probeModel(folder, model, this.setup.tasks, this.probing(model, seed)),
    );
    return done?.result;
  }

  private key(models: readonly string[]): string {
    return JSON.stringify([this.setup.base, models, this.setup.size]);
  }

  private probing(model: string, seed: number) {
    const { folder, threads, allowOverlap, signal, log, size } = this.setup;
    return {
      ...{ folder: join(folder, "probes", slug(`${model}-${seed}`)), seeds: [seed], threads, allowOverlap },
      ...{ steps: size.probeSteps, signal, log: (line: string) => log(`  ${line}`) },
    };
  }
}

const slug = (text: string) => text.replace(/[^\w.+-]+/g, "-");

/** Mean over probes of what is right on the validation part, with the head that was chosen there. */
export function validation(results: Probed): number {
  const values = results.map(({ best, headline }) =>
    best === undefined ? 0 : headline.higher ? best.value : 1 - best.value,
  );
  return values.reduce((a, b) => a + b, 0) / values.length;
}
