import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chroma } from "../../src/audio/chroma.ts";
import { realFft } from "../../src/audio/fft.ts";
import { kaldiFbank, kaldiMfcc } from "../../src/audio/kaldi.ts";
import { hzToMel, melToHz } from "../../src/audio/mel.ts";
import { bandFlatness, octaveIntensity } from "../../src/audio/octave-bands.ts";
import { deltas, logMel, mel, mfcc, spectrogram, stft, withDeltas } from "../../src/audio/spectra.ts";
import { fixtureJson, type Packed, relativeError, rows, signal, worstDifference } from "./signal.ts";

interface Complex {
  frames: number[];
  re: Packed;
  im: Packed;
}

const expected = fixtureJson<
  { samples: number; sampleRate: number; stft: Complex; stftOdd: Complex } & Record<
    | "melHtk"
    | "melSlaney"
    | "mfccTorchaudio"
    | "mfccLibrosa"
    | "deltas"
    | "kaldiFbank"
    | "kaldiFbank80"
    | "kaldiMfcc"
    | "chroma"
    | "octaveIntensity"
    | "bandFlatness",
    Packed
  >
>("spectra.json");
const rate = expected.sampleRate;
const samples = signal(expected.samples, rate);

describe("Fourier transform", () => {
  const spectrum = (x: ArrayLike<number>, size: number) => {
    const fft = realFft(size);
    const re = new Float64Array(fft.bins);
    const im = new Float64Array(fft.bins);
    fft.forward(x, re, im);
    return { fft, re, im };
  };
  const values = fc.double({ min: -1, max: 1, noNaN: true });

  it("is the sum of its definition at any size", () => {
    fc.assert(
      fc.property(fc.array(values, { minLength: 1, maxLength: 150 }), (x) => {
        const size = x.length;
        const { fft, re, im } = spectrum(x, size);
        for (let k = 0; k < fft.bins; k++) {
          const angle = (n: number) => (2 * Math.PI * ((n * k) % size)) / size;
          expect(re[k]).toBeCloseTo(
            x.reduce((sum, v, n) => sum + v * Math.cos(angle(n)), 0),
            11,
          );
          expect(im[k]).toBeCloseTo(-x.reduce((sum, v, n) => sum + v * Math.sin(angle(n)), 0), 11);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("has an inverse at any size, with mixed radices and large primes", () => {
    for (const size of [1, 2, 3, 17, 97, 100, 400, 441, 512, 1021, 2042, 4095, 4096, 5000]) {
      const x = Float64Array.from(signal(size, 16000));
      const { fft, re, im } = spectrum(x, size);
      const back = new Float64Array(size);
      fft.inverse(re, im, back);
      expect(relativeError(back, x), `size ${size}`).toBeLessThan(1e-14);
    }
  });

  it("pads short input with zeros", () => {
    const short = signal(300, 16000);
    const padded = new Float32Array(512);
    padded.set(short);
    expect(spectrum(short, 512).re).toEqual(spectrum(padded, 512).re);
    expect(spectrum(short.subarray(0, 3), 5).re).toEqual(spectrum([...short.subarray(0, 3), 0, 0], 5).re);
  });

  it("refuses sizes that do not exist", () => {
    for (const size of [0, -4, 2.5]) expect(() => realFft(size)).toThrow(RangeError);
  });
});

describe("against torchaudio", () => {
  it("STFT", () => {
    const { re, im } = stft(samples, { fftSize: 400, hop: 160 });
    expect(re.frames).toBe(36);
    expect(worstDifference(rows(re, expected.stft.frames), expected.stft.re)).toBeLessThan(2e-5);
    expect(worstDifference(rows(im, expected.stft.frames), expected.stft.im)).toBeLessThan(2e-5);
  });

  it("STFT of odd size with a short, uncentred window", () => {
    const options = { fftSize: 251, hop: 300, windowSize: 199, window: "hamming", center: false } as const;
    const { re, im } = stft(samples, options);
    expect(re.frames).toBe(18);
    expect(worstDifference(rows(re, expected.stftOdd.frames), expected.stftOdd.re)).toBeLessThan(2e-5);
    expect(worstDifference(rows(im, expected.stftOdd.frames), expected.stftOdd.im)).toBeLessThan(2e-5);
  });

  it("HTK mel spectrogram and its logarithm", () => {
    const energies = mel(samples, rate, { bands: 40 });
    expect([energies.frames, energies.dim]).toEqual(expected.melHtk.shape);
    expect(relativeError(energies.data, expected.melHtk.data)).toBeLessThan(1e-6);
    const logs = logMel(samples, rate, { bands: 40 });
    const reference = expected.melHtk.data.map((x) => Math.log(Math.max(1e-10, x)));
    expect(relativeError(logs.data, reference)).toBeLessThan(1e-5);
  });

  it("MFCC", () => {
    expect(worstDifference(mfcc(samples, rate), expected.mfccTorchaudio)).toBeLessThan(2e-3);
    expect(relativeError(mfcc(samples, rate).data, expected.mfccTorchaudio.data)).toBeLessThan(1e-5);
  });

  it("deltas", () => {
    const source = { data: Float32Array.from(expected.mfccTorchaudio.data), frames: 36, dim: 13 };
    expect(worstDifference(deltas(source), expected.deltas)).toBeLessThan(1e-4);
    const both = withDeltas(source, 2);
    expect([both.frames, both.dim]).toEqual([36, 39]);
    const second = deltas(deltas(source));
    for (const t of [0, 20, 35]) {
      expect(both.data.slice(t * 39, t * 39 + 13)).toEqual(source.data.slice(t * 13, t * 13 + 13));
      expect(both.data.slice(t * 39 + 26, t * 39 + 39)).toEqual(second.data.slice(t * 13, t * 13 + 13));
    }
  });

  it("Kaldi filterbank and cepstra", () => {
    expect(worstDifference(kaldiFbank(samples, rate), expected.kaldiFbank)).toBeLessThan(1e-3);
    expect(relativeError(kaldiFbank(samples, rate).data, expected.kaldiFbank.data)).toBeLessThan(1e-5);
    expect(worstDifference(kaldiMfcc(samples, rate), expected.kaldiMfcc)).toBeLessThan(1e-2);
    expect(relativeError(kaldiMfcc(samples, rate).data, expected.kaldiMfcc.data)).toBeLessThan(1e-5);
  });

  it("Kaldi filterbank without snipped edges, Hamming window, other limits", () => {
    const out = kaldiFbank(samples, rate, {
      bands: 80,
      window: "hamming",
      snipEdges: false,
      lowHz: 40,
      highHz: -400,
    });
    expect(out.frames).toBe(35);
    const every4 = Array.from({ length: 9 }, (_, i) => 4 * i);
    expect(relativeError(rows(out, every4).data, expected.kaldiFbank80.data)).toBeLessThan(1e-5);
  });
});

describe("against librosa", () => {
  const options = {
    fftSize: 512,
    hop: 160,
    windowSize: 400,
    bands: 40,
    minHz: 60,
    maxHz: 7000,
    scale: "slaney",
    norm: "slaney",
    pad: "zeros",
  } as const;

  it("Slaney mel spectrogram", () => {
    const energies = mel(samples, rate, options);
    expect([energies.frames, energies.dim]).toEqual(expected.melSlaney.shape);
    expect(relativeError(energies.data, expected.melSlaney.data)).toBeLessThan(1e-6);
  });

  it("MFCC", () => {
    expect(relativeError(mfcc(samples, rate, options).data, expected.mfccLibrosa.data)).toBeLessThan(1e-5);
  });

  it("chroma", () => {
    expect(worstDifference(chroma(samples, rate), expected.chroma)).toBeLessThan(1e-5);
  });
});

describe("octave bands by Yaafe's definitions", () => {
  it("signal intensity", () => {
    expect(worstDifference(octaveIntensity(samples, rate), expected.octaveIntensity)).toBeLessThan(1e-5);
  });

  it("spectral flatness per band", () => {
    expect(worstDifference(bandFlatness(samples, rate), expected.bandFlatness)).toBeLessThan(1e-6);
  });

  it("stay finite in silence", () => {
    for (const silent of [
      octaveIntensity(new Float32Array(3000), rate),
      bandFlatness(new Float32Array(3000), rate),
    ])
      expect(silent.data.every(Number.isFinite)).toBe(true);
  });

  it("intensity peaks in the octave of a tone", () => {
    for (const [octave, hz] of [220, 440, 880, 1760, 3520].entries()) {
      const tone = Float32Array.from({ length: 8192 }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));
      const out = octaveIntensity(tone, rate);
      const row = [...out.data.subarray(8 * out.dim, 9 * out.dim)];
      expect(row.indexOf(Math.max(...row))).toBe(octave + 3);
    }
  });
});

describe("laws of spectra", () => {
  it("mel scales invert", () => {
    for (const scale of ["htk", "slaney"] as const)
      for (const hz of [0, 20, 440, 999.9, 1000, 1000.1, 7999])
        expect(melToHz(hzToMel(hz, scale), scale)).toBeCloseTo(hz, 9);
    expect(hzToMel(1000)).toBeCloseTo(999.9855, 3);
    expect(hzToMel(1000, "slaney")).toBeCloseTo(15, 12);
  });

  it("a tone of A is the pitch class A", () => {
    for (const hz of [220, 440, 880]) {
      const tone = Float32Array.from({ length: 8192 }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));
      const out = chroma(tone, rate);
      const row = out.data.subarray(8 * 12, 9 * 12);
      expect(row[9]).toBe(1);
    }
  });

  it("log mel of a louder signal is higher by the logarithm of the gain", () => {
    const loud = logMel(
      samples.map((x) => 2 * x),
      rate,
    );
    const soft = logMel(samples, rate);
    for (let i = 0; i < soft.data.length; i += 97)
      expect(loud.data[i] - soft.data[i]).toBeCloseTo(Math.log(4), 3);
  });

  it("handles recordings shorter than a window and empty ones", () => {
    for (const count of [0, 1, 2, 100]) {
      const short = signal(count, rate);
      expect(logMel(short, rate).data.every(Number.isFinite)).toBe(true);
      expect(kaldiFbank(short, rate).frames).toBe(0);
      expect(chroma(short, rate).data.every(Number.isFinite)).toBe(true);
      expect(kaldiFbank(short, rate, { snipEdges: false }).data.every(Number.isFinite)).toBe(true);
    }
    expect(spectrogram(new Float32Array(0), { fftSize: 64, hop: 16, center: false }).frames).toBe(0);
  });
});
