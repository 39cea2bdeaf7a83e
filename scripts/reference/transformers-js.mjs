// Loads an exported folder in transformers.js and transcribes a 16-bit mono WAV with both of its models. Not a dependency of the
// project: in a folder of its own, `npm install --ignore-scripts @huggingface/transformers@4.3.1`, then
//   node transformers-js.mjs FOLDER-THAT-HOLDS-THE-EXPORT NAME-OF-THE-EXPORT FILE.wav
import { readFileSync } from "node:fs";
import { env, pipeline } from "@huggingface/transformers";

const [folder, name, file] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = folder;
const wav = readFileSync(file);
const up = 16_000 / wav.readUInt32LE(24);
const raw = Float32Array.from(
  { length: (wav.length - 44) >> 1 },
  (_, i) => wav.readInt16LE(44 + 2 * i) / 32768,
);
// Straight lines between samples: good enough to see that symbols come out.
const samples = Float32Array.from({ length: Math.floor(raw.length * up) }, (_, i) => {
  const [k, f] = [Math.floor(i / up), (i / up) % 1];
  return raw[k] * (1 - f) + (raw[k + 1] ?? 0) * f;
});
for (const dtype of ["fp32", "q8"]) {
  const recogniser = await pipeline("automatic-speech-recognition", name, { dtype });
  console.log(dtype, JSON.stringify(await recogniser(samples)));
}
