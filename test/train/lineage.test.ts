import { copyFileSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readManifest } from "../../src/corpus/manifest.ts";
import {
  joinLineages,
  LINEAGE_FILE,
  type Lineage,
  lineageOf,
  overlap,
  readLineage,
  UtteranceHasher,
  writeLineage,
} from "../../src/train/lineage.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

const corpus = tinyCorpus(1);
const utterances = readManifest(corpus.manifest);
const folder = () => mkdtempSync(join(tmpdir(), "lineage-"));

describe("lineage", () => {
  it("knows an utterance by its sound, wherever the file lies and whatever it is called", () => {
    const copy = join(folder(), "other.wav");
    copyFileSync(utterances[0].audio, copy);
    const lineage = lineageOf("run", utterances.slice(0, 3));
    expect(overlap(lineage, [{ ...utterances[0], id: "other", audio: copy }, utterances[5]])).toEqual([
      { ...utterances[0], id: "other", audio: copy },
    ]);
    expect(overlap(undefined, utterances)).toEqual([]);
  });

  it("tells parts of one file apart", () => {
    const { audio } = utterances[0];
    const lineage = lineageOf("run", [{ audio, start: 0, end: 0.1 }]);
    const others = [{ audio, start: 0.1, end: 0.2 }, { audio }, { audio, start: 0, end: 0.1 }];
    expect(overlap(lineage, others)).toEqual([others[2]]);
  });

  it("is the same after writing and reading, at about 11 bytes an utterance", () => {
    const path = folder();
    const hash = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((b) => Buffer.from(b).toString("base64"));
    const run = fc.record({ name: fc.string(), utterances: fc.nat() });
    const lineage = fc
      .record({ runs: fc.array(run), hashes: fc.array(hash) })
      .map((each) => joinLineages([each]));
    fc.assert(
      fc.property(lineage, (each) => {
        writeLineage(path, each);
        expect(readLineage(path)).toEqual(each);
        const names = JSON.stringify(each.runs).length;
        expect(statSync(join(path, LINEAGE_FILE)).size).toBeLessThan(11 * each.hashes.length + names + 40);
      }),
      { numRuns: 30 },
    );
    expect(readLineage(folder())).toBeUndefined();
  });

  it("joins ancestors, each once", () => {
    const base = lineageOf("base", utterances.slice(0, 2));
    const [a, b] = [
      lineageOf("a", utterances.slice(1, 3), base),
      lineageOf("b", utterances.slice(4, 6), base),
    ];
    const merged: Lineage = joinLineages([base, a, b]);
    expect(merged.runs.map(({ name }) => name)).toEqual(["base", "a", "b"]);
    expect(overlap(merged, utterances).map(({ id }) => id)).toEqual(
      [0, 1, 2, 4, 5].map((i) => utterances[i].id),
    );
    expect(joinLineages([merged, merged])).toEqual(merged);
  });

  it("refuses a file that is none, naming it", () => {
    const path = folder();
    for (const text of ["{", "{}", '{"runs": [], "hashes": "AAAA"}']) {
      writeFileSync(join(path, LINEAGE_FILE), text);
      expect(() => readLineage(path)).toThrow(/lineage\.json: /);
    }
  });

  it("is recorded by training and handed on to a run that starts from its model", async () => {
    const go = (changes: Record<string, unknown>, out: string) =>
      train(parseRecipe(tinyRecipe({ steps: 1, epochs: undefined, ...changes }), "tiny.yaml"), {
        data: corpus.folder,
        out,
        skipBad: false,
        log: () => {},
      });
    const [first, second] = [join(folder(), "a"), join(folder(), "b")];
    await go({ checkpoint: { last: true } }, first);
    const bySpeaker = (...speakers: string[]) => utterances.filter((u) => speakers.includes(u.speaker!));
    expect(overlap(readLineage(first), utterances)).toEqual(bySpeaker("s0", "s1"));
    expect(readFileSync(join(first, "last", LINEAGE_FILE))).toEqual(readFileSync(join(first, LINEAGE_FILE)));
    const split = { by: "speakers", valid: ["s1"], test: ["s2", "s0"] };
    await go(
      { name: "next", upstream: { model: first }, corpus: { manifest: "manifest.jsonl", split } },
      second,
    );
    const lineage = readLineage(second)!;
    expect(overlap(lineage, utterances)).toEqual(bySpeaker("s0", "s1", "s3"));
    expect(lineage.runs).toEqual([
      { name: "tiny", utterances: 4 },
      { name: "next", utterances: 2 },
    ]);
    expect(new Set(lineage.hashes).size).toBe(
      new Set(bySpeaker("s0", "s1", "s3").map(new UtteranceHasher().of, new UtteranceHasher())).size,
    );
  });
});
