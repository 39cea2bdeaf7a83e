import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeWav } from "../../src/audio/decode.ts";
import { loadUtterance } from "../../src/corpus/load-audio.ts";
import type { Utterance } from "../../src/corpus/manifest.ts";
import { AudioLoader, padWaves } from "../../src/corpus/prefetch.ts";
import { UserError } from "../../src/errors.ts";
import { buildInto, source } from "./built.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-prefetch-"));
afterAll(() => rmSync(folder, { recursive: true }));
const corpus: Utterance[] = [];

beforeAll(() => {
  // Utterance i is a tone of (i + 1) * 50 ms at 8 kHz, so that its length names it.
  for (let i = 0; i < 12; i++) {
    const wave = Float32Array.from({ length: 400 * (i + 1) }, (_, t) => 0.5 * Math.sin(t * 0.3));
    const audio = join(folder, `${i}.wav`);
    writeFileSync(audio, encodeWav(wave, 8000));
    corpus.push({ id: `u${i}`, audio });
  }
});

const collect = async (loader: AudioLoader, plan: number[][]) => {
  const seen: { indices: number[]; samples: number[] }[] = [];
  for await (const { indices, waves } of loader.batches(plan)) {
    seen.push({ indices, samples: waves.map((w) => w.length) });
  }
  return seen;
};
const plan = [[11, 0], [5], [3, 7, 2], [1], [10, 9], [4, 6, 8]];
const expected = plan.map((indices) => ({ indices, samples: indices.map((i) => 800 * (i + 1)) }));

describe("audio loader", () => {
  test.each([0, 1, 2])("%i threads: resampled, in order, over two epochs", async (threads) => {
    const loader = new AudioLoader(corpus, { sampleRate: 16000, threads, ahead: 2, cacheBytes: 40000 });
    expect(await collect(loader, plan)).toEqual(expected);
    expect(await collect(loader, plan)).toEqual(expected);
    await loader.close();
  });

  test("threads and this thread give the same samples; normalised ones have mean 0 and variance 1", async () => {
    const options = { sampleRate: 16000, normalize: true };
    const loader = new AudioLoader(corpus, options);
    const wave = await loader.load(3);
    expect(wave).toEqual(await loadUtterance(corpus[3], options));
    const mean = wave.reduce((sum, x) => sum + x, 0) / wave.length;
    expect(mean).toBeCloseTo(0, 5);
    expect(wave.reduce((sum, x) => sum + (x - mean) ** 2, 0) / wave.length).toBeCloseTo(1, 4);
    expect(await loader.load(3)).toBe(wave); // from the cache
    await loader.close();
  });

  test("start and end are seconds of the file", async () => {
    const part = await loadUtterance({ ...corpus[11], start: 0.1, end: 0.3 }, { sampleRate: 8000 });
    const whole = await loadUtterance(corpus[11], { sampleRate: 8000 });
    expect(part).toEqual(whole.subarray(800, 2400));
  });

  test("a fault names its utterance when its batch is reached, and can be left out", async () => {
    const broken = join(folder, "broken.wav");
    writeFileSync(broken, "no sound at all");
    const faulty = [...corpus];
    faulty[7] = { id: "u7", audio: broken };
    const loader = new AudioLoader(faulty, { sampleRate: 16000 });
    const seen: number[][] = [];
    const read = async () => {
      for await (const { indices } of loader.batches(plan)) seen.push(indices);
    };
    await expect(read()).rejects.toThrow(UserError);
    expect(seen).toEqual([[11, 0], [5]]);
    await expect(loader.load(7)).rejects.toThrow(/utterance "u7": .*broken\.wav/);
    await loader.close();
    const bad: string[] = [];
    const lenient = new AudioLoader(faulty, { sampleRate: 16000, onBad: (u) => bad.push(u.id) });
    expect((await collect(lenient, [...plan, [7]])).map((b) => b.indices)).toEqual([
      [11, 0],
      [5],
      [3, 2],
      [1],
      [10, 9],
      [4, 6, 8],
    ]);
    expect(bad).toEqual(["u7", "u7"]);
    await lenient.close();
  });

  test("another sample rate is refused on request", async () => {
    await expect(loadUtterance(corpus[0], { sampleRate: 16000, refuseOtherRates: true })).rejects.toThrow(
      /its sample rate is 8000 Hz, but only 16000 Hz is accepted/,
    );
  });

  test("a loader that is dropped half-way or closed under way leaves nothing behind", async () => {
    const loader = new AudioLoader(corpus, { sampleRate: 16000, threads: 2, cacheBytes: 0 });
    for await (const batch of loader.batches(plan)) if (batch.indices[0] === 5) break;
    const pending = loader.load(9);
    const settled = expect(pending).rejects.toThrow(/closed/);
    await loader.close();
    await settled;
    await expect(loader.load(1)).rejects.toThrow(/closed/);
  });

  test("works when built to JavaScript", () => {
    const built = mkdtempSync(resolve(import.meta.dirname, "../../node_modules/.voxsmith-built-"));
    try {
      buildInto(
        built,
        "errors.ts",
        "audio",
        "corpus/prefetch.ts",
        "corpus/load-audio.ts",
        "corpus/load-worker.ts",
        "corpus/worker-pool.ts",
      );
      expect(samplesSeenBy(pathToFileURL(join(built, "corpus", "prefetch.js")).href)).toBe("2400");
    } finally {
      rmSync(built, { recursive: true });
    }
  });

  test("works from the TypeScript sources in any folder, and the program ends by itself", () => {
    const tsx = pathToFileURL(resolve(import.meta.dirname, "../../node_modules/tsx/dist/esm/index.mjs")).href;
    expect(samplesSeenBy(pathToFileURL(join(source, "corpus", "prefetch.ts")).href, tsx)).toBe("2400");
  });
});

/** Runs a program of its own, in another folder, that loads one utterance through a worker thread. */
function samplesSeenBy(module: string, loader?: string): string {
  const program = `${loader === undefined ? "" : `await import(${JSON.stringify(loader)});`}
    const { AudioLoader } = await import(${JSON.stringify(module)});
    const loader = new AudioLoader([{ id: "u", audio: ${JSON.stringify(corpus[2].audio)} }], { sampleRate: 16000 });
    console.log((await loader.load(0)).length);`;
  const options = { cwd: folder, encoding: "utf8", timeout: 60000 } as const;
  return execFileSync(process.execPath, ["--input-type=module", "-e", program], options).trim();
}

test("padding", () => {
  const padded = padWaves([new Float32Array([1, 2]), new Float32Array([3])]);
  expect(padded).toEqual({ values: new Float32Array([1, 2, 3, 0]), batch: 2, samples: 2, lengths: [2, 1] });
});
