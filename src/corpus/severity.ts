import { changedTract, nasalized } from "./simulator/articulation.ts";
import { at, frameLoudness, frameWeights, peakOf, rms } from "./simulator/frames.ts";
import { withPauses } from "./simulator/pauses.ts";
import { framesPerSecond, trackPitch } from "./simulator/pitch-marks.ts";
import type { SpeechProfile } from "./simulator/profile.ts";
import { analyzeSource, synthesizeSource, tractPower } from "./simulator/source-filter.ts";
import { speakAgain, stretchedClock, tremorWave } from "./simulator/voice.ts";

export {
  type Dimension,
  dimensions,
  grades,
  type SpeechProfile,
  speakerProfile,
  unchanged,
  utteranceProfile,
} from "./simulator/profile.ts";

export interface SimulatedSpeech {
  /** [samples] at the rate of the input and of the same loudness (root mean square of what is not pause) */
  samples: Float32Array;
  /** Where a second of the input is in the output: for phone and word times. */
  timeOf: (seconds: number) => number;
}

/**
 * Speaks a recording again, changed to the depths of `profile`. Works on any speech of one voice at 8 kHz or more.
 * Deterministic in its arguments.
 */
export function simulateSpeech(
  samples: Float32Array,
  sampleRate: number,
  profile: SpeechProfile,
  seed: number | string,
): SimulatedSpeech {
  if (samples.length < sampleRate / 20) return { samples: samples.slice(), timeOf: (seconds) => seconds };
  const source = analyzeSource(samples, sampleRate, framesPerSecond);
  const f0 = trackPitch(samples, sampleRate);
  const loudness = frameLoudness(samples, source);
  const clock = stretchedClock(f0, loudness, source, samples.length, profile.slowRate);
  const excitation = speakAgain(samples, source, f0, clock, profile, seed);
  const tract = changedTract(source, f0, loudness, profile);
  const power = source.areas.map(tractPower);
  const changedPower = tract.map(tractPower);
  const weaken = frameWeights(f0, (voiced) => (voiced ? 1 : 1 - 0.75 * profile.impreciseConsonants));
  // The same excitation through a flatter tract would be softer: keep the power that each frame had.
  const gain = power.map((p, frame) => weaken[frame] * Math.sqrt(p / changedPower[frame]));
  for (let n = 0; n < excitation.length; n++) excitation[n] *= at(gain, clock.inputs[n] / source.hop);
  const changed = { areas: tract, hop: source.hop };
  let spoken = synthesizeSource(excitation, changed, (n) => clock.inputs[n]);
  const voicing = frameWeights(f0, (voiced) => (voiced ? 1 : 0));
  if (profile.hypernasality > 0) {
    const nasal = nasalized(spoken, sampleRate, profile.hypernasality);
    spoken = spoken.map((x, n) => x + at(voicing, clock.inputs[n] / source.hop) * (nasal[n] - x));
  }
  if (profile.tremor > 0) {
    const wave = tremorWave(seed);
    spoken = spoken.map((x, n) => x * (1 + 0.45 * profile.tremor * wave(n / sampleRate)));
  }
  const level = rms(samples) / (rms(spoken) || 1);
  const limit = Math.max(1, peakOf(samples));
  const scale = Math.min(level, limit / (peakOf(spoken) || 1));
  spoken = spoken.map((x) => x * scale);
  return withPauses(spoken, clock, loudness, source, profile.longPauses, seed);
}
