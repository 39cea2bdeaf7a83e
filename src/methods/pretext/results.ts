import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { duration } from "../../train/progress.ts";
import { lock } from "../../train/run-folder.ts";
import type { ReplicationOptions, ReplicationOutcome } from "../replications.ts";
import { Stopped, Work } from "../speech-ft/replication/work.ts";
import { dataOf } from "./replication/data.ts";
import { claimsOf, rankingsOf, section } from "./replication/section.ts";
import { FULL, SMALLEST } from "./replication/size.ts";
import { Study } from "./replication/study.ts";

/**
 * Pretext-task selection in miniature: PASE-like models pre-trained with five groups of pretext tasks and wav2vec 2.0 with and
 * without them, judged on phones, speakers and age (Tables II, III, V and VI, and Fig. 2).
 */
export async function replicate(options: ReplicationOptions): Promise<ReplicationOutcome> {
  const { folder, tiny, planOnly, signal, log, threads, budget, jobs, upstream } = options;
  if (upstream !== undefined)
    log("every model is pre-trained here from random weights; --upstream is not used");
  mkdirSync(folder, { recursive: true });
  const release = lock(join(folder, "lock"), folder);
  try {
    const size = tiny ? SMALLEST : FULL;
    const data = await dataOf(options.data, folder, size);
    const setup = { data, size, folder, threads, signal, log };
    const shared = { folder, jobs, signal, log, prior: size.seconds };
    const plan = async () => {
      const work = new Work({ ...shared, planOnly: true });
      const study = new Study(setup, work);
      await study.run();
      return { work, study };
    };
    let { work: rest, study } = await plan();
    sayPlan(rest, budget, log);
    if (!planOnly) {
      study = new Study(setup, new Work({ ...shared, budget, planOnly: false }));
      try {
        await study.run();
      } catch (error) {
        if (!(error instanceof Stopped)) throw error;
        log(`stopped: ${error.message}; the same command goes on`);
      }
      // What is left is what a plan still counts.
      rest = (await plan()).work;
    }
    const left = Object.values(rest.left).reduce((a, b) => a + b, 0);
    const { rows, selected, failed } = study;
    return {
      section: planOnly
        ? undefined
        : section({
            ...{ rows, selected, failed, size, left, minutes: data.seconds / 60 },
            command: `voxsmith results pretext-selection${tiny ? " --tiny" : ""}`,
          }),
      left,
      result: {
        ...{ rows, selected, failed, left: rest.left },
        ...{ claims: claimsOf(rows), rankings: rankingsOf(rows, selected) },
      },
    };
  } finally {
    release();
  }
}

function sayPlan(work: Work, budget: number | undefined, log: (line: string) => void): void {
  const kinds = Object.entries(work.left);
  if (kinds.length === 0) {
    log("nothing is left to do");
    return;
  }
  for (const [kind, count] of kinds) {
    const each = work.expected(kind);
    log(`  ${count} x ${kind}${each === undefined ? "" : `, about ${duration(each)} each`}`);
  }
  log(
    `about ${duration(work.timeLeft.seconds)} in all${budget === undefined ? "" : `; budget ${duration(budget)}`}: the five groups and wav2vec 2.0 once with each seed; then sparsemax+ and spectral+; then single labels`,
  );
}
