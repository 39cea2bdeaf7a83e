import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../..");

// What `npm pack` and `npm install` would make in an empty project, without a network: the package's files with its
// declared dependencies, and nothing that is only a development dependency.
describe("the package in an empty project", () => {
  const project = mkdtempSync(join(tmpdir(), "package-"));
  const installed = join(project, "node_modules", "voxsmith");
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [join(installed, "bin/voxsmith.js"), ...args], {
      cwd: project,
      encoding: "utf8",
    });

  beforeAll(() => {
    const { files, dependencies, bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    execFileSync(join(root, "node_modules/.bin/tsdown"), ["--out-dir", join(installed, "dist")], {
      cwd: root,
      stdio: "pipe",
    });
    for (const file of ["package.json", ...files])
      if (file !== "dist" && existsSync(join(root, file)))
        cpSync(join(root, file), join(installed, file), { recursive: true });
    expect(existsSync(join(installed, bin.voxsmith))).toBe(true);
    for (const name of Object.keys(dependencies)) {
      const link = join(project, "node_modules", name);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(join(root, "node_modules", name), link);
    }
    writeFileSync(join(project, "package.json"), '{"type": "module"}');
  });

  it("runs the doctor, who misses espeak-ng", () => {
    const { status, stdout, stderr } = run("doctor", "--json");
    expect([status, stderr]).toEqual([0, ""]);
    const checks: { name: string; ok: boolean }[] = JSON.parse(stdout).checks;
    expect(checks.find((check) => check.name === "provider cpu")!.ok).toBe(true);
    expect(checks.find((check) => check.name === "espeak-ng")!.ok).toBe(false);
    expect(run("doctr").status).toBe(2);
    expect(run("--help").stdout).toContain("doctor");
  });

  it("gives typed imports that work", () => {
    writeFileSync(
      join(project, "use.ts"),
      `import { readRecipe, type Recipe, schedule, UserError } from "voxsmith";
const factor: (step: number) => number = schedule({ name: "linear", warmup: 2, finalScale: 0 }, 10);
// @ts-expect-error a factor is a number
const wrong: string = factor(1);
let rate: Recipe["optimizer"]["lr"] | undefined;
try { rate = readRecipe("none.yaml").optimizer.lr; } catch (error) { console.log(error instanceof UserError, factor(6), rate, wrong); }
`,
    );
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const options = ["--module", "nodenext", "--target", "es2022", "--strict", "--skipLibCheck"];
    const compiled = spawnSync(process.execPath, [tsc, ...options, "--lib", "es2022,dom", "use.ts"], {
      cwd: project,
      encoding: "utf8",
    });
    expect(compiled.stdout).toBe("");
    expect(execFileSync(process.execPath, ["use.js"], { cwd: project, encoding: "utf8" })).toBe(
      "true 0.5 undefined 0.5\n",
    );
  });
});
