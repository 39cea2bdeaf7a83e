import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { UserError } from "../../errors.ts";
import { overlap, readLineage } from "../../train/lineage.ts";
import { duration } from "../../train/progress.ts";
import { lock } from "../../train/run-folder.ts";
import { writeAtomically } from "../../weights/file.ts";
import type { ReplicationOptions, ReplicationOutcome } from "../replications.ts";
import { distancesOf } from "./alpha-sweep.ts";
import { analysisPage } from "./page.ts";
import { summary } from "./probing.ts";
import { prepareData, tinyCorpora, tinyModel } from "./replication/data.ts";
import { ALPHA, type Row, Study } from "./replication/models.ts";
import { section } from "./replication/section.ts";
import { FULL, type Size, TINY_SIZE } from "./replication/tune.ts";
import { Stopped, Work } from "./replication/work.ts";

const NANO = "models/nano";

/**
 * Speech-FT in miniature: fine-tuning on phonemes, speakers and keywords, regularly, stably and held by L2; merging back at
 * several alphas; two tasks in four ways; probes of everything (Tables 1, 4, 5, 7, 8, 9 and 10).
 */
export async function replicate(options: ReplicationOptions): Promise<ReplicationOutcome> {
  const { folder, tiny, planOnly, signal, log, threads, budget, jobs } = options;
  mkdirSync(folder, { recursive: true });
  const release = lock(join(folder, "lock"), folder);
  try {
    const size = tiny ? TINY_SIZE : FULL;
    const base = baseOf(options);
    const root = tiny ? tinyCorpora(options.data, join(folder, "corpora")) : options.data;
    const data = join(folder, "tuning");
    const tasks = await prepareData(root, data);
    const notes = [
      ...new Set(tasks.flatMap(({ name, notes: own }) => own.map((note) => `${name}: ${note}`))),
    ];
    const tested = tasks.flatMap(({ items, parts }) => parts.test.map((i) => items[i].utterance));
    const lineage = readLineage(base);
    const heard = overlap(lineage, tested).length;
    if (lineage === undefined) notes.push("what the pre-trained model learned from is not known");
    else if (heard > 0)
      notes.push(
        `the pre-trained model heard ${heard} of ${tested.length} test recordings in its pre-training, without labels, and so did every model made from it`,
      );
    const work = new Work({ folder, budget, planOnly, jobs, signal, log });
    const setup = { base, size, tasks, data, folder, threads, allowOverlap: heard > 0, signal, log };
    let study = new Study(setup, work);
    try {
      await study.run();
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      log(`stopped: ${error.message}; the same command goes on`);
    }
    // What is left is what a plan still counts.
    const rest = new Work({ folder, planOnly: true, jobs, signal, log });
    const planned = new Study(setup, rest);
    await planned.run();
    if (planOnly) study = planned;
    const left = Object.values(rest.left).reduce((a, b) => a + b, 0);
    sayPlan(rest, log);
    const command = `voxsmith results speech-ft --upstream ${base}${tiny ? " --tiny" : ""}`;
    const { rows, runs, chosen } = study;
    if (rows.length > 0 && !planOnly) await writePage(folder, study, base, size, command);
    return {
      section: planOnly ? undefined : section({ rows, runs, size, base, command, notes, left, chosen }),
      left,
      result: {
        base,
        rows: rows.map(({ model, seed, results }) => ({ model, seed, ...summary(results) })),
        runs,
        chosen,
      },
    };
  } finally {
    release();
  }
}

function baseOf({ upstream, tiny, folder }: ReplicationOptions): string {
  if (upstream !== undefined) return upstream;
  if (tiny) return tinyModel(join(folder, "tiny-model"));
  if (existsSync(join(NANO, "config.json"))) return NANO;
  throw new UserError(
    `--upstream: there is no ${resolve(NANO)}; make it with \`voxsmith train recipes/pretrain/nano.yaml --data DATA --out ${NANO}\`, or name another small pre-trained model`,
  );
}

function sayPlan(work: Work, log: (line: string) => void): void {
  const kinds = Object.entries(work.left);
  if (kinds.length === 0) {
    log("nothing is left to do");
    return;
  }
  const lines = kinds.map(([kind, count]) => {
    const each = work.expected(kind);
    return `${count} x ${kind}${each === undefined ? "" : ` (about ${duration(each)} each)`}`;
  });
  const { seconds, whole } = work.timeLeft;
  log(
    `left: ${lines.join(", ")}; ${seconds > 0 ? `${whole ? "" : "more than "}${duration(seconds)}` : "time unknown before the first runs"}`,
  );
}

/** The analysis as a page beside the runs. */
async function writePage(
  folder: string,
  { rows, runs }: Study,
  base: string,
  size: Size,
  command: string,
): Promise<void> {
  const of = (model: string) => {
    const own = rows.filter((row) => row.model === model);
    return own.length === 0 ? [] : [summary(own.flatMap(({ results }: Row) => results))];
  };
  const named = (model: string, name = model) => of(model).map((each) => ({ name, summary: each }));
  const curves = size.tuning.flatMap((task) => {
    const points = [0, ...size.alphas].flatMap((alpha) =>
      of(alpha === 0 ? "pre-trained" : `stable ${task}, alpha ${alpha}`).map((each) => ({
        alpha,
        summary: each,
      })),
    );
    return points.length > 1 ? [{ name: task, points }] : [];
  });
  const distances = runs.flatMap(({ name, folder: run, seed }) =>
    run !== undefined && seed === size.seeds[0] && /^(stable|regular)-/.test(name)
      ? [{ model: name, parts: distancesOf(base, run) }]
      : [],
  );
  const page = await analysisPage({
    title: "Speech-FT in miniature",
    facts: [
      ["start", base],
      ["seeds", size.seeds.join(", ")],
      ["fine-tuning runs", String(runs.length)],
      ["failed", String(runs.filter(({ failed }) => failed).length)],
    ],
    models: [
      ...named("pre-trained"),
      ...size.tuning.flatMap((task) => [
        ...named(`stable ${task}, alpha 1`),
        ...named(`stable ${task}, alpha ${ALPHA}`),
      ]),
    ],
    curves,
    distances,
    stages: [
      ...named("pre-trained"),
      ...named("stable phonemes, alpha 1", "phonemes"),
      ...named("sequential, alpha 1", "then speakers"),
      ...named(`sequential, first stage, alpha ${ALPHA}`, "phonemes, merged back"),
      ...named(`sequential, alpha ${ALPHA}`, "then speakers, merged back"),
    ],
    command,
  });
  writeAtomically(join(folder, "report.html"), (put) => put(Buffer.from(page)));
}
