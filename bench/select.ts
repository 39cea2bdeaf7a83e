import { availableParallelism } from "node:os";
import { speechCandidates } from "../src/methods/pretext/candidates.ts";
import { describeSamples } from "../src/methods/pretext/describe.ts";
import { Estimator, type Units } from "../src/methods/pretext/estimate.ts";
import { choose, estimateCandidates } from "../src/methods/pretext/select.ts";
import { random } from "../src/random.ts";

/**
 * What the selection of pretext tasks costs at the paper's size, 50 speakers x 120 utterances (Zaiem et al. 2022, section IX:
 * about six hours on 20 processors), over generated audio: a share of the utterances is described and timed on one thread,
 * the rest follows; kernels and optimisation are run whole. Then the cost of the latter against the number of utterances.
 */
export async function benchSelect(json: boolean): Promise<void> {
  const speakers = 50;
  const utterances = 120;
  const seconds = 8.2; // VoxCeleb1's mean
  const sampled = 40;
  const clips = Array.from({ length: sampled }, (_, i) => voice(i, seconds));
  const settings = { units: [{}], candidates: speechCandidates, mels: 80, frames: 30 };
  describeSamples(clips[0], settings); // compiles it
  const began = performance.now();
  const described = clips.map((clip) => describeSamples(clip, settings));
  const each = (performance.now() - began) / sampled / 1000;
  const describing = (each * speakers * utterances) / availableParallelism();
  for (const perSpeaker of [15, 30, 60, utterances]) {
    const start = performance.now();
    const units = unitsFrom(described, speakers, perSpeaker);
    const estimator = new Estimator(units);
    const estimates = estimateCandidates(estimator);
    const kernels = (performance.now() - start) / 1000;
    const choice = choose("sparsemax", units, estimator, estimates);
    const optimising = (performance.now() - start) / 1000 - kernels;
    const n = speakers * perSpeaker;
    const row = {
      name: `select: ${speakers} speakers x ${perSpeaker} utterances`,
      describingSeconds: Number(((describing * n) / (speakers * utterances)).toFixed(1)),
      estimateSeconds: Number(kernels.toFixed(1)),
      optimiseSeconds: Number(optimising.toFixed(1)),
      minutes: Number((((describing * n) / (speakers * utterances) + kernels + optimising) / 60).toFixed(1)),
      restarts: choice.stability!.restarts,
      peakMB: Math.round(process.resourceUsage().maxRSS / 1024),
    };
    console.log(
      json
        ? JSON.stringify(row)
        : `${row.name}: ${row.minutes} min (recordings ${row.describingSeconds} s, estimates ${row.estimateSeconds} s, weights ${row.optimiseSeconds} s), peak ${row.peakMB} MB`,
    );
  }
}

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
