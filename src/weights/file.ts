import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import type { ByteSource } from "./tensor-file.ts";

// One read or write call may not pass 2 GiB.
const CALL_LIMIT = 1 << 30;

/** Opens a file for reads at any position. */
export function openFile(path: string): ByteSource {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw new UserError(`${path}: is not a file`);
  }
  return {
    path,
    size: stat.size,
    read(offset, into) {
      for (let done = 0; done < into.length; ) {
        const got = readSync(descriptor, into, done, Math.min(CALL_LIMIT, into.length - done), offset + done);
        if (got === 0) throw new UserError(`${path}: ends too early, at byte ${offset + done} (truncated?)`);
        done += got;
      }
    },
    close: () => closeSync(descriptor),
  };
}

/** An operating system's error as the end of a sentence. */
export function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "does not exist";
  if (code === "EACCES") return "may not be read";
  return String((error as Error).message ?? error);
}

/**
 * Writes a file so that it is either whole or absent, whenever the process dies: into a temporary file in the same
 * folder, forced to disk, then renamed over `path`.
 */
export function writeAtomically(path: string, write: (put: (bytes: Uint8Array) => void) => void): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const descriptor = openSync(temporary, "w");
  try {
    try {
      write((bytes) => {
        for (let done = 0; done < bytes.length; ) {
          done += writeSync(descriptor, bytes, done, Math.min(CALL_LIMIT, bytes.length - done));
        }
      });
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

/** Makes a rename durable where the system lets a folder be synced (Windows does not). */
function syncFolder(path: string): void {
  try {
    const descriptor = openSync(path, "r");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    // The file itself is whole either way; only the moment of its appearance is less certain.
  }
}
