// Signals of a few tones through a cache that other processes use at the same time; prints a digest of all of them.
import { createHash } from "node:crypto";
import { SignalCache } from "../../src/train/signal-cache.ts";
import { Signals } from "../../src/train/signals.ts";

/** A quarter of a second with a few overtones. */
export const tone = (hertz: number): Float32Array =>
  Float32Array.from({ length: 4000 }, (_, i) =>
    [1, 2, 3].reduce((sum, k) => sum + (0.2 / k) * Math.sin((2 * Math.PI * k * hertz * i) / 16_000), 0),
  );

const [, , folder] = process.argv;
if (import.meta.filename === process.argv[1] && folder !== undefined) {
  const signals = new Signals(16_000, async (i) => tone(150 + 20 * i), new SignalCache(folder));
  const digest = createHash("sha256");
  for (const i of [0, 1, 2, 3, 4])
    for (const name of ["mel", "F0final_sma"]) digest.update((await signals.of(name, i)).data);
  process.stdout.write(digest.digest("hex"));
}
