import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { commandsIn, faults, linksIn, scriptsIn } from "../../scripts/check-docs.ts";
import { PAGE, page } from "../../scripts/docs-ops.ts";
import { operations } from "../../src/tensor/define.ts";

test("docs/ops.md is what the operations say today", () => {
  expect(readFileSync(PAGE, "utf8"), "run `npm run docs-ops`").toBe(page());
  for (const name of operations().keys()) expect(page()).toContain(`### ${name}\n`);
});

describe("the check of the documentation", () => {
  const text = [
    "Run `voxsmith train R --resume` or `voxsmith COMMAND`.",
    "```sh\nnode bin/voxsmith.js evall runs/x \\\n  --json\nnpm run tests\n```",
    "[gone](gone.md) [ours](README.md) [far](https://example.org)",
  ].join("\n");

  test("finds commands with their options, scripts and links in code", () => {
    expect(commandsIn("p.md", text)).toEqual([
      { file: "p.md", name: "evall", options: ["--json"] },
      { file: "p.md", name: "train", options: ["--resume"] },
    ]);
    expect(scriptsIn(text)).toEqual(["tests"]);
    expect(linksIn(text)).toEqual(["gone.md", "README.md"]);
  });

  test("names what does not exist", () => {
    const help = (name: string) => (name === "train" ? "--json" : undefined);
    expect(faults(new Map([["p.md", text]]), help)).toEqual([
      "p.md: `voxsmith evall` is not a command",
      "p.md: `voxsmith train` has no option --resume",
      "p.md: `npm run tests` is not a script",
      "p.md: the link gone.md leads nowhere",
    ]);
  });
});
