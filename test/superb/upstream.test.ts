import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openUpstream, upstreamFrom } from "../../src/superb/upstream.ts";
import { openSafetensors, writeSafetensors } from "../../src/weights/safetensors.ts";
import { TINY_CONFIG } from "../train/tiny-corpus.ts";

const fixture = join(import.meta.dirname, "../fixtures/reference/wav2vec2-tiny");
const folder = mkdtempSync(join(tmpdir(), "frozen-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("a frozen upstream", () => {
  test("hears what transformers computes, one recording at a time; the last state is the encoder's output", async () => {
    const upstream = await openUpstream(fixture, { threads: 1 });
    const expected = openSafetensors(join(fixture, "expected.safetensors"));
    const input = openSafetensors(join(fixture, "input.safetensors"));
    const [, samples] = input.infos.get("audio")!.shape;
    const wave = input.readF32("audio").slice(0, samples);
    const { frames, layers } = await upstream.hear(wave);
    expect([layers.length, frames]).toEqual([upstream.layers, upstream.frames(samples)]);
    // Of a pre-norm model all but the last are transformers' hidden states.
    for (let i = 0; i + 1 < layers.length; i++) {
      const wanted = expected.readF32(`hidden.${i}`);
      for (const [k, value] of layers[i].entries()) expect(Math.abs(value - wanted[k])).toBeLessThan(1e-4);
    }
    const last = layers.at(-1)!;
    const raw = expected.readF32(`hidden.${layers.length - 1}`);
    expect(last.some((value, k) => Math.abs(value - raw[k]) > 1e-2)).toBe(true);
    expected.close();
    input.close();
    await upstream.dispose();
  });

  test("its hash follows weights, configuration and normalisation, not names or dropout", async () => {
    const of = async (config: object, options: object = {}) => {
      const upstream = await upstreamFrom(
        "x",
        { ...TINY_CONFIG, ...config },
        { seed: 1, threads: 1, ...options },
      );
      await upstream.dispose();
      return upstream.hash;
    };
    const hash = await of({});
    expect(hash).toMatch(/^[0-9a-f]{32}$/);
    expect(
      await of({ _name_or_path: "elsewhere", hidden_dropout: 0.3, layerdrop: 0, architectures: ["A"] }),
    ).toBe(hash);
    for (const other of [
      await of({}, { seed: 2 }),
      await of({ hidden_act: "relu" }),
      await of({}, { normalize: true }),
    ])
      expect(other).not.toBe(hash);
  });

  test("reads whether to normalise from the model's own preprocessor", async () => {
    const { config, entries } = copyOf(fixture);
    writeFileSync(join(folder, "config.json"), config);
    writeSafetensors(join(folder, "model.safetensors"), entries);
    writeFileSync(
      join(folder, "preprocessor_config.json"),
      JSON.stringify({ do_normalize: true, sampling_rate: 16000 }),
    );
    const upstream = await openUpstream(folder, { threads: 1 });
    expect([upstream.normalize, upstream.lineage]).toEqual([true, undefined]);
    await upstream.dispose();
    const other = await openUpstream(folder, { threads: 1, normalize: false });
    expect([other.normalize, other.hash === upstream.hash]).toEqual([false, false]);
    await other.dispose();
  });

  test("log-mel is one layer without weights", async () => {
    const upstream = await openUpstream("log-mel", { threads: 1 });
    expect([upstream.layers, upstream.dim, upstream.hop]).toEqual([1, 240, 160]);
    await upstream.dispose();
  });
});

function copyOf(path: string) {
  const source = openSafetensors(join(path, "model.safetensors"));
  const entries = [...source.infos].map(([name, { shape }]) => ({
    ...{ name, dtype: "F32" as const, shape: [...shape] },
    data: source.readF32(name),
  }));
  source.close();
  return { config: JSON.stringify({ ...readConfig(path) }), entries };
}

function readConfig(path: string): object {
  return JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
}
