import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");

test("the README's program is examples/first.ts and finds the weights", () => {
  const program = readFileSync(join(root, "examples/first.ts"), "utf8");
  const shown = readFileSync(join(root, "README.md"), "utf8").match(/```ts\n(.*?)```/s)![1];
  expect(shown).toBe(program);
  const args = ["--import", "tsx", "examples/first.ts"];
  const printed = execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  const [a, b] = printed.trim().split(" ").map(Number);
  expect(a).toBeCloseTo(3, 4);
  expect(b).toBeCloseTo(-2, 4);
});
