/**
 * Measures of a frame's spectral shape in dB, as in eGeMAPS (Eyben et al. 2016, section 3): alpha ratio, Hammarberg
 * index, slopes of the logarithmic power spectrum, and spectral flux.
 */
export interface SpectralShape {
  /** Energy 1-5 kHz over energy below 1 kHz, dB. */
  alphaRatio: number;
  /** Strongest bin below 2 kHz over the strongest in 2-5 kHz, dB. */
  hammarbergIndex: number;
  /** Least-squares slope of the log power spectrum, dB / Hz, 0-500 Hz and 500-1500 Hz. */
  slopeLow: number;
  slopeHigh: number;
}

/** Power below which a bin counts as empty, and its level in dB. */
const powerFloor = 1e-14;
const levelFloor = -140;
const topHz = 5000;
const dbFactor = 10 / Math.LN10;

/** Returns a function from a power spectrum to its shape; the result is overwritten by the next call. */
export function spectralShape(bins: number, binHz: number) {
  const below1k = Math.min(bins, Math.ceil(1000 / binHz));
  const below2k = Math.min(bins, Math.ceil(2000 / binHz));
  const upTo5k = Math.min(bins, Math.floor(topHz / binHz) + 1);
  const low = band(0, 500, bins, binHz);
  const high = band(500, 1500, bins, binHz);
  const logSize = Math.max(low.right, high.right) + 1;
  const levels = new Float64Array(logSize);
  const result: SpectralShape = { alphaRatio: 0, hammarbergIndex: 0, slopeLow: 0, slopeHigh: 0 };

  return (power: Float64Array): SpectralShape => {
    let energyLow = 0;
    let energyHigh = 0;
    let peakLow = 0;
    let peakHigh = 0;
    for (let k = 0; k < below1k; k++) energyLow += power[k];
    for (let k = below1k; k < upTo5k; k++) energyHigh += power[k];
    for (let k = 0; k < below2k; k++) if (power[k] > peakLow) peakLow = power[k];
    for (let k = below2k; k < upTo5k; k++) if (power[k] > peakHigh) peakHigh = power[k];
    result.alphaRatio = ratioDb(energyHigh, energyLow);
    result.hammarbergIndex = ratioDb(peakLow, peakHigh);
    for (let k = 0; k < logSize; k++) {
      levels[k] = power[k] > powerFloor ? dbFactor * Math.log(power[k]) : levelFloor;
    }
    result.slopeLow = slope(levels, low, binHz);
    result.slopeHigh = slope(levels, high, binHz);
    return result;
  };
}

function ratioDb(above: number, below: number): number {
  return below > 0 ? dbFactor * Math.log(Math.max(above, powerFloor) / below) : 0;
}

interface Band {
  left: number;
  right: number;
  /** Shares of the outer bins that belong to the band. */
  leftWeight: number;
  rightWeight: number;
}

/** The bins of [lowHz, highHz]; the outer ones are weighted by how far the band reaches towards them. */
function band(lowHz: number, highHz: number, bins: number, binHz: number): Band {
  const left = Math.floor(lowHz / binHz);
  const leftWeight = left + 1 < bins ? left + 1 - lowHz / binHz : 1;
  const position = highHz / binHz;
  const right = Math.floor(position);
  const whole = right === position;
  if (right >= bins) return { left: Math.min(left, bins - 1), right: bins - 1, leftWeight, rightWeight: 1 };
  return { left, right, leftWeight: leftWeight || 1, rightWeight: whole ? 1 : position - right };
}

/** Least-squares slope of `levels` over frequency in the band, whose bins count by width (right - left). */
function slope(levels: Float64Array, { left, right, leftWeight, rightWeight }: Band, binHz: number): number {
  const count = right - left;
  let sumF = left * leftWeight;
  let sumFF = sumF * sumF;
  let sumFL = sumF * levels[left];
  let sumL = leftWeight * levels[left];
  for (let k = left + 1; k < right; k++) {
    sumF += k;
    sumFF += k * k;
    sumFL += k * levels[k];
    sumL += levels[k];
  }
  sumF += right * rightWeight;
  sumFF += (right * rightWeight) ** 2;
  sumFL += right * rightWeight * levels[right];
  sumL += rightWeight * levels[right];
  const denominator = (count * sumFF - sumF * sumF) * binHz;
  return denominator === 0 ? 0 : (count * sumFL - sumF * sumL) / denominator;
}

/**
 * Spectral flux below 5 kHz: the root mean square change of the bins' magnitudes from one frame to the next; 0 at
 * the first frame.
 */
export function spectralFlux(bins: number, binHz: number, maxHz = topHz) {
  let top = Math.min(bins - 1, Math.ceil(maxHz / binHz) - 1);
  if (top < 0) top = 0;
  const previous = new Float64Array(top + 1);
  let first = true;
  return (power: Float64Array): number => {
    let sum = 0;
    for (let k = 0; k <= top; k++) {
      const magnitude = Math.sqrt(power[k]);
      const change = magnitude - previous[k];
      sum += change * change;
      previous[k] = magnitude;
    }
    if (first) {
      first = false;
      return 0;
    }
    return Math.sqrt(sum / (top + 1));
  };
}

/** Mean frequency in Hz of a power spectrum without its mean (bin 0), and its fourth standardised moment. */
export function spectralMoments(bins: number, binHz: number) {
  const result = { centroid: 0, kurtosis: 0 };
  return (power: Float64Array): { centroid: number; kurtosis: number } => {
    let total = 0;
    let first = 0;
    for (let k = 1; k < bins; k++) {
      total += power[k];
      first += k * power[k];
    }
    const centre = total > 0 ? first / total : 0;
    let second = 0;
    let fourth = 0;
    for (let k = 1; k < bins; k++) {
      const square = (k - centre) ** 2;
      second += square * power[k];
      fourth += square * square * power[k];
    }
    result.centroid = centre * binHz;
    result.kurtosis = second > 0 ? (fourth * total) / (second * second) : 0;
    return result;
  };
}
