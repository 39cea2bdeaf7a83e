import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, it } from "vitest";
import { parseRecipe } from "../../src/train/recipe.ts";
import { recipeDocs } from "../../src/train/recipe-docs.ts";

const page = resolve(import.meta.dirname, "../../docs/recipes.md");

// `npx vitest run test/train/recipe-docs.test.ts -u` writes the page anew.
it("docs/recipes.md says what the schema says", async () => {
  await expect(recipeDocs()).toMatchFileSnapshot(page);
});

it("describes every key", () => {
  for (const line of recipeDocs()
    .split("\n")
    .filter((row) => row.startsWith("| `")))
    expect(line).toMatch(/^\| `\w+` \| .+ \| .+ \| \S.+[.:`)] \|$/);
});

it("shows an example that works", () => {
  const example = /```yaml\n(.*?)```/s.exec(readFileSync(page, "utf8"))![1];
  expect(parseRecipe(example, "docs/recipes.md").objectives.digit.loss).toBe("cross-entropy");
});
