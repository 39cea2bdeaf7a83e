import { blurred, meanRow, silenceBelow } from "./frames.ts";
import type { SpeechProfile } from "./profile.ts";
import { mix, type Tract } from "./source-filter.ts";

// The vocal tract: what vowels, consonants and the velum do to it.

/** The tract's course after its changes [frames, order]. */
export function changedTract(
  { areas }: Tract,
  f0: Float32Array,
  loudness: Float32Array,
  profile: SpeechProfile,
): Float32Array[] {
  const { vowelCentralization, impreciseConsonants } = profile;
  const quiet = silenceBelow(loudness);
  const isVowel = (frame: number) => f0[frame] > 0 && loudness[frame] > quiet + 10;
  const centre = meanRow(areas.filter((_, frame) => isVowel(frame))) ?? meanRow(areas)!;
  let tract = areas;
  // Vowels draw near to this speaker's own middle vowel.
  if (vowelCentralization > 0) {
    tract = tract.map((row, frame) => (f0[frame] > 0 ? mix(row, centre, 0.85 * vowelCentralization) : row));
  }
  if (impreciseConsonants > 0) {
    // Targets are not reached in time: shapes blur into their neighbours, and narrow constrictions stay open.
    tract = blurred(tract, 10 * impreciseConsonants);
    tract = tract.map((row, frame) => (f0[frame] > 0 ? row : mix(row, centre, 0.65 * impreciseConsonants)));
  }
  return tract;
}

/**
 * The open velum as one pole and one zero (D. Klatt, "Software for a cascade/parallel formant synthesizer", 1980): they
 * cancel at 270 Hz without nasality, and the zero rises into the first formant with it.
 */
export function nasalized(samples: Float32Array, sampleRate: number, depth: number): Float32Array {
  const pole = resonance(270, 100, sampleRate);
  const zero = resonance(270 + 330 * depth, 100, sampleRate);
  const out = new Float32Array(samples.length);
  let [x1, x2, y1, y2] = [0, 0, 0, 0];
  samples.forEach((x, n) => {
    const y = x - zero.b * x1 + zero.c * x2 + pole.b * y1 - pole.c * y2;
    out[n] = y;
    [x1, x2, y1, y2] = [x, x1, y, y1];
  });
  return out;
}

/** Coefficients of 1 - b z^-1 + c z^-2 with its root at a frequency and bandwidth in Hz. */
function resonance(frequency: number, bandwidth: number, sampleRate: number): { b: number; c: number } {
  const radius = Math.exp((-Math.PI * bandwidth) / sampleRate);
  return { b: 2 * radius * Math.cos((2 * Math.PI * frequency) / sampleRate), c: radius ** 2 };
}
