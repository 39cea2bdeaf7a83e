import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeWav } from "../../src/audio/wav.ts";
import { type Phone, readManifest } from "../../src/corpus/manifest.ts";
import { random } from "../../src/random.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { Inference } from "../../src/use/inference.ts";
import { openSafetensors, writeSafetensors } from "../../src/weights/safetensors.ts";
import { tinyRecipe } from "../train/tiny-corpus.ts";

const RATE = 16_000;
/** Hz of what stands for a phone. */
const tones: Record<string, number> = { aa: 700, iy: 2600, uw: 300, s: 5000 };
export const tonePhones = Object.keys(tones);
/** A lexicon that spells the words of the corpus. */
export const toneLexicon = "SEE  s iy\nSUE  s uw\nAH  aa\n";

/** "Speech" of tones whose places are known: 4 speakers, each utterance 3 to 5 phones with pauses between some. */
export function toneCorpus(each = 4): { folder: string; manifest: string } {
  const folder = mkdtempSync(join(tmpdir(), "tones-"));
  mkdirSync(join(folder, "audio"));
  const lines: string[] = [];
  for (let s = 0; s < 4; s++)
    for (let n = 0; n < each; n++) {
      const chance = random(s, n, "tones");
      const phones: Phone[] = [];
      const samples = new Float32Array(1.4 * RATE);
      let at = 0.05 + 0.1 * chance.next();
      for (let k = 3 + chance.int(3); k > 0; k--) {
        const phone = tonePhones[chance.int(tonePhones.length)];
        const seconds = 0.07 + 0.05 * chance.next();
        for (let i = Math.round(at * RATE); i < (at + seconds) * RATE; i++)
          samples[i] = 0.3 * Math.sin(2 * Math.PI * tones[phone] * (1 + 0.002 * s) * (i / RATE));
        phones.push({ phone, start: at, end: at + seconds });
        at += seconds + (chance.next() < 0.3 ? 0.2 : 0.05);
      }
      for (let i = 0; i < samples.length; i++) samples[i] += 0.002 * chance.normal();
      const id = `s${s}-${n}`;
      writeFileSync(join(folder, "audio", `${id}.wav`), encodeWav(samples, RATE));
      lines.push(JSON.stringify({ id, audio: `audio/${id}.wav`, speaker: `s${s}`, phones }));
    }
  const manifest = join(folder, "manifest.jsonl");
  writeFileSync(manifest, `${lines.join("\n")}\n`);
  return { folder, manifest };
}

/**
 * A run whose CTC head knows the tones: trained for a moment to have its folder, then given the head of a nearest-centroid
 * classifier of frames. So its times can be checked, which training by CTC alone would leave to chance.
 */
export async function toneRun({ folder, manifest }: { folder: string; manifest: string }): Promise<string> {
  const recipe = tinyRecipe({
    upstream: { config: { model_type: "log-mel", num_mel_bins: 24, deltas: 0 } },
    objectives: { phonemes: { loss: "ctc", target: "phones" } },
    epochs: 1,
  });
  const out = join(folder, "run");
  await train(parseRecipe(recipe, "tones.yaml"), { data: folder, out, skipBad: false, log: () => {} });
  const inference = await Inference.open(out, { layers: 0 });
  const [{ target }] = inference.objectives;
  const symbols = target.kind === "sequence" ? target.vocabulary.symbols : [];
  const sums = symbols.map(() => ({ count: 0, mean: new Float64Array(24) }));
  for (const { audio, phones } of readManifest(manifest)) {
    const samples = await inference.read(audio);
    const { frames, hidden } = await inference.hear(samples);
    for (let frame = 0; frame < frames; frame++) {
      const seconds = ((frame + 0.5) * samples.length) / RATE / frames;
      const phone = (phones as Phone[]).find(({ start, end }) => start <= seconds && seconds < end);
      const own = sums[phone === undefined ? 0 : symbols.indexOf(phone.phone)];
      own.count++;
      own.mean.forEach((_, d) => {
        own.mean[d] += (hidden[0].data as Float32Array)[frame * 24 + d];
      });
    }
  }
  await inference.dispose();
  const means = sums.map(({ count, mean }) => mean.map((x) => x / count));
  const path = join(out, "model.safetensors");
  const model = openSafetensors(path);
  const { shape } = model.infos.get("lm_head.weight")!;
  model.close();
  writeSafetensors(path, [
    { name: "lm_head.weight", dtype: "F32", shape, data: Float32Array.from(means.flatMap((m) => [...m])) },
    {
      name: "lm_head.bias",
      dtype: "F32",
      shape: [shape[0]],
      data: Float32Array.from(means, (m) => -0.5 * m.reduce((sum, x) => sum + x * x, 0)),
    },
  ]);
  return out;
}
