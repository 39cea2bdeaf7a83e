import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { RunError, UserError } from "../errors.ts";
import { reason, writeAtomically } from "../weights/file.ts";
import { openSafetensors, writeSafetensors } from "../weights/safetensors.ts";
import { bytesOf } from "../weights/tensor-file.ts";

/**
 * Checkpoints: folders `step-00000120` that hold `buffers.safetensors` and `state.json`, and a file `latest` that
 * names the one to resume from. A folder is written under a temporary name, forced to disk and then renamed, and
 * `latest` is replaced after that, so a kill at any moment leaves the old checkpoint or the new one.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Checkpoint {
  /** Updates done. */
  step: number;
  state: Json;
  buffers: Record<string, Float32Array>;
}

interface StateFile {
  step: number;
  state: Json;
  /** Checksum of each buffer's bytes: a disk that lost some is noticed when the checkpoint is read. */
  checksums: Record<string, number>;
}

const LATEST = "latest";
const STATE = "state.json";
const BUFFERS = "buffers.safetensors";

/** Writes a checkpoint and removes all but the `keep` newest. Returns its folder. */
export function saveCheckpoint(folder: string, checkpoint: Checkpoint, keep: number): string {
  mkdirSync(folder, { recursive: true });
  for (const leftover of readdirSync(folder).filter((name) => name.startsWith(".")))
    rmSync(join(folder, leftover), { recursive: true, force: true });

  const { step, state, buffers } = checkpoint;
  const name = freeName(folder, step);
  const temporary = join(folder, `.${name}`);
  mkdirSync(temporary);
  const entries = Object.entries(buffers);
  writeSafetensors(
    join(temporary, BUFFERS),
    entries.map(([name, data]) => ({ name, dtype: "F32" as const, shape: [data.length], data })),
  );
  const checksums = Object.fromEntries(entries.map(([name, data]) => [name, crc32(bytesOf(data))]));
  writeText(join(temporary, STATE), JSON.stringify({ step, state, checksums } satisfies StateFile));
  renameSync(temporary, join(folder, name));
  writeText(join(folder, LATEST), `${name}\n`);

  for (const old of checkpointNames(folder).slice(keep))
    if (old !== name) rmSync(join(folder, old), { recursive: true, force: true });
  return join(folder, name);
}

/**
 * The checkpoint that `latest` names, or, where that one is damaged, the newest whole one; undefined where there are
 * none at all. `log` hears of each damaged one; a `RunError` says that all are. `into` gives arrays to fill in place.
 */
export function loadCheckpoint(
  folder: string,
  log: (line: string) => void,
  into: Record<string, Float32Array> = {},
): Checkpoint | undefined {
  const names = checkpointNames(folder);
  const pointer = join(folder, LATEST);
  const latest = existsSync(pointer) ? readFileSync(pointer, "utf8").trim() : undefined;
  const candidates = latest ? [latest, ...names.filter((name) => name !== latest)] : names;
  for (const name of candidates) {
    try {
      return readCheckpoint(join(folder, name), into);
    } catch (error) {
      log(`${(error as Error).message}; trying the checkpoint before it`);
    }
  }
  if (candidates.length > 0)
    throw new RunError(`${folder}: every checkpoint is damaged; start the run anew with --overwrite`);
  return undefined;
}

/** Reads one checkpoint folder and verifies its checksums; a fault is a `UserError` that names the file. */
export function readCheckpoint(path: string, into: Record<string, Float32Array> = {}): Checkpoint {
  const { step, state, checksums } = readState(join(path, STATE));
  const file = openSafetensors(join(path, BUFFERS));
  try {
    const buffers: Record<string, Float32Array> = {};
    for (const [name, checksum] of Object.entries(checksums)) {
      buffers[name] = file.readF32(name, into[name]);
      if (crc32(bytesOf(buffers[name])) !== checksum)
        throw new UserError(`${file.path}: buffer "${name}" is damaged (its checksum differs)`);
    }
    return { step, state, buffers };
  } finally {
    file.close();
  }
}

function readState(path: string): StateFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new UserError(`${path}: is not JSON (cut off?)`);
  }
}

// A step may be saved twice: once on time, and once more at the end with another state.
const NAME = /^step-(\d{8,})(?:-(\d+))?$/;

/** The folder's checkpoints, newest first. */
function checkpointNames(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const order = (name: string): [number, number] => {
    const [, step, again] = NAME.exec(name)!;
    return [Number(step), Number(again ?? 1)];
  };
  return readdirSync(folder)
    .filter((name) => NAME.test(name))
    .sort((a, b) => order(b)[0] - order(a)[0] || order(b)[1] - order(a)[1]);
}

function freeName(folder: string, step: number): string {
  const name = `step-${String(step).padStart(8, "0")}`;
  for (let again = 1; ; again++) {
    const candidate = again === 1 ? name : `${name}-${again}`;
    if (!existsSync(join(folder, candidate))) return candidate;
  }
}

function writeText(path: string, text: string): void {
  writeAtomically(path, (put) => put(Buffer.from(text)));
}
