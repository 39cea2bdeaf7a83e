import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readManifest } from "../../../src/corpus/manifest.ts";
import { RunError } from "../../../src/errors.ts";
import { prepareData, tinyCorpora, tinyModel } from "../../../src/methods/speech-ft/replication/data.ts";
import { type Row, Study } from "../../../src/methods/speech-ft/replication/models.ts";
import {
  claimsOf,
  differences,
  section,
  verdictOf,
} from "../../../src/methods/speech-ft/replication/section.ts";
import {
  FULL,
  learnedNothing,
  TINY_SIZE,
  tuningRecipe,
} from "../../../src/methods/speech-ft/replication/tune.ts";
import { Stopped, Work } from "../../../src/methods/speech-ft/replication/work.ts";
import { replicate } from "../../../src/methods/speech-ft/results.ts";
import type { ProbeResult } from "../../../src/superb/index.ts";
import { dataDir } from "../../shared.ts";

const root = mkdtempSync(join(tmpdir(), "speech-ft-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const signal = new AbortController().signal;
const log = () => {};
const data = dataDir();
const here = data !== undefined && existsSync(join(data, "speechocean762")) ? it : it.skip;

describe("work that is done once", () => {
  const options = (changes = {}) => ({
    folder: join(root, "work"),
    planOnly: false,
    signal,
    log,
    ...changes,
  });

  it("is read the next time, failures too; another key is refused", async () => {
    let times = 0;
    const once = (work: Work, key = "k") => work.do("kind", "a", key, async () => ++times);
    expect((await once(new Work(options())))!.result).toBe(1);
    expect((await once(new Work(options())))!.result).toBe(1);
    await expect(once(new Work(options()), "other")).rejects.toThrow(/is a result of other settings/);
    const fail = () =>
      new Work(options()).do("kind", "b", "k", async () => {
        throw new RunError("the loss became NaN");
      });
    expect((await fail())!.error).toBe("the loss became NaN");
    expect((await fail())!.error).toBe("the loss became NaN");
    // A fault of the program is no failed run.
    const broken = new Work(options()).do("kind", "c", "k", async () => {
      throw new TypeError("a bug");
    });
    await expect(broken).rejects.toThrow("a bug");
  });

  it("does not start what the budget has no room for, and a plan starts nothing", async () => {
    await expect(new Work(options({ budget: 0 })).do("kind", "d", "k", async () => 1)).rejects.toThrow(
      Stopped,
    );
    const plan = new Work(options({ planOnly: true }));
    expect(await plan.do("kind", "d", "k", async () => 1)).toBeUndefined();
    expect((await plan.do("kind", "a", "k", async () => 9))!.result).toBe(1);
    expect(plan.left).toEqual({ kind: 1 });
    const aborted = AbortSignal.abort();
    await expect(new Work(options({ signal: aborted })).do("kind", "e", "k", async () => 1)).rejects.toThrow(
      Stopped,
    );
  });
});

describe("several jobs", () => {
  it("are as many at a time as allowed, and one that fails leaves the others going", async () => {
    const work = new Work({ folder: join(root, "jobs"), planOnly: false, jobs: 2, signal, log });
    let [now, most] = [0, 0];
    const piece = (i: number) =>
      work.do("kind", `piece-${i}`, "k", async () => {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 5));
        now--;
        if (i === 1) throw new TypeError("a bug");
        return i;
      });
    const all = await Promise.allSettled([0, 1, 2, 3, 4, 5].map(piece));
    expect(most).toBe(2);
    expect(all.map(({ status }) => status === "fulfilled")).toEqual([true, false, true, true, true, true]);
  });

  it("what two ask for at once is made once, and both have it", async () => {
    const work = new Work({ folder: join(root, "shared"), planOnly: false, jobs: 2, signal, log });
    let made = 0;
    const piece = () =>
      work.do("kind", "shared", "k", async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return ++made;
      });
    const [first, second] = await Promise.all([piece(), piece()]);
    expect([first!.result, second!.result, made]).toEqual([1, 1, 1]);
  });
});

describe("a plan", () => {
  /** The first seed is done, and lambda 1 was its best. */
  class FirstSeed extends Work {
    readonly wanted: string[] = [];
    constructor() {
      super({ folder: root, planOnly: true, signal, log });
    }
    override async do<T>(kind: string, name: string, key: string, run: () => Promise<T>) {
      if (!name.endsWith("-1")) {
        this.wanted.push(name);
        return super.do(kind, name, key, run);
      }
      const value = name === "probe-L2-keywords-1-1" ? 0.9 : 0.5;
      const headline = { metric: "accuracy", higher: true, value };
      const probed = [{ task: "mini-keywords", headline, best: { step: 1, value } }];
      const tuned = { folder: join(root, name), metrics: {} };
      return { seconds: 1, result: (kind === "probe" ? probed : tuned) as T };
    }
  }

  it("counts the lambda that the first seed chose", async () => {
    const size = { ...FULL, seeds: [1, 2], tuning: ["keywords" as const], alphas: [1] };
    const setup = { base: root, size, tasks: [], data: root, threads: 1, allowOverlap: false };
    const work = new FirstSeed();
    const study = new Study({ ...setup, folder: root, signal, log }, work);
    await study.run();
    expect(study.chosen).toEqual({ keywords: 1 });
    expect(work.wanted.filter((name) => name.includes("L2"))).toEqual([
      ...["tune-L2-1-keywords-2", "probe-L2-keywords-1-2"],
    ]);
  });
});

describe("what the runs say", () => {
  const row = (model: string, seed: number, value: number): Row => ({
    model,
    seed,
    results: [
      {
        ...{ task: "mini-keywords", seed, columns: {}, layerWeights: [1] },
        headline: { metric: "accuracy", value, higher: true },
      } as unknown as ProbeResult,
    ],
  });
  const rows = [1, 2, 3].flatMap((seed) => [
    row("pre-trained", seed, 0.6 + 0.01 * seed),
    row("stable speakers, alpha 1", seed, 0.5 + 0.012 * seed),
    row("stable speakers, alpha 0.25", seed, 0.7 + 0.009 * seed),
    row("regular speakers, alpha 1", seed, seed === 1 ? 0.9 : 0.1),
  ]);
  const size = { ...FULL, tuning: ["speakers" as const], alphas: [0.25, 1] };

  it("is paired by seed and asks for two standard errors", () => {
    expect(differences(rows, "pre-trained", "stable speakers, alpha 1").map((x) => x.toFixed(1))).toEqual([
      ...["9.8", "9.6", "9.4"],
    ]);
    expect(verdictOf([9.8, 9.6, 9.4])).toBe("holds");
    expect(verdictOf([-9.8, -9.6, -9.4])).toBe("does not hold");
    expect(verdictOf([5, -4, 1])).toBe("undecided");
    expect(verdictOf([5])).toBe("undecided");
    expect(verdictOf([])).toBe("not run");
    const found = new Map(claimsOf(rows, [], size).map(({ claim, verdict }) => [claim, verdict]));
    expect(found.get("speakers: Speech-FT makes it better than pre-training")).toBe("holds");
    expect(found.get("speakers: stable fine-tuning is better than regular")).toBe("undecided");
    expect(found.get("speakers: the best alpha lies between the ends")).toBe("holds");
    expect(found.get("linear: the pull back to pre-training helps two tasks")).toBe("not run");
  });

  it("is a section with every model, every claim and the failed runs", () => {
    const runs = [
      { name: "regular-speakers-1", seed: 1, failed: true, why: "learned nothing" },
      { name: "stable-speakers-1", seed: 1, failed: false },
    ];
    const input = { rows, runs, size, base: "models/nano", command: "voxsmith results speech-ft" };
    const text = section({ ...input, notes: ["a note"], left: 2, chosen: { speakers: 0.01 } })!;
    expect(text).toMatch(/\| pre-trained \| 3 \| 62\.00 ± 1\.00 \| 62\.00 ± 1\.00 \|/);
    expect(text).toMatch(/failed: 1 \(regular-speakers-1: learned nothing\)/);
    expect(text).toMatch(
      /fails entirely in some cases \| section 3\.2 \| holds \| 1 of 1 regular runs, 0 of 1 stable/,
    );
    expect(text).toMatch(/0\.01 for speakers/);
    expect(text).toMatch(/2 pieces of work have no result yet/);
    expect(section({ ...input, rows: [], notes: [], left: 0, chosen: {} })).toBeUndefined();
  });

  it("calls a run that is no better than a guess failed", () => {
    expect(learnedNothing("phonemes", { "valid.phonemes.per": 0.99 })).toBe(true);
    expect(learnedNothing("phonemes", { "valid.phonemes.per": 0.6 })).toBe(false);
    expect(learnedNothing("keywords", { "valid.keywords.accuracy": 0.17 })).toBe(true);
    expect(learnedNothing("speakers", { "valid.speakers.accuracy": 0.4 })).toBe(false);
  });
});

describe("fine-tuning for the replication", () => {
  it("is stable, regular or held, as the tables say", () => {
    const plan = (variant: Parameters<typeof tuningRecipe>[2]) =>
      tuningRecipe("models/x", ["speakers"], variant, 1, FULL, 1).plan;
    expect(plan({ kind: "stable" })).toMatchObject({
      headFirst: 0.1,
      freeze: ["feature_extractor"],
      anchor: 0,
    });
    expect(plan({ kind: "regular" })).toMatchObject({ headFirst: 0, freeze: [], anchor: 0 });
    expect(plan({ kind: "anchored", lambda: 0.1 })).toMatchObject({ headFirst: 0.1, anchor: 0.1 });
    const both = tuningRecipe("models/x", ["phonemes", "speakers"], { kind: "stable" }, 1, FULL, 1);
    // As many utterances as each task has alone, or nearly.
    expect([both.batch.size, both.streams.second.batch.size]).toEqual([4, 4]);
    expect(both.steps).toBe(FULL.steps.phonemes + FULL.steps.speakers);
    expect(both.objectives.speakers.stream).toBe("second");
  });

  here("trains on nothing that a probe tests, and goes its whole way with next to nothing", async () => {
    const corpora = tinyCorpora(data!, join(root, "corpora"));
    const tuning = join(root, "tuning");
    const tasks = await prepareData(corpora, tuning);
    const tested = new Set(
      tasks.flatMap(({ items, parts }) => parts.test.map((i) => items[i].utterance.audio)),
    );
    for (const name of ["phonemes", "speakers", "keywords"])
      for (const { audio } of readManifest(join(tuning, `${name}.jsonl`)))
        expect(tested.has(audio)).toBe(false);

    const base = tinyModel(join(root, "model"));
    const size = { ...TINY_SIZE, tuning: ["keywords" as const], alphas: [1], lambdas: [0.01] };
    const setup = { base, size, tasks: tasks.slice(2), data: tuning, threads: 1, allowOverlap: false };
    const go = async (planOnly: boolean) => {
      const work = new Work({ folder: join(root, "study"), planOnly, jobs: 2, signal, log });
      const study = new Study({ ...setup, folder: join(root, "study"), signal, log }, work);
      await study.run();
      return { study, left: work.left };
    };
    const planned = await go(true);
    expect(planned.left).toEqual({ probe: 5, "fine-tune keywords": 3 });
    const { study } = await go(false);
    expect(study.rows.map(({ model }) => model)).toEqual([
      "pre-trained",
      "stable keywords, alpha 1",
      "regular keywords, alpha 0.25",
      "regular keywords, alpha 1",
      "stable keywords, L2 to the start",
    ]);
    expect(study.runs.map(({ name }) => name)).toEqual([
      ...["stable-keywords-1", "regular-keywords-1", "L2-0.01-keywords-1"],
    ]);
    // The same again is read, not made.
    const again = await go(true);
    expect(again.left).toEqual({});
    expect(again.study.rows).toEqual(study.rows);
    expect(existsSync(join(root, "study", "probes", "pre-trained-1", "cache"))).toBe(false);
  });

  here("says its plan, and stops at its budget with nothing lost", async () => {
    const options = { data: data!, folder: join(root, "tiny"), threads: 1, jobs: 1, tiny: true, signal, log };
    const planned = await replicate({ ...options, planOnly: true });
    expect([planned.section, planned.left > 20]).toEqual([undefined, true]);
    const stopped = await replicate({ ...options, planOnly: false, budget: 1e-9 });
    expect([stopped.section, stopped.left]).toEqual([undefined, planned.left]);
    const first = JSON.stringify(readFileSync(join(root, "tiny", "tuning", "speakers.jsonl"), "utf8"));
    expect(first).toContain("train");
  });
});
