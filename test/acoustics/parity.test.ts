import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compareEgemaps, comparePretext } from "../../scripts/feature-parity.ts";
import { referenceDir } from "../shared.ts";

const egemapsFolder = referenceDir("egemaps");
const compareFolder = referenceDir("compare2016");
/** Pitch, perturbation, HNR, formants: measures that a hard decision stands behind. */
const decided = /F0|jitter|shimmer|HNR|^F\d|A3/;

describe.skipIf(!egemapsFolder)("eGeMAPS v02 against openSMILE on real recordings", async () => {
  const parity = egemapsFolder ? await compareEgemaps(egemapsFolder) : undefined;

  it("decides voicing as openSMILE does", () => {
    const [wrong, frames] = parity!.voicingErrors;
    expect(frames).toBeGreaterThan(8000);
    expect(wrong).toBe(0);
  });

  it.each(parity?.descriptors ?? [])("descriptor $name", ({ name, correlation, medianRelative }) => {
    expect(correlation).toBeGreaterThanOrEqual(decided.test(name) ? 0.95 : 0.99999);
    expect(medianRelative).toBeLessThan(1e-3);
  });

  it.each(parity?.functionals ?? [])("functional $name", ({ correlation, medianRelative }) => {
    expect(correlation).toBeGreaterThanOrEqual(0.95);
    expect(medianRelative).toBeLessThan(0.01);
  });

  it("has all of them", () => {
    expect(parity!.descriptors).toHaveLength(25);
    expect(parity!.functionals).toHaveLength(88);
  });
});

describe.skipIf(!egemapsFolder || !compareFolder)(
  "pretext labels against openSMILE's ComParE 2016",
  async () => {
    const parity =
      egemapsFolder && compareFolder
        ? await comparePretext(compareFolder, join(egemapsFolder, "audio"))
        : undefined;

    it("decides voicing as openSMILE does", () => expect(parity!.voicingErrors[0]).toBe(0));

    it.each(parity?.descriptors ?? [])("$name", ({ name, correlation, medianRelative }) => {
      expect(correlation).toBeGreaterThanOrEqual(decided.test(name) ? 0.95 : 0.99999);
      expect(medianRelative).toBeLessThan(1e-4);
    });
  },
);
