import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { expect, test } from "vitest";
import { readManifest } from "../../src/corpus/manifest.ts";
import { synthesizeCorpus } from "../../src/corpus/synthetic-corpus.ts";

test("a corpus made into a folder named relative to the current one reads back", async () => {
  const folder = mkdtempSync(join(tmpdir(), "relative-"));
  try {
    const made = await synthesizeCorpus(
      { speakers: 3, utterances: 1, sentences: ["Yes."] },
      relative(process.cwd(), folder),
    );
    expect(readManifest(folder).map(({ audio }) => audio)).toEqual(made.map(({ audio }) => audio));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
