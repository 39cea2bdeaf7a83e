import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { command } from "../../../src/cli/select.ts";
import { tinyCorpus } from "../../train/tiny-corpus.ts";

const { folder } = tinyCorpus(3);
const out = mkdtempSync(join(tmpdir(), "select-"));
afterAll(() => {
  for (const each of [folder, out]) rmSync(each, { recursive: true, force: true });
});

const features = ["pcm_zcr_sma", "Loudness_sma3", "alphaRatio_sma3"];
const file = (name: string, text: string) => {
  writeFileSync(join(out, name), text);
  return join(out, name);
};
async function select(...options: string[]) {
  const printed: string[] = [];
  const spies = (["stdout", "stderr"] as const).map((stream) =>
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      if (stream === "stdout") printed.push(String(text));
      return true;
    }),
  );
  try {
    const all = [folder, "--task", "word", "--features", features.join(), "--out", out, "--threads", "1"];
    await command().parseAsync([...all, ...options], { from: "user" });
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return printed.join("");
}

it("selects, ranks against errors, and keeps fixed weights", async () => {
  // A heading, and lines of a spreadsheet.
  const errors = file(
    "errors.csv",
    `candidate,error\r\n${features.map((f, i) => `${f}, 0.${i + 1}`).join("\r\n")}\r\n`,
  );
  const json = JSON.parse(await select("--errors", errors, "--json"));
  expect(json).toMatchObject({ task: "word", classes: 2, units: 24, always: { mel: 1, mfcc: 1 } });
  expect(json.agreement.candidates.sort()).toEqual([...features].sort());
  const { weights } = JSON.parse(readFileSync(join(out, "weights.json"), "utf8"));
  expect(Object.values<number>(weights).reduce((a, b) => a + b)).toBeCloseTo(1, 5);
  const fixed = file("fixed.json", JSON.stringify({ weights: { pcm_zcr_sma: 0.5 } }));
  const again = JSON.parse(await select("--fix", fixed, "--json"));
  expect(again.weights.pcm_zcr_sma).toBe(0.5);
}, 60_000);

it("says what is wrong with files and choices, before it describes anything", async () => {
  const none = join(out, "none");
  const csv = (name: string, text: string) => ["--errors", file(name, text)];
  await expect(select("--errors", none)).rejects.toThrow(/--errors .*none: .*(exist|no such)/);
  await expect(select(...csv("a.csv", "pcm_zcr_sma,\nLoudness_sma3,1"))).rejects.toThrow(
    "a.csv:1: must be a candidate of --features, a comma and a number",
  );
  await expect(select(...csv("b.csv", "pcm_zcr_sma,1\npcm_zcr_sma,2"))).rejects.toThrow(
    "b.csv:2: pcm_zcr_sma has an error already",
  );
  await expect(select(...csv("c.csv", "candidate,error\npcm_zcr_sma,1"))).rejects.toThrow("at least 3");
  const weights = (name: string, value: unknown) => ["--fix", file(name, JSON.stringify({ weights: value }))];
  await expect(select(...weights("d.json", { pcm_zcr_sma: "much" }))).rejects.toThrow(
    "the weight of pcm_zcr_sma must be a number of at least 0",
  );
  const all = Object.fromEntries(features.map((name) => [name, 1]));
  await expect(select(...weights("e.json", all))).rejects.toThrow("none is left to weigh");
  await expect(select("--ternary", "pcm_zcr_sma,pcm_zcr_sma,Loudness_sma3")).rejects.toThrow(
    "three different",
  );
  await expect(select("--method", "mrmr", "--features", "spectral")).rejects.toThrow(
    "chooses among labels only",
  );
  await expect(select("--features", "loudness")).rejects.toThrow("--features loudness: is no candidate");
  await expect(select("--task", "colour")).rejects.toThrow('has no label "colour"');
});
