/**
 * Auditory band energies, loudness and the first cepstral coefficients: 26 triangular bands, equally spaced on the mel
 * scale from 20 Hz to 8 kHz (or half the sampling rate), of the power spectrum.
 */
export const bandCount = 26;
const lowHz = 20;
const highHz = 8000;

const toMel = (hz: number) => 1127 * Math.log(1 + hz / 700);
const toHz = (mel: number) => 700 * (Math.exp(mel / 1127) - 1);

export interface MelBands {
  /** Centre of each band, Hz. */
  centres: Float64Array;
  /** Energies of the bands of a power spectrum, into `out`. */
  apply: (power: Float64Array, out: Float64Array) => void;
}

/** Each bin gives its energy to the two bands between whose centres it lies, in proportion to mel distance. */
export function melBands(bins: number, binHz: number): MelBands {
  const top = Math.min(highHz, (bins - 1) * binHz);
  const first = Math.round(lowHz / binHz);
  const end = Math.min(bins, Math.round(top / binHz));
  const low = toMel(lowHz);
  const width = (toMel(top) - low) / (bandCount + 1);
  const band = new Int32Array(bins); // the lower of the two bands; -1 below the first centre
  const share = new Float64Array(bins);
  for (let k = first + 1; k < end; k++) {
    const position = (toMel(k * binHz) - low) / width;
    const below = Math.max(0, Math.ceil(position) - 1);
    band[k] = below - 1;
    share[k] = below + 1 - position;
  }
  const centres = Float64Array.from({ length: bandCount }, (_, m) => toHz(low + (m + 1) * width));
  return {
    centres,
    apply(power, out) {
      out.fill(0);
      for (let k = first + 1; k < end; k++) {
        const lower = power[k] * share[k];
        const m = band[k];
        if (m >= 0) out[m] += lower;
        if (m < bandCount - 1) out[m + 1] += power[k] - lower;
      }
    },
  };
}

/** Equal-loudness weight at `hz` (Hermansky, "Perceptual linear predictive analysis of speech", JASA 87, 1990). */
function equalLoudness(hz: number): number {
  const w2 = (2 * Math.PI * hz) ** 2;
  const w = Math.sqrt(w2);
  return (1e32 * (w2 + 56.8e6) * w2 * w2) / ((w2 + 6.3e6) ** 2 * (w2 + 0.38e9) * (w2 * w2 * w2 * w + 1.7e31));
}

const energyFloor = 9.3e-10;
const compressionPower = 0.33;

/** The equal-loudness weight of each band's centre. */
export function equalLoudnessWeights({ centres }: MelBands): Float64Array {
  return centres.map(equalLoudness);
}

/** Returns a function that turns band energies in place into loudness per band: equal-loudness weight, cubic-root law. */
export function auditorySpectrum(mel: MelBands) {
  const weights = equalLoudnessWeights(mel);
  return (bands: Float64Array): void => {
    for (let m = 0; m < bandCount; m++) {
      bands[m] = (Math.max(bands[m], energyFloor) * weights[m]) ** compressionPower;
    }
  };
}

/** Mean of the bands. */
export function meanOf(bands: Float64Array): number {
  let sum = 0;
  for (let m = 0; m < bands.length; m++) sum += bands[m];
  return sum / bands.length;
}

const sampleScale = 32767 ** 2;
const lifter = 22;

/**
 * Returns a function from band energies to mel-frequency cepstral coefficients 1 ... `count` (orthonormal cosine transform
 * of log energies, sine lifter 22). Energies are taken on the scale of 16-bit samples and floored at 1, as HTK does.
 */
export function melCepstrum(count: number) {
  const basis = new Float64Array(count * bandCount);
  for (let c = 1; c <= count; c++) {
    const weight = Math.sqrt(2 / bandCount) * (1 + (lifter / 2) * Math.sin((Math.PI * c) / lifter));
    for (let m = 0; m < bandCount; m++) {
      basis[(c - 1) * bandCount + m] = weight * Math.cos(((Math.PI * c) / bandCount) * (m + 0.5));
    }
  }
  const logs = new Float64Array(bandCount);
  return (bands: Float64Array, out: Float64Array): void => {
    for (let m = 0; m < bandCount; m++) logs[m] = Math.log(Math.max(1, bands[m] * sampleScale));
    for (let c = 0; c < count; c++) {
      let sum = 0;
      for (let m = 0, b = c * bandCount; m < bandCount; m++) sum += logs[m] * basis[b + m];
      out[c] = sum;
    }
  };
}
