import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../src/random.ts";
import { compareRuns } from "../../src/report/compare-runs.ts";

/** A run's predictions: `speakers` of ten utterances each, of which a share is right. */
function run(right: (speaker: number, n: number) => boolean, speakers = 12, truth = "a"): string {
  const folder = mkdtempSync(join(tmpdir(), "compare-"));
  const lines = Array.from({ length: speakers * 10 }, (_, i) => {
    const [s, n] = [Math.floor(i / 10), i % 10];
    const predicted = right(s, n) ? truth : "b";
    const heard = right(s, n) ? ["x", "y"] : ["x", "z"];
    const answers = {
      digit: { kind: "class", truth, predicted, probabilities: {} },
      letters: { kind: "sequence", expected: ["x", "y"], heard, text: { expected: "xy", heard: "" } },
      age: { kind: "number", truth: 10, predicted: right(s, n) ? 10 : 14 },
    };
    return JSON.stringify({ id: `u${i}`, part: "test", speaker: `s${s}`, answers });
  });
  writeFileSync(join(folder, "predictions.jsonl"), `${lines.join("\n")}\n`);
  return folder;
}

describe("compare", () => {
  it("gives each error with an interval over speakers, and tests the difference in pairs", () => {
    const chance = random("compare");
    const draws = Array.from({ length: 120 }, () => chance.next());
    const at = (share: number) => (s: number, n: number) => draws[10 * s + n] < share;
    const [digit, letters, age] = compareRuns(run(at(0.6)), run(at(0.9)), "test");
    const share = (x: number) => draws.filter((d) => d >= x).length / 120;
    expect(digit).toMatchObject({
      objective: "digit",
      error: "classification error",
      utterances: 120,
      by: "speaker",
    });
    expect(digit.first.value).toBeCloseTo(share(0.6), 10);
    expect(digit.second.value).toBeCloseTo(share(0.9), 10);
    expect(digit.difference.value).toBeCloseTo(share(0.9) - share(0.6), 10);
    expect(digit.difference.high).toBeLessThan(0);
    expect(digit.difference.p).toBeLessThan(0.01);
    expect(digit.mcNemar).toBeLessThan(0.001);
    // One of two letters is wrong where the digit is; four years where it is.
    expect(letters.first.value).toBeCloseTo(share(0.6) / 2, 10);
    expect(age.first.value).toBeCloseTo(4 * share(0.6), 10);
  });

  it("finds no difference between a run and itself, and draws utterances where speakers are few", () => {
    const same = run((s) => s % 2 === 0, 4);
    const [digit] = compareRuns(same, same, "test");
    expect(digit).toMatchObject({ by: "utterance", difference: { value: 0, low: 0, high: 0, p: 1 } });
    expect(digit.first.low).toBeLessThan(0.5);
  });

  it("refuses what cannot be compared", () => {
    const [a, b] = [run(() => true), run(() => true, 12, "c")];
    expect(() => compareRuns(a, b, "test")).toThrow(/"u0" has another true digit/);
    expect(() => compareRuns(a, a, "valid")).toThrow(/no utterance of the valid part in common/);
    expect(() => compareRuns(a, tmpdir(), "test")).toThrow(/predictions\.jsonl: does not exist/);
  });
});
