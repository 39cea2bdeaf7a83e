import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ByteSource, decodeAudio, decodeSource, encodeWav, probeAudio } from "../../src/audio/decode.ts";
import { probeFile, readAudio } from "../../src/audio/file.ts";
import { resample } from "../../src/audio/resample.ts";
import { UserError } from "../../src/errors.ts";
import { fixture, fixtureJson, signal } from "./signal.ts";

interface Expected {
  sampleRate: number;
  samples: number;
  step: number;
  channels: number[][];
}

/** Every file of scripts/reference/audio-files.py with its samples by libsndfile. */
const files = Object.entries(fixtureJson<Record<string, Expected>>("files.json"));
const readable = files.filter(([name]) => name !== "adpcm.wav");
const lossy = (name: string) => /\.(mp3|ogg|opus)$/.test(name);
const bytesOf = (name: string) => new Uint8Array(readFileSync(fixture(name)));

const sentence = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => new Error("nothing was refused"),
    (reason: Error) => reason,
  );
  expect(error).toBeInstanceOf(UserError);
  expect(error.message).not.toMatch(/\n|undefined|NaN Hz|\[object/);
  return error.message;
};

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "voxsmith-audio-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, bytes: Uint8Array | string) => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};

describe("decoding", () => {
  it.each(readable)("%s gives libsndfile's samples, channel by channel and mixed", async (name, expected) => {
    const bytes = bytesOf(name);
    // Lossless formats are exact but for the rounding of samples to float32 and of the fixture to ten digits.
    // The Opus decoders are two versions of libopus; the standard asks for equal sound, not equal samples.
    const tolerance = name.endsWith(".opus") ? 1e-4 : lossy(name) ? 3e-6 : 6e-8;
    const check = (actual: Float32Array, wanted: number[]) => {
      expect(actual.length).toBe(expected.samples);
      wanted.forEach((x, i) => {
        expect(Math.abs(actual[i * expected.step] - x)).toBeLessThanOrEqual(tolerance);
      });
    };
    const channels = expected.channels.length;
    for (let c = 0; c < channels; c++) {
      const audio = await decodeAudio(bytes, { channel: c });
      expect([audio.sampleRate, audio.channels]).toEqual([expected.sampleRate, channels]);
      check(audio.samples, expected.channels[c]);
    }
    const mixed = await decodeAudio(bytes);
    check(
      mixed.samples,
      expected.channels[0].map((_, i) => expected.channels.reduce((sum, row) => sum + row[i], 0) / channels),
    );
  });

  it.each(readable)("%s: a segment equals that part of the whole", async (name, { sampleRate, samples }) => {
    const bytes = bytesOf(name);
    const whole = (await decodeAudio(bytes)).samples;
    for (const [start, end] of [
      [0, 0.5],
      [0.25, 0.75],
      [0.6, 1],
    ].map((part) => part.map((x) => Math.round(x * samples)))) {
      const times = { startSeconds: start / sampleRate, endSeconds: end / sampleRate };
      const part = await decodeAudio(bytes, times);
      expect(part.samples).toEqual(whole.slice(start, end));
      const read = await readAudio(fixture(name), times);
      expect(read.samples).toEqual(part.samples);
    }
  });

  it.each(readable)("%s: the duration is known without decoding", async (name, expected) => {
    const info = await probeFile(fixture(name));
    expect(info).toEqual(probeAudio(bytesOf(name)));
    expect([info.sampleRate, info.channels, info.samples]).toEqual([
      expected.sampleRate,
      expected.channels.length,
      expected.samples,
    ]);
    expect(info.seconds).toBeCloseTo(expected.samples / expected.sampleRate, 12);
  });

  it("tells formats by content, whatever the name", async () => {
    const path = write("really-flac.wav", bytesOf("mono16.flac"));
    expect((await readAudio(path)).samples.length).toBe(4800);
  });

  it("finds the data behind other chunks and ID3 tags", async () => {
    const wav = encodeWav(signal(100, 8000), 8000);
    const list = new Uint8Array([...new TextEncoder().encode("LIST"), 3, 0, 0, 0, 1, 2, 3, 0]);
    const widened = new Uint8Array([...wav.subarray(0, 12), ...list, ...wav.subarray(12)]);
    expect((await decodeAudio(widened)).samples).toEqual((await decodeAudio(wav)).samples);
    const tag = new Uint8Array(10 + 300);
    tag.set([0x49, 0x44, 0x33, 4, 0, 0, 0, 0, 300 >> 7, 300 & 127]);
    for (const name of ["mono16.flac", "mono.mp3"]) {
      const plain = await decodeAudio(bytesOf(name));
      expect((await decodeAudio(new Uint8Array([...tag, ...bytesOf(name)]))).samples).toEqual(plain.samples);
      const trailer = new Uint8Array(128);
      trailer.set([0x54, 0x41, 0x47]);
      expect((await decodeAudio(new Uint8Array([...bytesOf(name), ...trailer]))).samples).toEqual(
        plain.samples,
      );
    }
  });

  it("reads WAV data of unknown size, as programs stream it, to the end of the file", async () => {
    const wav = encodeWav(signal(100, 8000), 8000);
    new DataView(wav.buffer).setUint32(40, 0xffffffff, true);
    expect((await decodeAudio(wav)).samples.length).toBe(100);
  });

  it("reads of a long recording only what the segment needs", async () => {
    const sphereHead = new TextDecoder("latin1").decode(bytesOf("little.sph").subarray(0, 1024));
    const long = signal(600_000, 16000);
    const wav = encodeWav(long, 16000);
    const sphere = new Uint8Array(1024 + 2 * long.length);
    const longHead = sphereHead.replace("sample_count -i 320", "sample_count -i 600000").slice(0, 1024);
    sphere.set(new TextEncoder().encode(longHead));
    sphere.set(wav.subarray(44), 1024);
    for (const bytes of [wav, sphere]) {
      let taken = 0;
      const source: ByteSource = {
        size: bytes.length,
        read: (start, end) => {
          const part = bytes.subarray(start, end);
          taken += part.length;
          return part;
        },
      };
      const part = await decodeSource(source, { startSeconds: 20, endSeconds: 21.5 });
      expect(part.samples).toEqual((await decodeAudio(wav)).samples.slice(320_000, 344_000));
      expect(taken).toBeLessThan(2 * 24_000 + 2000);
    }
  });

  it("decodes bytes in the middle of a larger buffer", async () => {
    for (const [name] of readable) {
      const bytes = bytesOf(name);
      const larger = new Uint8Array(bytes.length + 20).fill(0x52);
      larger.set(bytes, 7);
      const inside = larger.subarray(7, 7 + bytes.length);
      expect((await decodeAudio(inside)).samples).toEqual((await decodeAudio(bytes)).samples);
      expect(probeAudio(inside)).toEqual(probeAudio(bytes));
    }
  });

  it("encodes WAV, 16-bit within half a step and clipped, float exactly", async () => {
    const x = signal(500, 8000);
    x.set([1.5, -1.5, 1, -1]);
    const pcm = await decodeAudio(encodeWav(x, 8000));
    expect([...pcm.samples.subarray(0, 4)]).toEqual([32767 / 32768, -1, 32767 / 32768, -1]);
    for (let i = 4; i < x.length; i++)
      expect(Math.abs(pcm.samples[i] - x[i])).toBeLessThanOrEqual(0.5 / 32768);
    const float = await decodeAudio(encodeWav(x, 8000, "float32"));
    expect(float.samples).toEqual(x);
    expect(float.sampleRate).toBe(8000);
  });

  it("resamples on reading", async () => {
    const audio = await readAudio(fixture("stereo.mp3"), { sampleRate: 16000, channel: 1 });
    const source = await readAudio(fixture("stereo.mp3"), { channel: 1 });
    expect(audio.sampleRate).toBe(16000);
    expect(audio.samples).toEqual(resample(source.samples, 44100, 16000));
    expect(audio.samples.length).toBe(3200);
  });

  it("decodes several files at once as one by one", async () => {
    const names = [...readable, ...readable].map(([name]) => name);
    const together = await Promise.all(names.map((name) => decodeAudio(bytesOf(name))));
    for (const [i, name] of names.entries())
      expect(together[i].samples).toEqual((await decodeAudio(bytesOf(name))).samples);
  });
});

describe("bad input", () => {
  it.each<[string, Uint8Array | string, RegExp]>([
    ["empty.wav", "", /empty\.wav: the file is empty/],
    ["text.wav", "hello, this is not audio at all", /text\.wav: this is not a WAV, SPHERE, FLAC/],
    ["zeros.mp3", new Uint8Array(1000), /zeros\.mp3: this is not a/],
    ["webm.webm", new Uint8Array([0x1a, 0x45, 0xdf, 0xa3, ...new Uint8Array(50)]), /Matroska or WebM/],
    ["m4a.m4a", new TextEncoder().encode("\0\0\0\x20ftypM4A \0\0\0\0"), /MP4/],
    ["nodata.wav", encodeWav(new Float32Array(0), 16000), /holds no audio/],
    ["nan.wav", encodeWav(new Float32Array([0, 0.5, Number.NaN]), 16000, "float32"), /sample 2 is NaN/],
    ["inf.wav", encodeWav(new Float32Array([0, -Infinity]), 16000, "float32"), /sample 1 is -Infinity/],
    [
      "holes.wav",
      new Uint8Array([...encodeWav(new Float32Array(4), 8000).subarray(0, 36), ...new Uint8Array(5000)]),
      /no chunk begins at byte 36/,
    ],
    ["rate.wav", encodeWav(new Float32Array(9), 3), /sample rate of 3 Hz/],
  ])("%s", async (name, bytes, wanted) => {
    const path = write(name, bytes);
    expect(await sentence(readAudio(path))).toMatch(wanted);
    expect(await sentence(readAudio(path))).toContain(path);
  });

  it("a missing file and a folder", async () => {
    expect(await sentence(readAudio(join(folder, "none.wav")))).toMatch(/none\.wav: there is no such file/);
    expect(await sentence(readAudio(folder))).toMatch(/not a file|a folder/);
  });

  it("a SPHERE header longer than its file, with and without a count of samples", async () => {
    const whole = new TextDecoder("latin1").decode(bytesOf("little.sph"));
    const longer = whole.replace("   1024\n", "   9024\n");
    for (const text of [longer, longer.replace("sample_count", "sample_kount")]) {
      const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
      expect(bytes).toHaveLength(1664);
      const says = "a.sph: the SPHERE header is to fill 9024 bytes, but the file has 1664";
      expect(await sentence(decodeAudio(bytes, { name: "a.sph" }))).toContain(says);
      expect(() => probeAudio(bytes, "a.sph")).toThrow(says);
    }
  });

  it("ADPCM in WAV and shorten in SPHERE are named", async () => {
    expect(await sentence(decodeAudio(bytesOf("adpcm.wav"), { name: "a.wav" }))).toMatch(/a\.wav.*IMA ADPCM/);
    const sphere = new TextDecoder("latin1").decode(bytesOf("little.sph"));
    const shorten = sphere.replace("end_head", "sample_coding -s26 pcm,embedded-shorten-v2.00\nend_head");
    const bytes = Uint8Array.from(shorten.slice(0, sphere.length), (c) => c.charCodeAt(0));
    expect(await sentence(decodeAudio(bytes, { name: "a.sph" }))).toMatch(/a\.sph.*shorten.*sph2pipe/);
  });

  it("channels and segments that are not there", async () => {
    const bytes = bytesOf("s16.wav"); // stereo, 0.02 s
    expect(await sentence(decodeAudio(bytes, { channel: 2 }))).toMatch(/no channel 2.*channels 0 to 1/);
    expect(await sentence(decodeAudio(bytesOf("u8.wav"), { channel: 1 }))).toMatch(/only channel 0/);
    expect(await sentence(decodeAudio(bytes, { channel: -1 }))).toMatch(/no channel -1/);
    for (const name of ["s16.wav", "little.sph", "mono16.flac", "mono.mp3", "mono.ogg", "mono.opus"]) {
      const data = bytesOf(name);
      expect(await sentence(decodeAudio(data, { startSeconds: 5 }))).toMatch(/5 s/);
      expect(await sentence(decodeAudio(data, { startSeconds: 0.01, endSeconds: 0.005 }))).toMatch(
        /not a stretch/,
      );
      expect(await sentence(decodeAudio(data, { endSeconds: 3 }))).toMatch(/outside the recording/);
      expect(await sentence(decodeAudio(data, { startSeconds: Number.NaN }))).toMatch(/not a stretch/);
    }
  });

  it("an end that only rounding put behind the last sample is taken as the end", async () => {
    expect((await decodeAudio(bytesOf("s16.wav"), { endSeconds: 0.05 })).samples.length).toBe(320);
  });

  it("a second or foreign Ogg stream, and a codec that is not known", async () => {
    const vorbis = bytesOf("mono.ogg");
    const opus = bytesOf("mono.opus");
    expect(await sentence(decodeAudio(new Uint8Array([...vorbis, ...opus])))).toMatch(/chained Ogg/);
    const page = vorbis.indexOf(0x4f, 10); // the second page's OggS
    expect(await sentence(decodeAudio(new Uint8Array([...vorbis.subarray(0, page), ...opus])))).toMatch(
      /several streams/,
    );
  });
});
