import { type PretextName, pretextNames } from "../../audio/acoustics/pretext.ts";
import { chroma } from "../../audio/chroma.ts";
import { bandFlatness, octaveIntensity } from "../../audio/octave-bands.ts";
import { type FrameMatrix, mfcc, withDeltas } from "../../audio/spectra.ts";
import { closest, UserError } from "../../errors.ts";

/** Candidates with a spectral axis (section VIII-B): each frame is a vector, so units are compared as sequences. */
export const spectralNames = ["mfcc", "spectralFlatness", "octaveIntensity", "chroma"] as const;
export type SpectralName = (typeof spectralNames)[number];
export type CandidateName = PretextName | SpectralName;

/** The candidates of Table I. */
export const speechCandidates: readonly PretextName[] = [
  "Loudness_sma3",
  "F0final_sma",
  "voicingFinalUnclipped_sma",
  "alphaRatio_sma3",
  "pcm_zcr_sma",
  "audspecRasta_lengthL1norm_sma",
  "logHNR_sma",
];

/** The three that are added for sparsemax+ (section VIII-B). */
export const plusCandidates: readonly PretextName[] = [
  "pcm_fftMag_spectralCentroid_sma",
  "pcm_fftMag_spectralKurtosis_sma",
  "hammarbergIndex_sma3",
];

/** Groups that stand for several candidates on the command line. */
const groups: Readonly<Record<string, readonly CandidateName[]>> = {
  speech: speechCandidates,
  plus: plusCandidates,
  spectral: spectralNames,
  all: [...pretextNames, ...spectralNames],
};

export const isSpectral = (name: CandidateName): name is SpectralName =>
  (spectralNames as readonly string[]).includes(name);

/** Names and groups (`speech`, `plus`, `spectral`, `all`) as candidates, each once. @throws UserError */
export function candidatesOf(words: readonly string[]): CandidateName[] {
  const known: readonly string[] = [...pretextNames, ...spectralNames];
  const names = words.flatMap((word): readonly string[] => {
    if (Object.hasOwn(groups, word)) return groups[word];
    if (known.includes(word)) return [word];
    const near = closest(word, [...known, ...Object.keys(groups)]);
    throw new UserError(
      `--features ${word}: is no candidate; ${near ? `did you mean ${near}?` : `there are ${Object.keys(groups).join(", ")} and ${known.join(", ")}`}`,
    );
  });
  return [...new Set(names)] as CandidateName[];
}

/** A spectral candidate at 100 frames a second. MFCC are the pre-training target's: 20 of 40 bands, with derivatives. */
export function spectralFrames(name: SpectralName, samples: Float32Array, sampleRate: number): FrameMatrix {
  const hop = Math.round(sampleRate / 100);
  switch (name) {
    case "mfcc":
      return withDeltas(mfcc(samples, sampleRate, { coefficients: 20, bands: 40 }));
    case "spectralFlatness":
      return bandFlatness(samples, sampleRate, { hop });
    case "octaveIntensity":
      return octaveIntensity(samples, sampleRate, { hop });
    case "chroma":
      return chroma(samples, sampleRate, { hop });
  }
}
