import { existsSync } from "node:fs";
import { LINEAGE_FILE, lineageOf, readLineage, writeLineage } from "./lineage.ts";
import type { Prepared } from "./prepare.ts";
import type { RunFolder } from "./run-folder.ts";

/** Writes a run's lineage into its folder, once: before its first step, so that an unfinished run has one too. */
export function recordLineage(run: RunFolder, { recipe, streams, task }: Prepared): void {
  if (existsSync(run.file(LINEAGE_FILE))) return;
  const utterances = streams.flatMap(({ items, parts }) => parts.train.map((i) => items[i].utterance));
  const { source } = task.model;
  writeLineage(
    run.path,
    lineageOf(recipe.name, utterances, source === undefined ? undefined : readLineage(source)),
  );
}
