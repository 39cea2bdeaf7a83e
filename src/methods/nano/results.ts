import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { groupBy } from "../../corpus/group.ts";
import { readManifest, type Utterance, writeManifest } from "../../corpus/manifest.ts";
import { RunError, UserError } from "../../errors.ts";
import { type Spread, spread } from "../../metrics/spread.ts";
import { markdownTable } from "../../report/markdown.ts";
import { type ProbeResult, type ProbeTask, probe, tasksNamed } from "../../superb/index.ts";
import { type FrozenUpstream, LOG_MEL, openUpstream, upstreamFrom } from "../../superb/upstream.ts";
import { duration } from "../../train/progress.ts";
import type { ReplicationOptions, ReplicationOutcome } from "../replications.ts";

/*
 * What the toolkit's own small model is worth: heads on frozen hidden states of test speakers whom it never heard, beside
 * the same architecture with random weights and beside log mel.
 */

const NANO = join("models", "nano");
const TASKS = ["mini-digits", "mini-phonemes", "mini-verification"] as const;
const SEEDS = [1, 2, 3];
/** A head's training on a small model, seconds: for the plan. */
const EXPECTED = 60;

interface Kind {
  readonly name: string;
  readonly open: (seed: number) => Promise<FrozenUpstream>;
}

export async function replicate(options: ReplicationOptions): Promise<ReplicationOutcome> {
  const began = performance.now();
  const { tiny, log, threads, signal } = options;
  const model = options.upstream ?? NANO;
  const file = join(model, "config.json");
  if (!existsSync(file))
    throw new UserError(`${model}: has no config.json; name a model folder with --upstream`);
  const config = JSON.parse(readFileSync(file, "utf8"));
  const kinds: Kind[] = [
    { name: basename(model), open: () => openUpstream(model, { threads }) },
    // Other random weights for each seed.
    { name: "random weights", open: (seed) => upstreamFrom("random", config, { seed, threads }) },
    { name: LOG_MEL, open: () => openUpstream(LOG_MEL, { threads }) },
  ];
  const seeds = tiny ? SEEDS.slice(0, 1) : SEEDS;
  const cells = seeds.flatMap((seed) => kinds.map((kind) => ({ seed, kind })));
  log(
    `${kinds.map(({ name }) => name).join(", ")} on ${TASKS.join(", ")}, seeds ${seeds.join(", ")}: about ${duration(cells.length * TASKS.length * EXPECTED)}`,
  );
  if (options.planOnly) return { left: cells.length, result: { probes: cells.length * TASKS.length } };
  const data = tiny ? fewUtterances(options.data, join(options.folder, "corpora")) : options.data;
  const tasks: ProbeTask[] = [];
  for (const entry of tasksNamed(TASKS.join(","))) tasks.push(...(await entry.prepare(data)));
  const found: { kind: string; results: readonly ProbeResult[] }[] = [];
  for (const [i, { seed, kind }] of cells.entries()) {
    const spent = (performance.now() - began) / 1000;
    const each = i === 0 ? TASKS.length * EXPECTED : spent / i;
    if (signal.aborted || (options.budget !== undefined && spent + each > options.budget)) break;
    log(`${kind.name}, seed ${seed}`);
    const upstream = await kind.open(seed);
    try {
      const { results, left } = await probe(upstream, tasks, {
        ...{ cache: join(options.folder, "cache"), out: join(options.folder, kind.name, `seed-${seed}`) },
        ...{ seed, threads, signal, log: (line: string) => log(`  ${line}`), ...(tiny && { steps: 2 }) },
      });
      if (left.length > 0) throw new RunError(`stopped before ${left.join(", ")}; the same command goes on`);
      found.push({ kind: kind.name, results });
    } finally {
      await upstream.dispose();
    }
  }
  const left = cells.length - found.length;
  const rows = kinds.map(({ name }) => rowOf(name, found));
  return { section: found.length === 0 ? undefined : section(model, rows, left), left, result: rows };
}

/** The corpora with two utterances of each speaker, and of FSDD one of each digit as well; returns their root. */
function fewUtterances(data: string, folder: string): string {
  const few = (corpus: string, keyOf: (utterance: Utterance) => string, count: number) => {
    // Verification trains on recordings of more than two seconds.
    const all = readManifest(join(data, corpus)).filter((u) => corpus === "fsdd" || (u.duration ?? 3) > 2);
    const kept = [...groupBy(all, keyOf).values()].flatMap((own) => own.slice(0, count));
    writeManifest(join(folder, corpus, "manifest.jsonl"), kept);
  };
  few("fsdd", ({ speaker, labels }) => `${speaker} ${labels?.digit}`, 1);
  few("speechocean762", ({ speaker = "" }) => speaker, 2);
  return folder;
}

interface Row {
  readonly name: string;
  readonly seeds: number;
  readonly tasks: Readonly<
    Record<string, Spread & { metric: string; higher: boolean; values: readonly number[] }>
  >;
}

function rowOf(name: string, found: readonly { kind: string; results: readonly ProbeResult[] }[]): Row {
  const own = found.filter(({ kind }) => kind === name).map(({ results }) => results);
  const tasks = Object.fromEntries(
    TASKS.flatMap((task) => {
      const results = own.flatMap((all) => all.filter((result) => result.task === task));
      if (results.length === 0) return [];
      const { metric, higher } = results[0].headline;
      const values = results.map(({ headline }) => headline.value);
      return [[task, { metric, higher, values, ...spread(values) }]];
    }),
  );
  return { name, seeds: own.length, tasks };
}

/** Whether every seed of the first is better than every seed of the other: the verdict needs no assumption. */
function beats(own: Row, other: Row, task: string): string {
  const [a, b] = [own.tasks[task], other.tasks[task]];
  if (a === undefined || b === undefined) return "not run";
  const best = (values: readonly number[]) => (a.higher ? Math.max(...values) : Math.min(...values));
  const worst = (values: readonly number[]) => (a.higher ? Math.min(...values) : Math.max(...values));
  const better = (x: number, y: number) => (a.higher ? x > y : x < y);
  if (better(worst(a.values), best(b.values))) return "better with every seed";
  if (better(worst(b.values), best(a.values))) return "worse with every seed";
  return better(a.mean, b.mean) ? "better in the mean" : "worse in the mean";
}

function section(model: string, rows: readonly Row[], left: number): string {
  const percent = ({ mean, sd }: Spread) =>
    `${(100 * mean).toFixed(1)}${sd === null ? "" : ` ± ${(100 * sd).toFixed(1)}`}`;
  const tasks = TASKS.filter((task) => rows.some((row) => row.tasks[task] !== undefined));
  const heading = tasks.map((task) => {
    const { metric, higher } = rows.flatMap((row) => row.tasks[task] ?? [])[0];
    return `${task} (${metric} ${higher ? "↑" : "↓"})`;
  });
  const header = ["frozen upstream", "seeds", ...heading];
  const body = rows
    .filter(({ seeds }) => seeds > 0)
    .map((row) => [row.name, String(row.seeds), ...tasks.map((task) => percent(row.tasks[task]))]);
  const [own, ...others] = rows;
  const verdicts = others.flatMap((other) =>
    tasks.map((task) => `- ${own.name} against ${other.name}, ${task}: ${beats(own, other, task)}.`),
  );
  return [
    `Probes on frozen hidden states, made on ${new Date().toISOString().slice(0, 10)} by \`voxsmith results nano\`: ${TASKS.join(", ")} of docs/superb.md, divided by \`recipes/splits/shared.json\`, so that \`${model}\` never heard the voices of the test parts. Per cent, mean ± standard deviation over seeds of the heads (and of the random weights).`,
    "",
    markdownTable(header, body),
    "",
    ...verdicts,
    ...(left > 0 ? ["", `${left} of the models and seeds have no result yet.`] : []),
  ].join("\n");
}
