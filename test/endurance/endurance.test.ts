import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

// A process of its own, so that what is measured is the training's memory and nothing else.
function measure(task: string): { early: number; late: number; loss: number[] } {
  const args = ["--expose-gc", "--import", "tsx", join(import.meta.dirname, "endure.ts"), task];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return JSON.parse(stdout);
}

/** Megabytes that a process may gain without leaking: pages that the allocators have touched once. */
const SLACK = 12;

test("1,000 steps in flat memory, and they learn", () => {
  const { early, late, loss } = measure("steps");
  expect(late - early).toBeLessThan(SLACK);
  expect(loss[1]).toBeLessThan(0.5 * loss[0]);
});

test("40 varying lengths need no more than the longest of them", () => {
  const { early, late } = measure("lengths");
  expect(late - early).toBeLessThan(SLACK);
});

test("disposed sessions give their memory back", () => {
  const { early, late } = measure("sessions");
  expect(late - early).toBeLessThan(SLACK);
});

test("recomputation saves memory", () => {
  const taken = (task: string) => {
    const { early, late } = measure(task);
    return late - early;
  };
  // Six layers' attention is most of what this step keeps; recomputed, one layer's is there at a time.
  expect(taken("recomputed")).toBeLessThan(0.7 * taken("kept"));
});
