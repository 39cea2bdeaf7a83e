import { describe, expect, it } from "vitest";
import { decodeAudio } from "../../src/audio/decode.ts";
import { decodeIndexed, indexFlac } from "../../src/audio/flac.ts";
import { memorySource } from "../../src/audio/pcm.ts";
import { random } from "../../src/random.ts";

const RATE = 16_000;
const BLOCK = 192;

function crc(bytes: readonly number[], bits: number, polynomial: number): number {
  let value = 0;
  for (const byte of bytes) {
    value ^= byte << (bits - 8);
    for (let i = 0; i < 8; i++) value = value & (1 << (bits - 1)) ? (value << 1) ^ polynomial : value << 1;
    value &= (1 << bits) - 1;
  }
  return value;
}

/** A FLAC stream of uncompressed frames of 192 samples, 16 bits, mono. */
function flacOf(samples: readonly number[]): Uint8Array {
  const word = (value: number) => [(value >> 8) & 255, value & 255];
  const info = [
    ...[...word(BLOCK), ...word(BLOCK), 0, 0, 0, 0, 0, 0],
    ...[RATE >> 12, (RATE >> 4) & 255, ((RATE & 15) << 4) | 0, 15 << 4],
    ...[0, 0, ...word(samples.length)],
    ...new Array<number>(16).fill(0),
  ];
  const bytes = [...Buffer.from("fLaC"), 0x80, 0, 0, info.length, ...info];
  for (let frame = 0; frame * BLOCK < samples.length; frame++) {
    // Like UTF-8: from 128 on the number takes two bytes.
    const number = frame < 128 ? [frame] : [0xc0 | (frame >> 6), 0x80 | (frame & 63)];
    const header = [0xff, 0xf8, 0x15, 0x08, ...number];
    const body = samples.slice(frame * BLOCK, (frame + 1) * BLOCK).flatMap((x) => word(x));
    const whole = [...header, crc(header, 8, 0x07), 0x02, ...body];
    bytes.push(...whole, ...word(crc(whole, 16, 0x8005)));
  }
  return Uint8Array.from(bytes);
}

const noise = (seed: number, frames: number) => {
  const chance = random("flac", seed);
  return Array.from({ length: frames * BLOCK }, () => Math.round(3000 * chance.normal()) | 0);
};
const asFloats = (samples: readonly number[]) => Float32Array.from(samples, (x) => x / 32768);

describe("FLAC frames stand alone", () => {
  it("in stretches with gaps between them, in any order", async () => {
    const samples = noise(1, 200);
    const source = memorySource(flacOf(samples));
    const index = indexFlac(source, "a.flac");
    expect(index.frames).toHaveLength(200);
    for (const [from, to] of [
      [0, 2],
      [4, 5],
      [9, 40],
      [3, 4],
      [126, 131],
      [190, 200],
    ]) {
      const [start, end] = [from * BLOCK + 7, to * BLOCK - 5];
      const found = await decodeIndexed(source, index, "a.flac", { channel: "mix", start, end });
      expect(found).toEqual(asFloats(samples.slice(start, end)));
    }
  });

  it("when several files are decoded at the same time", async () => {
    const all = Array.from({ length: 12 }, (_, i) => noise(i, 20 + 7 * i));
    const decoded = await Promise.all(all.map((samples) => decodeAudio(flacOf(samples))));
    for (const [i, { samples }] of decoded.entries()) expect(samples).toEqual(asFloats(all[i]));
  });
});
