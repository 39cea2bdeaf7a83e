import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { loadCheckpoint, saveCheckpoint } from "../../src/train/checkpoint.ts";

const temporary = () => mkdtempSync(join(tmpdir(), "checkpoint-"));
const buffersAt = (step: number) => ({
  weights: Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i * step)),
  moments: new Float32Array(7).fill(step),
});
const save = (folder: string, step: number, keep = 2) =>
  saveCheckpoint(
    folder,
    { step, state: { best: step / 3, list: [1, null, "x"] }, buffers: buffersAt(step) },
    keep,
  );
const never = (line: string) => {
  throw new Error(line);
};

describe("checkpoint", () => {
  it("gives back what was saved, bit for bit, into arrays that are there already", () => {
    const folder = temporary();
    expect(loadCheckpoint(folder, never)).toBeUndefined();
    save(folder, 12);
    const moments = new Float32Array(7);
    const loaded = loadCheckpoint(folder, never, { moments })!;
    expect(loaded).toEqual({ step: 12, state: { best: 4, list: [1, null, "x"] }, buffers: buffersAt(12) });
    expect(loaded.buffers.moments).toBe(moments);
  });

  it("keeps the newest", () => {
    const folder = temporary();
    for (const step of [1, 5, 20, 100]) save(folder, step, 2);
    expect(readdirSync(folder).sort()).toEqual(["latest", "step-00000020", "step-00000100"]);
    expect(readFileSync(join(folder, "latest"), "utf8")).toBe("step-00000100\n");
  });

  it("replaces a checkpoint of the same step without a moment in which there is none", () => {
    const folder = temporary();
    save(folder, 5);
    saveCheckpoint(folder, { step: 5, state: "again", buffers: {} }, 1);
    expect(readdirSync(folder).sort()).toEqual(["latest", "step-00000005-2"]);
    expect(loadCheckpoint(folder, never)!.state).toBe("again");
  });

  it.each([
    ["cut off buffers", (path: string) => truncateSync(join(path, "buffers.safetensors"), 100), /truncated/],
    ["cut off state", (path: string) => truncateSync(join(path, "state.json"), 10), /not JSON/],
    [
      "a flipped bit",
      (path: string) => {
        const file = join(path, "buffers.safetensors");
        const bytes = readFileSync(file);
        bytes[bytes.length - 1] ^= 1;
        writeFileSync(file, bytes);
      },
      /checksum differs/,
    ],
  ])("falls back to the one before after %s, and says so", (_, damage, reason) => {
    const folder = temporary();
    save(folder, 3);
    damage(save(folder, 6));
    const lines: string[] = [];
    expect(loadCheckpoint(folder, (line) => lines.push(line))!.step).toBe(3);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(reason);
    expect(lines[0]).toContain("step-00000006");
    damage(join(folder, "step-00000003"));
    expect(() => loadCheckpoint(folder, () => {})).toThrow(/every checkpoint is damaged/);
  });

  it("does without the file `latest`", () => {
    const folder = temporary();
    save(folder, 3);
    save(folder, 6);
    truncateSync(join(folder, "latest"), 0);
    expect(loadCheckpoint(folder, never)!.step).toBe(6);
  });

  it("survives kill -9 at any moment", { timeout: 60_000 }, async () => {
    const folder = join(temporary(), "checkpoints");
    const journal = join(folder, "..", "journal");
    writeFileSync(journal, "");
    const script = join(import.meta.dirname, "checkpoint-writer.ts");
    for (let round = 0; round < 8; round++) {
      const acknowledgedBefore = lastLine(journal);
      const child = spawn(process.execPath, ["--import", "tsx", script, folder, journal], {
        stdio: "inherit",
      });
      const exited = new Promise((resolve) => child.on("exit", resolve));
      while (lastLine(journal) === acknowledgedBefore && child.exitCode === null) await sleep(5);
      await sleep(7 * round + (round % 3));
      expect(child.exitCode).toBeNull();
      child.kill("SIGKILL");
      await exited;

      const acknowledged = lastLine(journal);
      expect(acknowledged).toBeGreaterThan(acknowledgedBefore);
      const { step, state, buffers } = loadCheckpoint(folder, never)!;
      expect(step).toBeGreaterThanOrEqual(acknowledged);
      expect(step).toBeLessThanOrEqual(acknowledged + 1);
      expect(state).toEqual({ loss: 1 / step });
      expect(buffers.weights.every((x) => x === step)).toBe(true);
      expect(buffers.moments.every((x) => x === step)).toBe(true);
    }
    // What the kills left behind goes with the next save.
    save(folder, 10_000_000, 1);
    expect(readdirSync(folder).sort()).toEqual(["latest", "step-10000000"]);
  });
});

function lastLine(path: string): number {
  const lines = existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
  return Number(lines.at(-1) ?? 0);
}
