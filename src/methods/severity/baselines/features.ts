import { existsSync, readFileSync } from "node:fs";
import { clinicalFeatures, clinicalNames } from "../../../audio/acoustics/clinical/clinical.ts";
import { egemaps } from "../../../audio/acoustics/egemaps.ts";
import { loadUtterance, type Recording } from "../../../corpus/load-audio.ts";
import type { Phone, Utterance } from "../../../corpus/manifest.ts";
import { WorkerPool } from "../../../corpus/worker-pool.ts";
import { quote, UserError } from "../../../errors.ts";
import { hash32 } from "../../../random.ts";
import { progress } from "../../../train/progress.ts";
import { writeAtomically } from "../../../weights/file.ts";

/** Acoustic features of recordings, which the paper's baselines grade by: eGeMAPS v02, hand-crafted ones, both. */

export const FEATURE_SETS = ["egemaps", "hand-crafted", "both"] as const;
export type FeatureSet = (typeof FEATURE_SETS)[number];

const RATE = 16_000;

/** One recording, as a worker thread gets it. */
export interface FeatureTask {
  recording: Recording;
  /** Phones with times, where the manifest has them: rhythm and vowel space need them. */
  phones?: Phone[];
}

/** Values in the order of `featureNames`; what cannot be measured is NaN. */
export interface FeatureRow {
  egemaps: number[];
  "hand-crafted": number[];
  names: string[];
}

/** Features of one recording. @throws UserError that names it */
export async function featuresOf({ recording, phones = [] }: FeatureTask): Promise<FeatureRow> {
  const samples = await loadUtterance(recording, { sampleRate: RATE });
  try {
    const { functionals } = egemaps(samples, RATE, { version: "v02" });
    const intervals = phones.map(({ phone, start, end }) => ({ label: phone, start, end }));
    const clinical = clinicalFeatures(samples, RATE, { phones: intervals });
    return {
      egemaps: Object.values(functionals),
      "hand-crafted": clinicalNames.map((name) => clinical[name]),
      names: Object.keys(functionals),
    };
  } catch (error) {
    if (error instanceof UserError) throw new UserError(`utterance ${quote(recording.id)}: ${error.message}`);
    throw error;
  }
}

/** The features of a corpus by utterance. */
export interface FeatureTable {
  /** Names of the columns of each set. */
  names: Record<FeatureSet, string[]>;
  rows: Map<string, Record<FeatureSet, Float64Array>>;
}

/**
 * Measures every recording once, on worker threads; the table is kept in a file and found again.
 * @throws UserError that names a recording that is too short or cannot be read
 */
export async function featureTable(
  utterances: readonly Utterance[],
  path: string,
  options: { jobs: number; signal: AbortSignal },
): Promise<FeatureTable> {
  const key = hash32(
    JSON.stringify(utterances.map(({ id, audio, start, end, phones }) => [id, audio, start, end, phones])),
  );
  if (existsSync(path)) {
    const kept: { key: number; names: string[]; rows: Stored[] } = JSON.parse(readFileSync(path, "utf8"));
    if (kept.key === key) return tableOf(kept.names, kept.rows);
  }
  const shown = progress({ label: "acoustic features", total: utterances.length });
  const pool = new WorkerPool<FeatureTask, FeatureRow>(import.meta.url, "features-worker", options.jobs);
  const close = () => void pool.close();
  options.signal.addEventListener("abort", close, { once: true });
  try {
    let done = 0;
    const found = await Promise.all(
      utterances.map(async ({ id, audio, start, end, phones }) => {
        const timed = phones?.every((phone) => typeof phone !== "string") ? (phones as Phone[]) : undefined;
        const row = await pool.run({ recording: { id, audio, start, end }, phones: timed });
        shown.update(++done);
        return { id, ...row };
      }),
    );
    const rows = found.map(
      (row): Stored => [row.id, row.egemaps.map(nullable), row["hand-crafted"].map(nullable)],
    );
    const names = found[0]?.names ?? [];
    writeAtomically(path, (put) => put(Buffer.from(JSON.stringify({ key, names, rows }))));
    return tableOf(names, rows);
  } finally {
    shown.end();
    options.signal.removeEventListener("abort", close);
    await pool.close();
  }
}

/** JSON has no NaN. */
type Stored = [id: string, egemaps: (number | null)[], handCrafted: (number | null)[]];
const nullable = (x: number) => (Number.isFinite(x) ? x : null);

function tableOf(names: string[], stored: readonly Stored[]): FeatureTable {
  const values = (list: readonly (number | null)[]) => Float64Array.from(list, (x) => x ?? Number.NaN);
  return {
    names: { egemaps: names, "hand-crafted": [...clinicalNames], both: [...names, ...clinicalNames] },
    rows: new Map(
      stored.map(([id, e, h]) => [
        id,
        { egemaps: values(e), "hand-crafted": values(h), both: values([...e, ...h]) },
      ]),
    ),
  };
}
