import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { commands } from "../../src/cli/commands.ts";
import { hubCacheFolder, node } from "../../src/cli/doctor-checks.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
function voxsmith(...args: string[]) {
  // From another folder: a user's current folder is rarely the project.
  const cwd = mkdtempSync(join(tmpdir(), "cli-"));
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { cwd, encoding: "utf8" });
  return { status, stdout, stderr };
}

describe("voxsmith", () => {
  it("lists its commands and helps with each", () => {
    const { status, stdout, stderr } = voxsmith("--help");
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^Usage: voxsmith COMMAND/);
    expect(voxsmith().stdout).toBe(stdout);
    const listed = [...stdout.split("Commands:\n")[1].matchAll(/^ {2}([\w-]+) /gm)].map((match) => match[1]);
    expect(listed).toContain("doctor");
    const help = voxsmith("doctor", "--help");
    expect(help.status).toBe(0);
    expect(help.stdout).toMatch(/^Usage: voxsmith doctor /);
    expect(listed).toEqual(commands.map(({ name }) => name));
  });

  it.each(commands)("$name has a help with an example", async ({ name, load }) => {
    const command = (await load()).command();
    let help = "";
    command.configureOutput({
      writeOut: (text) => {
        help += text;
      },
    });
    command.outputHelp();
    expect(help).toMatch(new RegExp(`^Usage: ${name} `));
    expect(help).toMatch(new RegExp(`Examples?:\n  \\$ voxsmith ${name}`));
    expect(help).toContain("--json");
  });

  it.each([
    [["doctr"], "`doctr` is not a command; did you mean `doctor`?"],
    [["xyzzy"], "`xyzzy` is not a command; `voxsmith --help` lists them"],
    [["--verson"], "unknown option `--verson`; did you mean --version?"],
    [["doctor", "--jsn"], "unknown option `--jsn`; did you mean --json?"],
    [["doctor", "now"], /^too many arguments/],
  ])("answers %j with one sentence and status 2", (args, sentence) => {
    const { status, stdout, stderr } = voxsmith(...args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^voxsmith: .*\n$/);
    const said = stderr.slice("voxsmith: ".length, -1);
    if (typeof sentence === "string") expect(said).toBe(sentence);
    else expect(said).toMatch(sentence);
  });

  it("prints its version", () => {
    expect(voxsmith("--version").stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("doctor", () => {
  it("finds that training runs here, for people and for programs", () => {
    const people = voxsmith("doctor");
    expect(people.status).toBe(0);
    expect(people.stdout).toMatch(/^ok +ONNX Runtime +\d+\.\d+\.\d+$/m);
    expect(people.stdout).toMatch(/^ok +provider cpu +runs/m);

    const { status, stdout } = voxsmith("doctor", "--json");
    expect(status).toBe(0);
    const { ok, checks } = JSON.parse(stdout);
    expect(ok).toBe(true);
    for (const check of checks) {
      expect(check.found).not.toBe("");
      if (check.ok) expect(check.hint).toBeUndefined();
      else expect(check.hint).toMatch(/\w/);
    }
  });

  it("knows which Node.js is too old", () => {
    expect(["18.20.0", "20.18.3", "20.19.0", "22.1.0", "24.0.0"].map((v) => node(v).ok)).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
  });

  it("looks for the hub cache where Hugging Face's tools do", () => {
    expect(hubCacheFolder({ HF_HUB_CACHE: "/a", HF_HOME: "/b" })).toBe("/a");
    expect(hubCacheFolder({ HF_HOME: "/b", XDG_CACHE_HOME: "/c" })).toBe("/b/hub");
    expect(hubCacheFolder({ XDG_CACHE_HOME: "/c" })).toBe("/c/huggingface/hub");
    expect(hubCacheFolder({})).toMatch(/\.cache\/huggingface\/hub$/);
  });
});
