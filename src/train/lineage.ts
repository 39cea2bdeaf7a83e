import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Utterance } from "../corpus/manifest.ts";
import { UserError } from "../errors.ts";
import { reason, writeAtomically } from "../weights/file.ts";

/**
 * What a model has learned from, itself and through its ancestors: a probe whose test utterances are among them measures
 * memory, not representation (Speech-FT's IEMOCAP row above 1000 is such a case).
 */
export interface Lineage {
  /** The runs, oldest first, by name and with the number of utterances that each trained on. */
  readonly runs: readonly LineageRun[];
  /** Hashes of all their training utterances, sorted, each once. */
  readonly hashes: readonly string[];
}

export interface LineageRun {
  readonly name: string;
  readonly utterances: number;
}

/** The file of a run or model folder, beside `model.safetensors`. */
export const LINEAGE_FILE = "lineage.json";

/** Bytes of SHA-256 that are kept: among 10 million utterances a chance match has probability 3e-6. */
const HASH_BYTES = 8;

type Recorded = Pick<Utterance, "audio" | "start" | "end">;

/**
 * Hashes utterances by the bytes of their sound file and, where an utterance is a part of it, by its times; what a corpus
 * calls them and where it lies do not count. Each file is read once.
 */
export class UtteranceHasher {
  private readonly files = new Map<string, Buffer>();

  of({ audio, start, end }: Recorded): string {
    let file = this.files.get(audio);
    if (file === undefined) {
      file = hashFile(audio);
      this.files.set(audio, file);
    }
    if (start === undefined && end === undefined) return file.toString("base64", 0, HASH_BYTES);
    return createHash("sha256")
      .update(file)
      .update(`${start ?? 0} ${end ?? "end"}`)
      .digest()
      .toString("base64", 0, HASH_BYTES);
  }
}

function hashFile(path: string): Buffer {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(1 << 18);
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  try {
    for (let got = readSync(file, buffer); got > 0; got = readSync(file, buffer))
      hash.update(buffer.subarray(0, got));
  } finally {
    closeSync(file);
  }
  return hash.digest();
}

/** The lineage of a run that trains on these utterances and starts from a model with the given lineage, if it has one. */
export function lineageOf(name: string, utterances: readonly Recorded[], ancestor?: Lineage): Lineage {
  const hasher = new UtteranceHasher();
  const own = {
    runs: [{ name, utterances: utterances.length }],
    hashes: utterances.map((u) => hasher.of(u)),
  };
  return joinLineages(ancestor === undefined ? [own] : [ancestor, own]);
}

/** The lineage of what is made of several models. A run that they share counts once. */
export function joinLineages(lineages: readonly Lineage[]): Lineage {
  const runs = new Map<string, LineageRun>();
  for (const run of lineages.flatMap((each) => each.runs)) runs.set(JSON.stringify(run), run);
  return {
    runs: [...runs.values()].map(({ name, utterances }) => ({ name, utterances })),
    hashes: [...new Set(lineages.flatMap(({ hashes }) => hashes))].sort(),
  };
}

/**
 * The lineage of a model folder; undefined where it has none, as models from elsewhere: what they learned from is not known.
 * @throws UserError naming the file where it is no lineage
 */
export function readLineage(folder: string): Lineage | undefined {
  const path = join(folder, LINEAGE_FILE);
  return existsSync(path) ? parseLineage(readFileSync(path, "utf8"), path) : undefined;
}

/** A lineage from the text of its file; `path` names it. @throws UserError where it is none */
export function parseLineage(text: string, path: string): Lineage {
  const fault = (what: string) => new UserError(`${path}: ${what}`);
  let json: { runs?: LineageRun[]; hashes?: string };
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw fault(`is not JSON: ${(error as Error).message}`);
  }
  if (!Array.isArray(json.runs) || typeof json.hashes !== "string")
    throw fault('must hold "runs", a list, and "hashes", a text');
  const bytes = Buffer.from(json.hashes, "base64");
  if (bytes.length % HASH_BYTES !== 0)
    throw fault(`"hashes" is not a whole number of ${HASH_BYTES}-byte hashes`);
  const hashes = Array.from({ length: bytes.length / HASH_BYTES }, (_, i) =>
    bytes.toString("base64", i * HASH_BYTES, (i + 1) * HASH_BYTES),
  );
  return { runs: json.runs, hashes };
}

/** Writes a lineage beside a model: about 11 bytes an utterance. */
export function writeLineage(folder: string, { runs, hashes }: Lineage): void {
  const bytes = Buffer.concat(hashes.map((hash) => Buffer.from(hash, "base64")));
  const json = { runs, hashes: bytes.toString("base64") };
  writeAtomically(join(folder, LINEAGE_FILE), (put) => put(Buffer.from(`${JSON.stringify(json)}\n`)));
}

/** Gives a model folder the lineage of the models that it was made from, as far as it is known. */
export function inheritLineage(folder: string, parents: readonly string[]): void {
  const known = parents.flatMap((path) => readLineage(path) ?? []);
  if (known.length > 0) writeLineage(folder, joinLineages(known));
}

/** Those of the utterances (a probe's test part, say) that a model or an ancestor of it trained on. */
export function overlap<U extends Recorded>(lineage: Lineage | undefined, utterances: readonly U[]): U[] {
  if (lineage === undefined || lineage.hashes.length === 0) return [];
  const known = new Set(lineage.hashes);
  const hasher = new UtteranceHasher();
  return utterances.filter((utterance) => known.has(hasher.of(utterance)));
}
