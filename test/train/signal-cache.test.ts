import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { SignalCache } from "../../src/train/signal-cache.ts";
import { Signals } from "../../src/train/signals.ts";
import { tone } from "./signal-cache-writer.ts";

const folderFor = () => join(mkdtempSync(join(tmpdir(), "signals-")), "signal-cache");
const files = (folder: string) =>
  (readdirSync(folder, { recursive: true }) as string[]).filter((name) => name.endsWith("s"));

it("gives what was computed once, for the same samples, signal and rate only", async () => {
  const folder = folderFor();
  const waves = [tone(200), tone(300), tone(200)];
  const open = (rate = 16_000) => new Signals(rate, async (i) => waves[i], new SignalCache(folder));
  const plain = new Signals(16_000, async (i) => waves[i]);
  for (const name of ["mel", "F0final_sma", "chroma"])
    for (const i of [0, 1, 2]) expect(await open().of(name, i)).toEqual(await plain.of(name, i));
  // Two different recordings, three signals of each.
  expect(files(folder)).toHaveLength(6);
  await open(8000).of("mel", 0);
  expect(files(folder)).toHaveLength(7);

  // What is read afterwards is the file, not the sound.
  const known = { data: Float32Array.of(1, 2, 3, 4), frames: 2, dim: 2 };
  new SignalCache(folder).put("mel", SignalCache.recording(waves[0], 16_000), known);
  expect(await open().of("mel", 2)).toEqual(known);
  expect(await open().of("mel", 1)).toEqual(await plain.of("mel", 1));
});

it("computes again what is damaged, and keeps nothing where it cannot", async () => {
  const folder = folderFor();
  const wave = tone(250);
  const of = (cache?: SignalCache) => new Signals(16_000, async () => wave, cache).of("logHNR_sma", 0);
  const right = await of();
  await of(new SignalCache(folder));
  const [name] = files(folder);
  const path = join(folder, name);
  const whole = readFileSync(path);
  const flipped = Buffer.from(whole);
  flipped[flipped.length - 3] ^= 1;
  for (const damage of [() => writeFileSync(path, flipped), () => truncateSync(path, 40)]) {
    damage();
    expect(await of(new SignalCache(folder))).toEqual(right);
    expect(readFileSync(path)).toEqual(whole);
  }
  const lines: string[] = [];
  const blocked = new SignalCache(join(path, "below-a-file"), (line) => lines.push(line));
  expect(await of(blocked)).toEqual(right);
  await new Signals(16_000, async () => wave, blocked).of("mel", 0);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^signals are not kept for later runs: .*below-a-file: /);
});

it("is shared by processes that come at once", async () => {
  const folder = folderFor();
  const script = join(import.meta.dirname, "signal-cache-writer.ts");
  const run = () =>
    new Promise<string>((resolve) => {
      const child = spawn(process.execPath, ["--import", "tsx", script, folder], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let text = "";
      child.stdout.on("data", (chunk) => {
        text += chunk;
      });
      child.on("exit", (code) => resolve(`${code} ${text}`));
    });
  const said = await Promise.all([run(), run(), run()]);
  expect(new Set(said).size).toBe(1);
  expect(said[0]).toMatch(/^0 [0-9a-f]{64}$/);
  expect(files(folder)).toHaveLength(10);
  expect((readdirSync(folder, { recursive: true }) as string[]).filter((n) => n.endsWith(".tmp"))).toEqual(
    [],
  );
}, 30_000);
