import { bandCount, equalLoudnessWeights, type MelBands, meanOf } from "./auditory.ts";

/**
 * RASTA-filtered auditory spectrum (H. Hermansky & N. Morgan, "RASTA processing of speech", IEEE Trans. Speech and Audio
 * Processing 2, 1994): the logarithm of each band goes through a band-pass filter over time, 1 to 29 Hz, that removes
 * what a channel adds; equal loudness and the cubic-root law follow. Returns a function from the band energies of the next
 * frame to the mean over bands. The filter settles during the first five frames, which count as constant.
 */
export function rastaLevel(mel: MelBands, frameSeconds: number) {
  const logFloor = Math.log(9.3e-10);
  const compression = 0.33;
  const feedback = 1 - Math.sin(2 * Math.PI * lowerHz * frameSeconds);
  const cosine = Math.cos(2 * Math.PI * upperHz * frameSeconds);
  const norm = Math.sqrt(10 * (32 * cosine * cosine + 8));
  const outer = 2 / norm;
  const inner = (-4 * cosine) / norm;
  // Taps outer, inner, 0, -inner, -outer; four delays a band, in transposed direct form.
  const delays = new Float64Array(4 * bandCount);
  const weights = equalLoudnessWeights(mel).map(Math.log);
  const levels = new Float64Array(bandCount);
  let settled = 0;
  return (bands: Float64Array): number => {
    const live = settled >= settlingFrames;
    for (let m = 0, d = 0; m < bandCount; m++, d += 4) {
      const input = bands[m] > 0 ? Math.max(logFloor, Math.log(bands[m])) : logFloor;
      const output = outer * input + delays[d];
      delays[d] = inner * input + delays[d + 1] + (live ? feedback * output : 0);
      delays[d + 1] = delays[d + 2];
      delays[d + 2] = -inner * input + delays[d + 3];
      delays[d + 3] = -outer * input;
      levels[m] = Math.exp(compression * ((live ? output : 0) + weights[m]));
    }
    if (!live) settled++;
    return meanOf(levels);
  };
}

const lowerHz = 1;
const upperHz = 29;
const settlingFrames = 5;
