import fc from "fast-check";
import { expect, test } from "vitest";
import { Collector } from "../../src/audio/collector.ts";

const recording = (channels: number, length: number) =>
  Array.from({ length: channels }, (_, c) =>
    Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(1 + c + i) / 2)),
  );

test("however a recording is cut into pieces, the same stretch of it comes out", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 12 }),
      fc.nat(60),
      fc.nat(60),
      fc.nat(3),
      fc.boolean(),
      (channels, lengths, a, b, which, mixed) => {
        const length = lengths.reduce((sum, n) => sum + n, 0);
        const [start, end] = [Math.min(a, b, length), Math.min(Math.max(a, b), length)];
        const all = recording(channels, length);
        const channel = mixed ? "mix" : which % channels;
        const collector = new Collector({ channels, channel, start, end }, "x.flac");
        let at = 0;
        for (const n of lengths) {
          collector.add(all.map((samples) => samples.subarray(at, at + n)));
          at += n;
        }
        const whole = Float32Array.from({ length }, (_, i) =>
          channel === "mix" ? all.reduce((sum, samples) => sum + samples[i], 0) / channels : all[channel][i],
        );
        expect(collector.received).toBe(length);
        expect(collector.samples).toEqual(whole.slice(start, end));
      },
    ),
  );
});

test("a piece with other channels than the header says is refused", () => {
  const collector = new Collector({ channels: 2, channel: "mix", start: 0, end: 8 }, "x.ogg");
  expect(() => collector.add(recording(1, 4))).toThrow(
    "x.ogg: holds 1 channels where its header says 2; it is damaged",
  );
  expect(() => new Collector({ channels: 2, channel: 2, start: 0, end: 8 }, "x.ogg")).toThrow(
    "there is no channel 2; the recording has channels 0 to 1",
  );
});
