import { pretextLabels, pretextNames } from "../audio/acoustics/pretext.ts";
import { chroma } from "../audio/chroma.ts";
import { bandFlatness, octaveIntensity } from "../audio/octave-bands.ts";
import { type FrameMatrix, logMel, mfcc, withDeltas } from "../audio/spectra.ts";
import { UserError } from "../errors.ts";

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

/** Computes signals of recordings; descriptors, which come all at once, are kept. */
export class Signals {
  private readonly sampleRate: number;
  private readonly load: (index: number) => Promise<Float32Array>;
  private readonly descriptors = new Map<number, readonly Float32Array[]>();

  constructor(sampleRate: number, load: (index: number) => Promise<Float32Array>) {
    this.sampleRate = sampleRate;
    this.load = load;
  }

  /** One signal of a recording, [frames at 10 ms, dim]; values that are not numbers become 0. */
  async of(name: string, index: number): Promise<FrameMatrix> {
    const rate = this.sampleRate;
    if (name === "mel") return logMel(await this.load(index), rate, { bands: 80, ...framing(rate) });
    if (name === "mfcc" || name === "mfcc39") {
      const coefficients = name === "mfcc" ? 20 : 13;
      return withDeltas(mfcc(await this.load(index), rate, { coefficients, log: "ln", ...framing(rate) }));
    }
    const hop = Math.round(STEP_SECONDS * rate);
    if (name === "spectralFlatness") return bandFlatness(await this.load(index), rate, { hop });
    if (name === "octaveIntensity") return octaveIntensity(await this.load(index), rate, { hop });
    if (name === "chroma") return chroma(await this.load(index), rate, { hop });
    const column = (pretextNames as readonly string[]).indexOf(name);
    if (column < 0) throw new UserError(`there is no signal "${name}"; there are ${signalNames.join(", ")}`);
    let table = this.descriptors.get(index);
    if (table === undefined) {
      table = pretextLabels(await this.load(index), rate).frames;
      this.descriptors.set(index, table);
    }
    const data = Float32Array.from(table, (row) => (Number.isFinite(row[column]) ? row[column] : 0));
    return { data, frames: table.length, dim: 1 };
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
