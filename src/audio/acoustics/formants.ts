import type { Framing } from "./frames.ts";
import { levinsonDurbin } from "./linear-prediction.ts";
import { PolynomialRoots } from "./polynomial-roots.ts";
import { resampledAutocorrelation } from "./resampled-autocorrelation.ts";

/**
 * Formants as in eGeMAPS (F. Eyben et al., "The Geneva minimalistic acoustic parameter set", IEEE Trans. Affective
 * Computing 7, 2016, section 3): the 20 ms frame is resampled to 11 kHz, and the roots of an 11th-order linear predictor
 * give frequency and bandwidth of up to five resonances between 50 and 5450 Hz.
 *
 * The published values come from roots of 1 - sum a[k] z^-k where the prediction error filter is 1 + sum a[k] z^-k.
 * They are kept so for comparability; they follow the spectrum but are not the vocal tract's resonances, for which see
 * vowel-formants.ts.
 */
export const formantCount = 5;
const targetRate = 11000;
const order = 11;
const minHz = 50;
const maxHz = 5450;

/** Frequencies of the formants in ascending order in `hz`, their bandwidths in `bandwidth`; 0 where there is none. */
export interface Formants {
  hz: Float64Array;
  bandwidth: Float64Array;
}

/** Returns a function from the real FFT of a frame to its formants; the result is overwritten by the next call. */
export function formantTracker(frame: Framing) {
  const autocorrelation = resampledAutocorrelation(frame, targetRate, order + 1);
  const predictor = new Float64Array(order);
  const polynomial = new Float64Array(order + 1);
  const roots = new PolynomialRoots(order);
  const formants: Formants = {
    hz: new Float64Array(formantCount),
    bandwidth: new Float64Array(formantCount),
  };
  const { hz, bandwidth } = formants;

  return (re: Float64Array, im: Float64Array): Formants => {
    hz.fill(0);
    bandwidth.fill(0);
    const correlations = autocorrelation(re, im);
    if (correlations[0] === 0) return formants;
    levinsonDurbin(correlations, predictor);
    polynomial[0] = 1;
    for (let i = 0; i < order; i++) polynomial[i + 1] = -predictor[i]; // sign: see above
    const rootCount = roots.solve(polynomial);
    let found = 0;
    for (let i = 0; i < rootCount && found < formantCount; i++) {
      const frequency = (Math.atan2(roots.im[i], roots.re[i]) * targetRate) / (2 * Math.PI);
      if (frequency < minHz || frequency > maxHz) continue;
      // A root outside the unit circle counts as its mirror image inside.
      const width = (Math.abs(Math.log(Math.hypot(roots.re[i], roots.im[i]))) * targetRate) / Math.PI;
      let place = found++;
      for (; place > 0 && hz[place - 1] > frequency; place--) {
        hz[place] = hz[place - 1];
        bandwidth[place] = bandwidth[place - 1];
      }
      hz[place] = frequency;
      bandwidth[place] = width;
    }
    return formants;
  };
}
