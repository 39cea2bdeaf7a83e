import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, type MockInstance, vi } from "vitest";
import { decodeAudio, probeAudio } from "../../src/audio/decode.ts";
import { UserError } from "../../src/errors.ts";
import { fixture } from "./signal.ts";

// Whatever happens to a file: audio of finite numbers or one UserError, nothing printed, no endless loop (the time
// limits of the tests stand for that).
// The same cases every time, so that a failure can be repeated; another seed tries others.
fc.configureGlobal({ seed: Number(process.env["VOXSMITH_FUZZ_SEED"] ?? 1) });

const names = [
  "s16.wav",
  "f32.wav",
  "extensible24.wav",
  "rf64.wav",
  "ulaw.wav",
  "little.sph",
  "ulaw.sph",
  "mono16.flac",
  "stereo24.flac",
  "mono.mp3",
  "stereo.mp3",
  "mono.ogg",
  "stereo.ogg",
  "mono.opus",
  "stereo.opus",
];
const bytesOf = (name: string) => new Uint8Array(readFileSync(fixture(name)));

let prints: MockInstance[] = [];
beforeAll(() => {
  prints = [
    ...(["log", "info", "warn", "error", "debug"] as const).map((method) => vi.spyOn(console, method)),
    vi.spyOn(process.stdout, "write"),
    vi.spyOn(process.stderr, "write"),
  ];
});
afterAll(() => {
  for (const print of prints) print.mockRestore();
});

/** The samples, or undefined where the file was refused as it should be. */
async function attempt(bytes: Uint8Array): Promise<Float32Array | undefined> {
  for (const print of prints) print.mockClear();
  let samples: Float32Array | undefined;
  try {
    samples = (await decodeAudio(bytes, { name: "x" })).samples;
    expect(samples.length).toBeGreaterThan(0);
    expect(samples.every(Number.isFinite)).toBe(true);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error.message).toMatch(/^x: [^\n]{10,300}$/);
  }
  for (const print of prints) expect(print).not.toHaveBeenCalled();
  return samples;
}

describe.each(names)("%s", (name) => {
  const whole = bytesOf(name);

  it("cut anywhere is refused, or is whole but for a trailing tag", { timeout: 60_000 }, async () => {
    const samples = await attempt(whole);
    expect(samples).toBeDefined();
    const cuts = new Set([0, 1, 2, 3, 4, 8, 11, 12, 16, 20, 43, 44, 45, whole.length - 1, whole.length - 2]);
    for (let i = 1; i < 50; i++) cuts.add(Math.floor((i * whole.length) / 50));
    for (const cut of cuts) {
      const rest = await attempt(whole.slice(0, cut));
      if (rest) expect(rest, `cut at ${cut}`).toEqual(samples);
    }
  });

  it("with changed bytes is audio or a sentence", { timeout: 60_000 }, async () => {
    const change = fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const bytes = whole.slice();
        for (const [at, value] of changes) bytes[at] = value;
        await attempt(bytes);
      }),
      { numRuns: 60 },
    );
  });

  it("with a changed header is audio or a sentence, and so is its duration", {
    timeout: 60_000,
  }, async () => {
    const change = fc.tuple(fc.nat(Math.min(whole.length, 120) - 1), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const bytes = whole.slice();
        for (const [at, value] of changes) bytes[at] = value;
        await attempt(bytes);
        try {
          expect(probeAudio(bytes).samples).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("with bytes removed, doubled or swapped in is audio or a sentence", { timeout: 60_000 }, async () => {
    const span = fc.tuple(fc.nat(whole.length - 1), fc.nat(400), fc.nat(whole.length - 1));
    await fc.assert(
      fc.asyncProperty(span, fc.constantFrom("remove", "double", "copy"), async ([at, count, to], how) => {
        const part = whole.subarray(at, at + count);
        if (how === "copy") {
          const bytes = whole.slice();
          bytes.set(part.subarray(0, whole.length - to), to);
          await attempt(bytes);
        } else {
          const keep = how === "remove" ? at + count : at;
          await attempt(
            new Uint8Array([
              ...whole.subarray(0, at),
              ...(how === "double" ? part : []),
              ...whole.subarray(keep),
            ]),
          );
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe("Ogg pages with right checksums around wrong data", () => {
  const crcTable = Uint32Array.from({ length: 256 }, (_, i) => {
    let crc = i << 24;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
    return crc;
  });

  /** Makes the checksums of all pages right again, so that the damage reaches the decoders. */
  function repair(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer);
    for (let at = 0; at + 27 <= bytes.length; ) {
      let end = at + 27 + bytes[at + 26];
      for (let i = 0; i < bytes[at + 26]; i++) end += bytes[at + 27 + i];
      if (end > bytes.length) return;
      view.setUint32(at + 22, 0);
      let crc = 0;
      for (let i = at; i < end; i++) crc = (crc << 8) ^ crcTable[(crc >>> 24) ^ bytes[i]];
      view.setUint32(at + 22, crc >>> 0, true);
      at = end;
    }
  }

  it.each(["mono.ogg", "stereo.ogg", "mono.opus", "stereo.opus", "three.opus"])(
    "%s",
    { timeout: 90_000 },
    async (name) => {
      const whole = bytesOf(name);
      const unchanged = whole.slice();
      repair(unchanged);
      expect(unchanged).toEqual(whole);
      const change = fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }));
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
          const bytes = whole.slice();
          for (const [at, value] of changes) bytes[at] = value;
          repair(bytes);
          await attempt(bytes);
        }),
        { numRuns: 100 },
      );
    },
  );

  it.each(["mono.ogg", "mono.opus"])("%s with a position far beyond its packets", async (name) => {
    for (const byte of [3, 4, 5, 6]) {
      const bytes = bytesOf(name);
      // The last page's position, which says how much audio there is.
      const last = Buffer.from(bytes).lastIndexOf("OggS");
      bytes[last + 6 + byte] = 1;
      repair(bytes);
      const says = "x: the (vorbis|opus) packets do not hold what the pages say; the file is damaged";
      await expect(decodeAudio(bytes, { name: "x" })).rejects.toThrow(new RegExp(says));
      expect(() => probeAudio(bytes, "x")).toThrow(new RegExp(says));
    }
  });
});

describe("anything at all", () => {
  it("is audio or a sentence", async () => {
    const starts = [
      "RIFF\0\0\0\0WAVE",
      "NIST_1A\n   1024\n",
      "fLaC",
      "OggS",
      "ID3\x04\0\0\0\0\0\0",
      "\xff\xfb\x90\0",
      "",
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...starts),
        fc.uint8Array({ maxLength: 3000 }),
        async (start, rest) => {
          await attempt(new Uint8Array([...Array.from(start, (c) => c.charCodeAt(0)), ...rest]));
        },
      ),
      { numRuns: 200 },
    );
  });
});
