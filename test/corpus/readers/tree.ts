import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { encodeWav } from "../../../src/audio/decode.ts";
import { readManifest, type Utterance, writeManifest } from "../../../src/corpus/manifest.ts";
import { readers } from "../../../src/corpus/readers/index.ts";
import { type ReaderOptions, readCorpus } from "../../../src/corpus/readers/reader.ts";

// Each corpus as its documentation lays it out, in miniature; nothing of the corpora themselves.

export let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "voxsmith-readers-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

export const sound = (seconds: number) => encodeWav(new Float32Array(Math.round(16000 * seconds)), 16000);

/** Writes files; those without content are sound files. */
export function tree(files: Record<string, string | string[] | Uint8Array>, ...sounds: string[]): void {
  for (const [path, content] of [
    ...Object.entries(files),
    ...sounds.map((path) => [path, sound(0.1)] as const),
  ]) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), Array.isArray(content) ? `${content.join("\n")}\n` : content);
  }
}

/** Reads, checks that the result is a manifest that can be written and read, and shortens the paths. */
export async function read(name: string, options: ReaderOptions = {}): Promise<Utterance[]> {
  const utterances = await readCorpus(name, readers, folder, options);
  const manifest = join(folder, "made", "manifest.jsonl");
  writeManifest(manifest, utterances);
  expect(readManifest(manifest)).toEqual(utterances);
  rmSync(dirname(manifest), { recursive: true });
  return utterances.map((u) => ({ ...u, audio: u.audio.slice(folder.length + 1) }));
}
