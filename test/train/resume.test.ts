import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { loadCheckpoint } from "../../src/train/checkpoint.ts";
import { readLog } from "../../src/train/log.ts";
import { readRun } from "../../src/train/run-folder.ts";

const script = join(import.meta.dirname, "resume-writer.ts");
function start(folder: string) {
  const child = spawn(process.execPath, ["--import", "tsx", script, folder], { stdio: "inherit" });
  const exited = new Promise<number | null>((resolve) => child.on("exit", resolve));
  return { child, exited };
}
const steps = (folder: string) =>
  existsSync(join(folder, "log.jsonl")) ? readLog(join(folder, "log.jsonl")).length : 0;
const weightsOf = (folder: string) =>
  loadCheckpoint(join(folder, "checkpoints"), (line) => {
    throw new Error(line);
  })!.buffers.weights;

it("a run killed again and again ends as the uninterrupted one, bit for bit", {
  timeout: 60_000,
}, async () => {
  const [whole, killed] = ["whole", "killed"].map((name) =>
    join(mkdtempSync(join(tmpdir(), "resume-")), name),
  );
  expect(await start(whole).exited).toBe(0);

  // Each kill comes a few steps after the last one, wherever the process is then: in a save, a write, an update.
  let kills = 0;
  for (const target of [1, 6, 15, 16, 33]) {
    const { child, exited } = start(killed);
    while (steps(killed) < target && child.exitCode === null) await sleep(1);
    child.kill("SIGKILL");
    if ((await exited) === null) kills++;
  }
  expect(kills).toBeGreaterThan(2);
  const last = start(killed);
  const finished = await last.exited;
  // Where the last kill came too late the run is done, and starting it again is refused.
  expect(finished === 0 || readRun(killed)!.status === "finished").toBe(true);

  expect(readFileSync(join(killed, "log.jsonl"), "utf8")).toBe(
    readFileSync(join(whole, "log.jsonl"), "utf8"),
  );
  expect(weightsOf(killed)).toEqual(weightsOf(whole));
  expect(steps(whole)).toBe(60);
  expect(readRun(killed)).toMatchObject({ status: "finished" });
  expect(readRun(killed)!.resumed).toBeGreaterThan(0);
});
