import { clinicalFeatures } from "../../src/audio/acoustics/clinical/clinical.ts";
import { egemaps } from "../../src/audio/acoustics/egemaps.ts";
import { pretextLabels } from "../../src/audio/acoustics/pretext.ts";
import { chroma } from "../../src/audio/chroma.ts";
import { decodeAudio } from "../../src/audio/decode.ts";
import { kaldiFbank } from "../../src/audio/kaldi.ts";
import { bandFlatness, octaveIntensity } from "../../src/audio/octave-bands.ts";
import { resample } from "../../src/audio/resample.ts";
import { logMel, mfcc, withDeltas } from "../../src/audio/spectra.ts";

// What a page does with recordings that a visitor opens; the test runs it in a browser and in Node and compares.

/** Decodes each recording, brings it to 16 kHz and describes it: numbers by name. */
export async function describeRecordings(
  recordings: Readonly<Record<string, Uint8Array>>,
): Promise<Record<string, number>> {
  const out: Record<string, number> = {};
  for (const [name, bytes] of Object.entries(recordings)) {
    const audio = await decodeAudio(bytes, { name });
    const samples = resample(audio.samples, audio.sampleRate, 16_000);
    out[`${name} rate`] = audio.sampleRate;
    out[`${name} samples`] = samples.length;
    out[`${name} rms`] = Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
  }
  return out;
}

/** Spectra and acoustic features of one recording: numbers by name. */
export async function describeSpeech(bytes: Uint8Array): Promise<Record<string, number>> {
  const { samples, sampleRate } = await decodeAudio(bytes);
  const at16 = resample(samples, sampleRate, 16_000);
  const matrices = {
    logMel: logMel(at16, 16_000),
    mfcc: withDeltas(mfcc(at16, 16_000)),
    fbank: kaldiFbank(at16, 16_000),
    chroma: chroma(at16, 16_000),
    flatness: bandFlatness(at16, 16_000),
    octaves: octaveIntensity(at16, 16_000),
  };
  const out: Record<string, number> = {};
  for (const [name, { data, frames, dim }] of Object.entries(matrices)) {
    out[`${name} frames`] = frames;
    for (let c = 0; c < dim; c++) {
      let sum = 0;
      for (let t = 0; t < frames; t++) sum += data[t * dim + c];
      out[`${name}[${c}]`] = sum / frames;
    }
  }
  Object.assign(out, egemaps(at16, 16_000).functionals);
  const { names, frames } = pretextLabels(at16, 16_000);
  for (const [c, name] of names.entries())
    out[name] = frames.reduce((sum, frame) => sum + frame[c], 0) / frames.length;
  const phones = [
    { label: "aa", start: 0.1, end: 0.25 },
    { label: "t", start: 0.25, end: 0.3 },
    { label: "iy", start: 0.3, end: 0.45 },
  ];
  const known = { phones, canonical: ["aa", "t", "iy"], recognised: ["aa", "iy"] };
  Object.assign(out, clinicalFeatures(at16, 16_000, known));
  return out;
}
