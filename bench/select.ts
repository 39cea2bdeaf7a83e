import { availableParallelism } from "node:os";
import { speechCandidates } from "../src/methods/pretext/candidates.ts";
import { describeSamples } from "../src/methods/pretext/describe.ts";
import { Estimator, type Units } from "../src/methods/pretext/estimate.ts";
import { choose, estimateCandidates, methods } from "../src/methods/pretext/select.ts";
import { random } from "../src/random.ts";
import type { BenchOptions } from "./options.ts";

/**
 * What `voxsmith select` costs at the paper's size, 50 speakers x 120 utterances (Zaiem et al. 2022, section IX: about six hours on
 * 20 processors), over generated audio, against the number of utterances: a sample of the utterances is described and timed on
 * one thread, and the rest counts as much, shared out among the processors; estimates and all methods are run whole.
 *
 * @param share of the 120 utterances, to try it
 */
export async function benchSelect({ json, share = 1 }: BenchOptions): Promise<void> {
  const speakers = 50;
  const seconds = 8.2; // VoxCeleb1's mean
  const sampled = share < 1 ? 8 : 40;
  const clips = Array.from({ length: sampled }, (_, i) => voice(i, seconds));
  const settings = { units: [{}], candidates: speechCandidates, mels: 80, frames: 30 };
  describeSamples(clips[0], settings); // compiles it
  const began = performance.now();
  const described = clips.map((clip) => describeSamples(clip, settings));
  const each = secondsSince(began) / sampled / availableParallelism();
  for (const perSpeaker of [15, 30, 60, 120].filter((n) => n <= 120 * share)) {
    const start = performance.now();
    const units = unitsFrom(described, speakers, perSpeaker);
    const estimator = new Estimator(units);
    const estimates = estimateCandidates(estimator);
    const kernels = secondsSince(start);
    const choices: { method: string; seconds: number; restarts?: number }[] = [];
    for (const method of methods) {
      const from = performance.now();
      const { stability } = await choose(method, estimator, estimates);
      choices.push({ method, seconds: secondsSince(from), restarts: stability?.restarts });
    }
    const describing = each * speakers * perSpeaker;
    const all = describing + kernels + choices.reduce((sum, choice) => sum + choice.seconds, 0);
    const row = {
      name: `select: ${speakers} speakers x ${perSpeaker} utterances`,
      minutes: Number((all / 60).toFixed(2)),
      describingSeconds: Number(describing.toFixed(1)),
      estimateSeconds: Number(kernels.toFixed(1)),
      methodSeconds: Object.fromEntries(choices.map((c) => [c.method, Number(c.seconds.toFixed(1))])),
      restarts: choices[0].restarts,
      peakMB: Math.round(process.resourceUsage().maxRSS / 1024),
    };
    const parts = [
      `recordings ${row.describingSeconds} s`,
      `estimates ${row.estimateSeconds} s`,
      ...Object.entries(row.methodSeconds).map(([method, taken]) => `${method} ${taken} s`),
    ];
    console.log(
      json
        ? JSON.stringify(row)
        : `${row.name}: ${row.minutes} min (${parts.join(", ")}), peak ${row.peakMB} MB`,
    );
  }
}

const secondsSince = (start: number): number => (performance.now() - start) / 1000;

/** A voice-like sound: pulses through a few resonances that move, with pauses. */
function voice(seed: number, seconds: number): Float32Array {
  const rng = random(seed, "voice");
  const rate = 16_000;
  const out = new Float32Array(Math.round(seconds * rate));
  const pitch = 90 + 140 * rng.next();
  let [phase, y1, y2] = [0, 0, 0];
  for (let i = 0; i < out.length; i++) {
    const t = i / rate;
    phase += (pitch * (1 + 0.1 * Math.sin(2.1 * t))) / rate;
    const pulse = phase >= 1 ? 1 : 0;
    phase -= pulse;
    const formant = 500 + 300 * Math.sin(5 * t + seed);
    const r = 0.97;
    const y =
      pulse + 0.02 * rng.normal() + 2 * r * Math.cos((2 * Math.PI * formant) / rate) * y1 - r * r * y2;
    [y1, y2] = [y, y1];
    out[i] = 0.1 * y * Math.max(0, Math.sin(3 * t));
  }
  return out;
}

/** Units of the wanted number out of a few described ones, each changed a little so that no two are the same. */
function unitsFrom(
  described: readonly { data: Float32Array; candidates: readonly Float32Array[] }[],
  speakers: number,
  perSpeaker: number,
): Units {
  const total = speakers * perSpeaker;
  const dim = described[0].data.length;
  const data = new Float32Array(total * dim);
  const values = speechCandidates.map(() => new Float64Array(total));
  const rng = random(1, "units");
  for (let u = 0; u < total; u++) {
    const source = described[rng.int(described.length)];
    let square = 0;
    for (let d = 0; d < dim; d++) {
      const value = source.data[d] * (1 + 0.2 * rng.normal());
      data[u * dim + d] = value;
      square += value * value;
    }
    for (let d = 0; d < dim; d++) data[u * dim + d] /= Math.sqrt(square);
    for (const [c, column] of values.entries())
      column[u] = source.candidates[c][0] * (1 + 0.3 * rng.normal());
  }
  return {
    data: { data, dim },
    candidates: speechCandidates.map((name, c) => ({ name, values: values[c] })),
    classes: Array.from({ length: speakers }, (_, s) => ({
      name: String(s),
      members: Int32Array.from({ length: perSpeaker }, (_, i) => s * perSpeaker + i),
    })),
  };
}
