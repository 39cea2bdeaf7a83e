import { auditorySpectrum, bandCount, meanOf, melBands } from "./auditory.ts";
import { type DescriptorTable, descriptorTable, requireFrame } from "./egemaps.ts";
import { eachSpectrum, frameCount, frameStepSeconds, framing, hammingWindow } from "./frames.ts";
import { trackPitch } from "./pitch.ts";
import { rastaLevel } from "./rasta.ts";
import { smooth3, smoothVoiced, smoothVoicedTable, withLast } from "./smoothing.ts";
import { spectralMoments, spectralShape } from "./spectral-shape.ts";
import { voiceQuality } from "./voice-quality.ts";

/**
 * Signal-level pretext labels of self-supervised training (S. Zaiem et al., "Pretext tasks selection for multitask
 * self-supervised audio representation learning", IEEE JSTSP 16, 2022), named as openSMILE names them: those of
 * ComParE 2016 ("_sma") and three of eGeMAPS ("_sma3").
 */
export const pretextNames = [
  "Loudness_sma3",
  "F0final_sma",
  "voicingFinalUnclipped_sma",
  "alphaRatio_sma3",
  "pcm_zcr_sma",
  "audspecRasta_lengthL1norm_sma",
  "logHNR_sma",
  "pcm_RMSenergy_sma",
  "pcm_fftMag_spectralCentroid_sma",
  "pcm_fftMag_spectralKurtosis_sma",
  "hammarbergIndex_sma3",
  "jitterLocal_sma",
  "shimmerLocal_sma",
] as const;
export type PretextName = (typeof pretextNames)[number];

/**
 * Thirteen labels at 100 frames a second of mono `samples` in [-1, 1]; F0 in Hz and 0 where unvoiced. Throws UserError for
 * audio shorter than one 60 ms frame. Labels with a spectral axis (flatness, octave bands, chroma) are in ../spectra.ts.
 */
export function pretextLabels(samples: Float32Array, sampleRate: number): DescriptorTable {
  requireFrame(samples.length, sampleRate);
  const { frame, f0, voicing, decided } = trackPitch(samples, sampleRate, {
    minHz: 52,
    maxHz: 620,
    lookAhead: 30,
  });
  const quality = voiceQuality(samples, sampleRate, f0, frame, {
    searchRange: 0.25,
    minCorrelation: 0.5,
  });
  const crossings = zeroCrossingRate(samples, frame.size, frame.step, f0.length);
  const columns: Record<PretextName, Float32Array> = {
    ...spectralLabels(samples, sampleRate),
    pcm_zcr_sma: withLast(smooth3(crossings), crossings),
    F0final_sma: withLast(smoothVoiced(f0), f0),
    voicingFinalUnclipped_sma: withLast(smoothVoiced(voicing), voicing),
    logHNR_sma: smoothVoicedTable(quality.logHnr, decided),
    jitterLocal_sma: smoothVoicedTable(quality.jitterLocal, decided),
    shimmerLocal_sma: smoothVoicedTable(quality.shimmerLocal, decided),
  };
  return descriptorTable(
    [...pretextNames],
    pretextNames.map((name) => columns[name]),
    f0.length + 1,
  );
}

/** Labels of the 20 ms frames. */
function spectralLabels(samples: Float32Array, sampleRate: number) {
  const frame = framing(sampleRate, 0.02);
  const count = frameCount(samples.length, frame);
  const bins = frame.fftSize / 2 + 1;
  const mel = melBands(bins, frame.binHz);
  const toLoudness = auditorySpectrum(mel);
  const toRasta = rastaLevel(mel, frameStepSeconds);
  const toShape = spectralShape(bins, frame.binHz);
  const toMoments = spectralMoments(bins, frame.binHz);
  const bands = new Float64Array(bandCount);
  const [loudness, rasta, rms, alpha, hammarberg, centroid, kurtosis] = Array.from(
    { length: 7 },
    () => new Float32Array(count),
  );
  eachSpectrum(samples, frame, hammingWindow(frame.size), (t, { power, meanSquare }) => {
    rms[t] = Math.sqrt(meanSquare);
    mel.apply(power, bands);
    rasta[t] = toRasta(bands);
    toLoudness(bands);
    loudness[t] = meanOf(bands);
    const shape = toShape(power);
    alpha[t] = shape.alphaRatio;
    hammarberg[t] = shape.hammarbergIndex;
    const moments = toMoments(power);
    centroid[t] = moments.centroid;
    kurtosis[t] = moments.kurtosis;
  });
  return {
    Loudness_sma3: smooth3(loudness),
    alphaRatio_sma3: smooth3(alpha),
    audspecRasta_lengthL1norm_sma: smooth3(rasta),
    pcm_RMSenergy_sma: smooth3(rms),
    pcm_fftMag_spectralCentroid_sma: smooth3(centroid),
    pcm_fftMag_spectralKurtosis_sma: smooth3(kurtosis),
    hammarbergIndex_sma3: smooth3(hammarberg),
  };
}

/** Sign changes a sample in frames of `size`; a sample that is exactly 0 between opposite signs counts as one. */
function zeroCrossingRate(samples: Float32Array, size: number, step: number, frames: number): Float32Array {
  const out = new Float32Array(frames);
  for (let t = 0; t < frames; t++) {
    const start = t * step;
    let crossings = 0;
    for (let i = start + 1; i < start + size - 1; i++) {
      const here = samples[i];
      const before = samples[i - 1];
      if (before * here < 0 || (here === 0 && before * samples[i + 1] <= 0)) crossings++;
    }
    out[t] = crossings / size;
  }
  return out;
}
