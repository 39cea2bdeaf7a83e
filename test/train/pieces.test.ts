import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { joinPieces } from "../../src/corpus/pieces.ts";
import { evaluateRun } from "../../src/train/evaluate-run.ts";
import { readTargets } from "../../src/train/open-model.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { targetFromJson, targetToJson } from "../../src/train/targets.ts";
import { train } from "../../src/train/trainer.ts";
import { Transcriber } from "../../src/use/transcribe.ts";
import { fixture } from "../trajectories/reference.ts";
import { type TinyCorpus, tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

const folder = mkdtempSync(join(tmpdir(), "pieces-"));
let corpus: TinyCorpus;
beforeAll(() => {
  corpus = tinyCorpus(4);
  const [{ model }] = fixture<{ model: string }[]>("sentence-piece.json");
  writeFileSync(join(folder, "bpe.model"), Buffer.from(model, "base64"));
});
afterAll(() => {
  for (const each of [folder, corpus.folder]) rmSync(each, { recursive: true });
});

const recipeOf = (asr: Record<string, unknown>, changes: Record<string, unknown> = {}) =>
  parseRecipe(
    tinyRecipe({ objectives: { asr: { loss: "ctc", target: "pieces", ...asr } }, ...changes }),
    join(folder, "r.yaml"),
  );
const options = () => ({ data: corpus.folder, skipBad: false, log: () => {} });

describe("CTC over pieces of words", () => {
  it("learns the pieces from the training part, then the words from sound", async () => {
    const out = join(folder, "learned");
    const changes = {
      corpus: { manifest: "manifest.jsonl", split: { by: "random", allowSpeakerOverlap: true } },
      augment: { timeMask: { prob: 0 }, channelMask: { prob: 0 } },
      ...{ epochs: 30, evaluate: { every: 90 }, optimizer: { name: "adam", lr: 0.006 } },
    };
    const { metrics } = await train(recipeOf({ pieces: 7 }, changes), { ...options(), out });
    expect(Object.keys(metrics)).toEqual(expect.arrayContaining(["test.asr.wer", "test.asr.loss"]));
    expect(metrics["test.asr.wer"]).toBeLessThan(0.35);
    const target = readTargets(out).get("asr")!;
    if (target.kind !== "sequence") throw new Error("no sequence");
    // ▁, three letters and what is frequent: "▁ab" or "cb" among them.
    expect(target.vocabulary.size).toBe(7);
    expect(target.vocabulary.symbols.slice(0, 5)).toEqual(["<pad>", "a", "b", "c", "▁"]);
    const ids = target.vocabulary.encode({ id: "u", audio: "", text: "ab cb" });
    expect(ids.length).toBeLessThan(6);
    expect(target.vocabulary.decode(ids)).toBe("ab cb");
    expect(targetFromJson(targetToJson(target))).toEqual(target);

    const transcriber = await Transcriber.open(out);
    const [line] = readFileSync(corpus.manifest, "utf8").split("\n");
    const { id, audio, text } = JSON.parse(line);
    const heard = await transcriber.transcribe(join(corpus.folder, audio));
    await transcriber.dispose();
    expect(heard.text, id).toBe(heard.words.map((word) => word.text).join(" "));
    expect(heard.text).toBe(joinPieces(heard.symbols.map((symbol) => symbol.text)));
    expect(heard.text).toBe(text);
  }, 60_000);

  it("takes a SentencePiece model, which the run's folder then holds", async () => {
    const out = join(folder, "given");
    const { metrics } = await train(recipeOf({ pieces: "bpe.model" }, { epochs: 1 }), { ...options(), out });
    rmSync(join(folder, "bpe.model"));
    const again = await evaluateRun(out, "test", options());
    for (const [name, value] of Object.entries(again.metrics))
      expect(value, name).toBe(metrics[`test.${name}`]);
    const target = readTargets(out).get("asr")!;
    if (target.kind !== "sequence") throw new Error("no sequence");
    expect(target.vocabulary.symbols).toContain("▁woodchuck");
    const cut = target.vocabulary.encode({ id: "u", audio: "", text: "the woodchuck" });
    expect(cut.map((i) => target.vocabulary.symbols[i])).toEqual(["▁the", "▁woodchuck"]);
  }, 60_000);

  it("says what is wrong", async () => {
    const fails = (asr: Record<string, unknown>) =>
      expect(train(recipeOf(asr), { ...options(), out: join(folder, "bad") })).rejects;
    await fails({ pieces: "none.model" }).toThrow(/none\.model: does not exist$/);
    await fails({ pieces: 3 }).toThrow(
      "a vocabulary of 3 is too small: the letters and the blank alone are 5",
    );
  });
});
