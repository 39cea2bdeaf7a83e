import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import type { Json } from "./checkpoint.ts";

/** One line of a log: what happened after `step` updates. No clock times, so that a resumed run's log is the same. */
export type LogRecord = { step: number; event: string; [key: string]: Json };

export interface RunLog {
  write(record: LogRecord): void;
  /** Forces all lines to disk; done before each checkpoint, so that no checkpoint is newer than its log. */
  sync(): void;
  close(): void;
}

/**
 * Opens `log.jsonl` for appending. Each line reaches the operating system before `write` returns, so a killed
 * process loses none. With `resumeAt` (updates done at the checkpoint), lines of later steps and a line that a crash
 * cut off are removed first: the resumed run writes them again, and the file ends up as if there had been no stop.
 */
export function openLog(path: string, resumeAt = 0): RunLog {
  const kept = existsSync(path) ? keptBytes(readFileSync(path), resumeAt) : 0;
  const descriptor = openSync(path, "a");
  ftruncateSync(descriptor, kept);
  return {
    write(record) {
      writeSync(descriptor, `${JSON.stringify(record, nonFinite)}\n`);
    },
    sync: () => fsyncSync(descriptor),
    close: () => closeSync(descriptor),
  };
}

/** The length of the part whose lines are whole and at most at `step`. A run that starts at step 0 keeps nothing. */
function keptBytes(bytes: Buffer, step: number): number {
  let start = 0;
  if (step === 0) return 0;
  for (;;) {
    const end = bytes.indexOf(10, start);
    if (end < 0) return start;
    try {
      const record: LogRecord = JSON.parse(bytes.toString("utf8", start, end));
      if (!(record.step <= step)) return start;
    } catch {
      return start;
    }
    start = end + 1;
  }
}

/** JSON has no NaN or infinity; the guards report them, and a log should still say what it was. */
const nonFinite = (_key: string, value: unknown) =>
  typeof value === "number" && !Number.isFinite(value) ? String(value) : value;

/** The records of a log; a cut-off last line is left out. */
export function readLog(path: string): LogRecord[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.slice(0, -1).map((line) => JSON.parse(line));
}
