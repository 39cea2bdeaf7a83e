import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { arch, availableParallelism, cpus, hostname, platform } from "node:os";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { writeAtomically } from "../weights/file.ts";
import { parseRecipe, printRecipe, type Recipe, recipeDifferences } from "./recipe.ts";
import { versions } from "./versions.ts";

/** What `run.json` says: enough to know what was run, on what, and how it went. */
export interface RunInfo {
  status: "running" | "finished" | "failed" | "interrupted";
  name: string;
  seed: number;
  versions: Record<string, string>;
  machine: { platform: string; processor: string; cores: number; threads: number };
  /** Hash of what the run learned from and was tested on. */
  data?: { hash: string; utterances: Record<string, number> };
  /** Clock times, ISO 8601. */
  started: string;
  ended?: string;
  /** Seconds of all processes that worked on the run, each up to its last checkpoint or end. */
  seconds: number;
  /** How often the run was resumed. */
  resumed: number;
  /** Why it failed. */
  error?: string;
  /** Final metrics, by name such as `digit.accuracy`. */
  metrics?: Record<string, number>;
}

export interface RunFolder {
  path: string;
  /** True where an unfinished run of the same recipe was found: continue from its checkpoint. */
  resuming: boolean;
  info: RunInfo;
  /** Changes `run.json`, atomically; `seconds` counts on by itself. */
  update(change: Partial<RunInfo>): void;
  file(...parts: string[]): string;
  /** Gives the folder free for other processes. */
  release(): void;
}

/**
 * Opens the folder of a run: a new one, or that of an unfinished run of the same recipe. A `UserError` refuses one that
 * is finished, holds another recipe, holds something else, or in which another process is at work; `overwrite`
 * starts anew in the first two cases. `mustExist` refuses where there is nothing to go on with.
 */
export function openRun(
  path: string,
  recipe: Recipe,
  options: { overwrite?: boolean; mustExist?: boolean } = {},
): RunFolder {
  const file = (...parts: string[]) => join(path, ...parts);
  const infoPath = file("run.json");
  if (options.mustExist && !existsSync(infoPath))
    throw new UserError(`${path}: holds no run to resume; leave out --resume to start one`);
  if (existsSync(path) && !existsSync(infoPath) && readdirSync(path).some((name) => !/^(\.|lock)/.test(name)))
    throw new UserError(`${path}: is not empty and holds no run; choose another --out`);
  mkdirSync(path, { recursive: true });
  const release = lock(file("lock"), path);
  try {
    let previous = readRun(path);
    if (previous && options.overwrite) {
      for (const name of readdirSync(path)) if (name !== "lock") rmSync(file(name), { recursive: true });
      previous = undefined;
    }
    if (previous) checkSame(path, previous, recipe);

    const now = performance.now();
    const before = previous?.seconds ?? 0;
    const info: RunInfo = {
      ...(previous ?? { started: new Date().toISOString(), seconds: 0 }),
      status: "running",
      name: recipe.name,
      seed: recipe.seed,
      versions: versions(),
      machine: {
        platform: `${platform()}-${arch()}`,
        processor: cpus()[0]?.model.trim() ?? "unknown",
        cores: availableParallelism(),
        threads: recipe.threads || availableParallelism(),
      },
      resumed: previous ? previous.resumed + 1 : 0,
    };
    delete info.error;
    delete info.ended;
    const update = (change: Partial<RunInfo>) => {
      Object.assign(info, change, { seconds: before + (performance.now() - now) / 1000 });
      if (info.status !== "running") info.ended = new Date().toISOString();
      writeText(infoPath, `${JSON.stringify(info, null, 2)}\n`);
    };
    update({});
    writeText(file("recipe.yaml"), printRecipe(recipe));
    return { path, resuming: previous !== undefined, info, update, file, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** `run.json` of a folder, or undefined where there is none. */
export function readRun(path: string): RunInfo | undefined {
  const file = join(path, "run.json");
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new UserError(`${file}: is not JSON: ${(error as Error).message}`);
  }
}

function checkSame(path: string, previous: RunInfo, recipe: Recipe): void {
  if (previous.status === "finished")
    throw new UserError(`${path}: holds a finished run; choose another --out, or --overwrite to replace it`);
  const file = join(path, "recipe.yaml");
  // Absent only if the first process was killed between writing the two files: nothing was trained then.
  if (!existsSync(file)) return;
  // Through YAML and back, so that absent and undefined keys are the same.
  const [differing, ...more] = recipeDifferences(
    parseRecipe(readFileSync(file, "utf8"), file),
    parseRecipe(printRecipe(recipe), "recipe"),
  );
  if (differing !== undefined)
    throw new UserError(
      `${path}: holds an unfinished run of another recipe (\`${differing}\` differs${more.length > 0 ? `, and ${more.length} more` : ""}); choose another --out, or --overwrite to replace it`,
    );
}

interface Holder {
  pid: number;
  host: string;
  since: string;
}

/** Locks held by this process: its own pid in a lock file means nothing after a restart in a container. */
const held = new Set<string>();

/**
 * Takes a lock file, or throws a `UserError` that names its holder. A lock whose process is gone (killed) is taken over.
 * Returns the function that gives it back.
 */
export function lock(path: string, what: string): () => void {
  const mine = JSON.stringify({
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
  } satisfies Holder);
  const offer = `${path}.${process.pid}.tmp`;
  writeFileSync(offer, mine);
  try {
    for (;;) {
      try {
        // A link appears with its contents or not at all, and never replaces another.
        linkSync(offer, path);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const text = existsSync(path) ? readFileSync(path, "utf8") : undefined;
      if (text === undefined) continue;
      const holder = parseHolder(text);
      if (holder && isAlive(holder, path))
        throw new UserError(
          `${what}: process ${holder.pid} on ${holder.host} has been at work here since ${holder.since}; wait for it, or remove ${path} if it is gone`,
        );
      removeStale(path, text);
    }
  } finally {
    rmSync(offer, { force: true });
  }
  held.add(path);
  return () => {
    held.delete(path);
    rmSync(path, { force: true });
  };
}

/** Two processes may find the same dead lock; the slower must not remove the faster one's new lock. */
function removeStale(path: string, text: string): void {
  const aside = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  if (readFileSync(aside, "utf8") !== text) linkSync(aside, path);
  rmSync(aside);
}

function isAlive(holder: Holder, path: string): boolean {
  if (holder.host !== hostname()) return true;
  if (holder.pid === process.pid) return held.has(path);
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function writeText(path: string, text: string): void {
  writeAtomically(path, (put) => put(Buffer.from(text)));
}
