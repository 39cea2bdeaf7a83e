import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { readManifest, type Utterance, writeManifest } from "../../../corpus/manifest.ts";
import { RunError } from "../../../errors.ts";
import { hash32 } from "../../../random.ts";
import { readRecipe } from "../../../train/recipe.ts";
import { type Cell, type CellResult, runSweep } from "../../../train/sweep.ts";
import { train } from "../../../train/trainer.ts";

/** One training run of the replication. */
export interface RouterCell extends Cell {
  readonly part: string;
  /** What the tables call its method. */
  readonly method: string;
  readonly language: string;
  /** Utterances to learn from; all where absent. */
  readonly utterances?: number;
  /** The folder of its corpus; absent for synthetic speech. */
  readonly data?: string;
}

export interface CellSpec {
  readonly part: string;
  readonly method: string;
  readonly language: string;
  readonly recipe: string;
  readonly set: readonly string[];
  readonly seed?: number;
  readonly utterances?: number;
  readonly data?: string;
}

/** Validation and test parts are cut to these, the same for all runs of a corpus. */
const HELD_OUT = 60;

export function cellOf({ recipe: path, set, seed = 1, ...spec }: CellSpec): RouterCell {
  const recipe = { ...readRecipe(path, set), seed };
  const { part, method, language, utterances } = spec;
  const words = [language, ...(utterances === undefined ? [] : [`n${utterances}`]), method, `seed${seed}`];
  const name = words.join("_").replace(/[^\w.=-]+/g, "-");
  return { ...spec, name, setting: { part, method, language }, seed, recipe: { ...recipe, name } };
}

/** The utterances of a run: so many to learn from, chosen by their names, and a fixed few to be judged on. */
export function chosenUtterances({
  utterances,
}: RouterCell): ((utterance: Utterance) => boolean) | undefined {
  if (utterances === undefined) return undefined;
  // Utterances come in the manifest's order, speaker by speaker; every k-th of a shuffled rank would need the list, a hash does not.
  return ({ id, split }) => {
    const draw = hash32("amount", id) / 2 ** 32;
    return draw < (split === "train" ? utterances / AVAILABLE.train : HELD_OUT / AVAILABLE.held);
  };
}

/** Utterances of a synthetic corpus of the replication, by part: speakers x sentences x three fifths, one fifth. */
export const AVAILABLE = { speakers: 250, each: 12, train: 1800, held: 600 };

/** A run's figure, or undefined where it failed or was not run. */
export const metricOf = (result: CellResult | undefined, name: string): number | undefined =>
  result?.status === "finished" ? result.metrics[name] : undefined;

export interface Runner {
  readonly folder: string;
  readonly jobs: number;
  /** Processor threads of each of them. */
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
  /** Seconds that are left, without a limit where undefined. */
  left(): number | undefined;
}

export const runFolder = (runner: Pick<Runner, "folder">, cell: Pick<RouterCell, "part" | "name">): string =>
  join(runner.folder, cell.part, cell.name);

/** Runs what has no result yet; returns the results there are and how many runs are left. */
export async function runCells(
  cells: readonly RouterCell[],
  runner: Runner,
): Promise<{ results: Map<RouterCell, CellResult>; left: number }> {
  if (cells.length === 0) return { results: new Map(), left: 0 };
  const [{ part }] = cells;
  const byRecipe = new Map(cells.map((cell) => [cell.recipe, cell]));
  const outcome = await runSweep(
    { keys: ["method", "language"], seeds: 1, cells: [...cells] },
    {
      folder: join(runner.folder, part),
      budget: runner.left(),
      jobs: runner.jobs,
      signal: runner.signal,
      log: runner.log,
      estimateCell: () => 60,
      runCell: async (recipe, folder, signal) => {
        const cell = byRecipe.get(recipe)!;
        // Threads change the last bits, not what is compared: results of another number stay.
        const result = await train(
          { ...recipe, threads: runner.threads },
          {
            data: cell.data ?? corpusFolder(runner, cell),
            out: folder,
            skipBad: false,
            signal,
            keep: chosenUtterances(cell),
            log: () => {},
          },
        );
        if (result.status === "interrupted") throw new RunError(`stopped after step ${result.step}`);
        return { ...result.metrics };
      },
    },
  );
  return { results: outcome.results as Map<RouterCell, CellResult>, left: outcome.left.length };
}

/** Where the synthetic speech of a language is, made by the first run that needs it. */
function corpusFolder({ folder }: Runner, { recipe }: RouterCell): string | undefined {
  const { synthetic } = recipe.corpus;
  if (synthetic === undefined) return undefined;
  const key = hash32(JSON.stringify([synthetic, recipe.corpus.sampleRate])).toString(16);
  mkdirSync(join(folder, "speech"), { recursive: true });
  return join(folder, "speech", `${synthetic.voice}-${key}`);
}

/** A manifest of a corpus in `data`, changed utterance by utterance, in a folder of the replication. */
export function derivedCorpus(
  data: string,
  corpus: string,
  folder: string,
  change: (utterance: Utterance, index: number) => Utterance | undefined,
): string {
  const into = join(folder, "speech", corpus);
  const manifest = join(into, "manifest.jsonl");
  if (existsSync(manifest)) return into;
  mkdirSync(into, { recursive: true });
  const utterances = readManifest(join(data, corpus, "manifest.jsonl"));
  writeManifest(
    manifest,
    utterances.flatMap((utterance, i) => change(utterance, i) ?? []),
  );
  return into;
}
