import { pretextLabels, pretextNames } from "../audio/acoustics/pretext.ts";
import { chroma } from "../audio/chroma.ts";
import { bandFlatness, octaveIntensity } from "../audio/octave-bands.ts";
import { type FrameMatrix, logMel, mfcc, withDeltas } from "../audio/spectra.ts";
import { UserError } from "../errors.ts";
import { SignalCache } from "./signal-cache.ts";

/**
 * What can be read off a recording every 10 ms and be predicted: spectra, three further representations with a spectral axis,
 * and the thirteen descriptors of audio/acoustics/pretext.ts. `mfcc39` is what HuBERT clusters first; `mfcc` are 20
 * coefficients with their slopes, and `mel` 80 bands, as the workers of Zaiem et al. (2022) predict them.
 */
export const SPECTRA = ["mel", "mfcc", "mfcc39"] as const;
/** Beside MFCC the candidates of their section VIII-B. */
const REPRESENTATIONS = ["spectralFlatness", "octaveIntensity", "chroma"] as const;
export const signalNames: readonly string[] = [...SPECTRA, ...REPRESENTATIONS, ...pretextNames];
/** Whether each frame of a signal is a vector over a spectral axis. */
export const isSpectral = (name: string): boolean =>
  [...SPECTRA, ...REPRESENTATIONS].some((spectral) => spectral === name);

const STEP_SECONDS = 0.01;
/** Windows as the model's: 25 ms, the first one starting with the recording. */
const framing = (sampleRate: number) => ({
  fftSize: Math.round(0.025 * sampleRate),
  hop: Math.round(STEP_SECONDS * sampleRate),
  center: false,
});

/** Signal frames that fall on one frame of a model with so many samples between frames. */
export const signalsPerFrame = (hop: number, sampleRate: number): number =>
  Math.max(1, Math.round(hop / (STEP_SECONDS * sampleRate)));

/** The signal frame that starts with a frame of the model. */
export const signalAt = (hop: number, sampleRate: number) => (frame: number) =>
  Math.round((frame * hop) / (STEP_SECONDS * sampleRate));

/** The descriptors come all at once, and are kept as one. */
const DESCRIPTORS = "descriptors";

/** Computes signals of recordings, or reads them where an earlier run kept them; descriptors stay in memory as well. */
export class Signals {
  private readonly sampleRate: number;
  private readonly load: (index: number) => Promise<Float32Array>;
  private readonly cache: SignalCache | undefined;
  private readonly recordings = new Map<number, string>();
  private readonly descriptors = new Map<number, FrameMatrix>();

  constructor(sampleRate: number, load: (index: number) => Promise<Float32Array>, cache?: SignalCache) {
    this.sampleRate = sampleRate;
    this.load = load;
    this.cache = cache;
  }

  /** One signal of a recording, [frames at 10 ms, dim]; values that are not numbers become 0. */
  async of(name: string, index: number): Promise<FrameMatrix> {
    const column = (pretextNames as readonly string[]).indexOf(name);
    if (column < 0) return this.kept(name, index);
    let table = this.descriptors.get(index);
    if (table === undefined) {
      table = await this.kept(DESCRIPTORS, index);
      this.descriptors.set(index, table);
    }
    const { frames, dim } = table;
    const data = new Float32Array(frames);
    for (let t = 0; t < frames; t++) {
      const value = table.data[t * dim + column];
      if (Number.isFinite(value)) data[t] = value;
    }
    return { data, frames, dim: 1 };
  }

  private async kept(name: string, index: number): Promise<FrameMatrix> {
    if (this.cache === undefined) return this.compute(name, await this.load(index));
    let samples: Float32Array | undefined;
    let recording = this.recordings.get(index);
    if (recording === undefined) {
      samples = await this.load(index);
      recording = SignalCache.recording(samples, this.sampleRate);
      this.recordings.set(index, recording);
    }
    const known = this.cache.get(name, recording);
    if (known !== undefined) return known;
    const signal = this.compute(name, samples ?? (await this.load(index)));
    this.cache.put(name, recording, signal);
    return signal;
  }

  private compute(name: string, samples: Float32Array): FrameMatrix {
    const rate = this.sampleRate;
    const hop = Math.round(STEP_SECONDS * rate);
    switch (name) {
      case "mel":
        return logMel(samples, rate, { bands: 80, ...framing(rate) });
      case "mfcc":
        return withDeltas(mfcc(samples, rate, { coefficients: 20, log: "ln", ...framing(rate) }));
      case "mfcc39":
        return withDeltas(mfcc(samples, rate, { coefficients: 13, log: "ln", ...framing(rate) }));
      case "spectralFlatness":
        return bandFlatness(samples, rate, { hop });
      case "octaveIntensity":
        return octaveIntensity(samples, rate, { hop });
      case "chroma":
        return chroma(samples, rate, { hop });
      case DESCRIPTORS: {
        const { frames } = pretextLabels(samples, rate);
        const dim = pretextNames.length;
        const data = new Float32Array(frames.length * dim);
        for (const [t, row] of frames.entries()) data.set(row, t * dim);
        return { data, frames: frames.length, dim };
      }
      default:
        throw new UserError(`there is no signal "${name}"; there are ${signalNames.join(", ")}`);
    }
  }
}

/**
 * A signal brought to a model's frames: row t holds `each` signal frames, the first of them `from(t)`, [frames, each * dim]. The
 * last signal frame is repeated where a recording's end has fewer.
 */
export function atFrames(
  signal: FrameMatrix,
  frames: number,
  each: number,
  from: (frame: number) => number,
): Float32Array {
  const { data, dim } = signal;
  const out = new Float32Array(frames * each * dim);
  for (let t = 0; t < frames; t++)
    for (let j = 0; j < each; j++) {
      const row = Math.min(signal.frames - 1, from(t) + j);
      out.set(data.subarray(row * dim, (row + 1) * dim), (t * each + j) * dim);
    }
  return out;
}
