import { eachSpectrum, type Framing, frameCount, framing, gaussianWindow } from "./frames.ts";
import { PitchPath } from "./pitch-path.ts";
import { candidateCount, subharmonicSummation } from "./pitch-shs.ts";

/** Length of the pitch analysis' frames, seconds. */
export const pitchFrameSeconds = 0.06;
/** Frames quieter than this RMS (after windowing) are unvoiced whatever their spectrum. */
const voicedRms = Math.fround(0.001);

/** The window of the pitch analysis. */
export const pitchWindow = ({ size }: Framing) => gaussianWindow(size, 0.4);

export interface PitchOptions {
  minHz: number;
  maxHz: number;
  /** Frames the search for the best course may look ahead. */
  lookAhead: number;
}

export interface PitchTrack {
  frame: Framing;
  /** Hz, 0 where unvoiced; one value a frame. */
  f0: Float32Array;
  /** Voicing strength 0..1, 0 where the frame is too quiet. */
  voicing: Float32Array;
  /**
   * Frames that were decided when the input ended; the course of the rest rests on its end. openSMILE computes
   * statistics at that point, hence its functionals leave the rest out.
   */
  decided: number;
}

/**
 * F0 every 10 ms from 60 ms frames: subharmonic summation, then the cheapest course through the candidates. `onVoiced` gets
 * each voiced frame, in order, with its F0 and magnitude spectrum.
 */
export function trackPitch(
  samples: Float32Array,
  sampleRate: number,
  { minHz, maxHz, lookAhead }: PitchOptions,
  onVoiced?: (t: number, hz: number, spectrum: Float64Array) => void,
): PitchTrack {
  const frame = framing(sampleRate, pitchFrameSeconds);
  const count = frameCount(samples.length, frame);
  const findCandidates = subharmonicSummation(frame, { minHz, maxHz });
  const candidates = new Float32Array(2 * candidateCount);
  const path = new PitchPath(count, lookAhead);
  const f0 = new Float32Array(count);
  const voicing = new Float32Array(count);
  const loud = new Uint8Array(count);
  // Spectra of the frames that still wait for their F0.
  const spectra = Array.from({ length: lookAhead + 1 }, () => new Float64Array(frame.fftSize / 2 + 1));
  let reported = 0;
  const report = () => {
    for (; reported < path.decided; reported++) {
      if (!loud[reported]) continue;
      const hz = path.f0[reported];
      f0[reported] = hz;
      voicing[reported] = path.voicing[reported];
      if (hz > 0) onVoiced?.(reported, hz, spectra[reported % spectra.length]);
    }
  };
  eachSpectrum(samples, frame, pitchWindow(frame), (t, { power, windowedMeanSquare }) => {
    loud[t] = Math.sqrt(windowedMeanSquare) > voicedRms ? 1 : 0;
    const magnitudes = spectra[t % spectra.length];
    for (let k = 0; k < magnitudes.length; k++) magnitudes[k] = Math.sqrt(power[k]);
    findCandidates(magnitudes, candidates);
    path.push(candidates);
    report();
  });
  const decided = path.decided;
  path.finish();
  report();
  return { frame, f0, voicing, decided };
}
