import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RunError, UserError } from "../../src/errors.ts";
import {
  type BlankStreaks,
  checkBlank,
  checkBuffer,
  checkFinite,
  checkTargets,
  framesNeeded,
} from "../../src/train/guard.ts";

describe("guards", () => {
  it("name the loss or the parameter that is not a number", () => {
    checkFinite("loss", 1e30, 1);
    expect(() => checkFinite("loss of digit", Number.NaN, 7)).toThrow(
      /^loss of digit became NaN at step 7; a lower/,
    );
    const slots = [
      { name: "a.weight", offset: 0, size: 3 },
      { name: "b.bias", offset: 3, size: 2 },
    ];
    const buffer = new Float32Array([3e38, 3e38, 3e38, 3e38, 3e38]);
    checkBuffer("gradient", buffer, slots, 1);
    buffer[3] = Number.NEGATIVE_INFINITY;
    expect(() => checkBuffer("gradient", buffer, slots, 4)).toThrow(
      /^gradient of b\.bias became -Infinity at step 4/,
    );
    buffer[4] = Number.POSITIVE_INFINITY;
    expect(() => checkBuffer("gradient", buffer, slots, 4)).toThrow(RunError);
  });

  it("stop after so many silent evaluations in a row, counted through a checkpoint", () => {
    let streaks: BlankStreaks = {};
    const evaluate = (phones: number, limit = 3) => {
      streaks = checkBlank(JSON.parse(JSON.stringify(streaks)), { phones, other: 5 }, limit, 100);
    };
    for (const phones of [0, 0, 4, 0, 0]) evaluate(phones);
    expect(streaks).toEqual({ phones: 2, other: 0 });
    expect(() => evaluate(0)).toThrow(
      /^objective phones has output nothing but blanks in 3 evaluations in a row/,
    );
    for (let i = 0; i < 9; i++) evaluate(0, 0);
    expect(streaks.phones).toBe(11);
  });

  it("count the frames that CTC needs as its collapse rule says", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 2 }), { maxLength: 5 }),
        fc.nat(7),
        (targets, frames) => {
          expect(framesNeeded(targets) <= frames).toBe(alignable(targets, frames));
        },
      ),
    );
  });

  it("name the utterances whose targets are too long, or leave them out", () => {
    const utterances = [
      { id: "fits", frames: 3, targets: [1, 1] },
      { id: "long", frames: 2, targets: [1, 1] },
      { id: "empty", frames: 0, targets: [] },
      { id: "longer", frames: 2, targets: [1, 2, 3] },
    ];
    expect(checkTargets(utterances, "phones", "skip")).toEqual(["long", "longer"]);
    expect(() => checkTargets(utterances, "phones", "refuse")).toThrow(
      /^objective phones: 2 utterances \(long, longer\) have more targets than frames \(long: 2 frames, 3 needed\)/,
    );
    expect(() => checkTargets(utterances, "phones", "refuse")).toThrow(UserError);
    expect(checkTargets(utterances.slice(0, 1), "phones", "refuse")).toEqual([]);
  });
});

/** Whether any sequence of `frames` symbols (0 is the blank) collapses to the targets, by trying all. */
function alignable(targets: number[], frames: number): boolean {
  for (let code = 0; code < 3 ** frames; code++) {
    const path = Array.from({ length: frames }, (_, i) => Math.floor(code / 3 ** i) % 3);
    const collapsed = path.filter((symbol, i) => symbol !== 0 && symbol !== path[i - 1]);
    if (collapsed.join() === targets.join()) return true;
  }
  return false;
}
