import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Utterance } from "../corpus/manifest.ts";
import { readers } from "../corpus/readers/index.ts";
import { type ReaderOptions, readCorpus } from "../corpus/readers/reader.ts";
import { UserError } from "../errors.ts";
import type { Parts } from "./build.ts";

/** The folder of a corpus below the root of all of them, by any of its usual names. */
export function folderOf(root: string, task: string, ...names: string[]): string {
  const found = names.map((name) => join(root, name)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new UserError(
    `${root}: the task ${task} needs the folder ${names.join(" or ")} there; name another --corpus-root`,
  );
}

/** A corpus by its reader, divided by its own parts. */
export async function partsOf(folder: string, reader: string, options: ReaderOptions = {}): Promise<Parts> {
  return bySplit(await readCorpus(reader, readers, folder, options));
}

/** Utterances by their `split`. */
export function bySplit(utterances: readonly Utterance[]): Parts {
  const of = (split: string) => utterances.filter((utterance) => utterance.split === split);
  return { train: of("train"), valid: of("valid"), test: of("test") };
}

/** Refuses a task one of whose parts is empty. */
export function needParts(task: string, folder: string, parts: Parts, ...wanted: (keyof Parts)[]): Parts {
  const empty = wanted.find((part) => parts[part].length === 0);
  if (empty === undefined) return parts;
  throw new UserError(`${folder}: the task ${task} finds no utterance of its ${empty} part there`);
}
