import { readFileSync } from "node:fs";
import { closest, quote, UserError } from "../errors.ts";
import type { SplitSpec } from "./splits.ts";

const parts = ["train", "valid", "test"] as const;

/**
 * The lists of one corpus in a split file: `{"corpora": {NAME: {"train": [id, ...], "valid": [...], "test": [...]}}}`.
 * @throws UserError naming the file and what of it is not as it should be
 */
export function readSplitFile(path: string, corpus: string): SplitSpec {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    throw new UserError(`${path}: there is no such split file`);
  }
  let corpora: Record<string, Record<string, unknown> | undefined>;
  try {
    corpora = JSON.parse(text).corpora;
  } catch (error) {
    throw new UserError(`${path}: is not JSON: ${(error as Error).message}`);
  }
  if (typeof corpora !== "object" || corpora === null)
    throw new UserError(`${path}: must hold an object "corpora" with a train, valid and test list for each`);
  const lists = Object.hasOwn(corpora, corpus) ? corpora[corpus] : undefined;
  if (lists === undefined) {
    const near = closest(corpus, Object.keys(corpora));
    throw new UserError(
      `${path}: divides no corpus ${quote(corpus)}; ${near ? `did you mean ${near}?` : `there are ${Object.keys(corpora).join(", ")}`}`,
    );
  }
  const list = (part: (typeof parts)[number]): string[] => {
    const ids = lists[part] ?? [];
    if (Array.isArray(ids) && ids.every((id) => typeof id === "string")) return ids;
    throw new UserError(`${path}: ${corpus}.${part} must be a list of utterance ids`);
  };
  return { by: "list", train: list("train"), valid: list("valid"), test: list("test") };
}
