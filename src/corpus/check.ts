import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { probeFile } from "../audio/file.ts";
import { UserError } from "../errors.ts";
import { groupBy } from "./group.ts";
import { loadUtterance, type Recording } from "./load-audio.ts";
import type { Utterance } from "./manifest.ts";
import { sharedSpeakers } from "./splits.ts";
import { WorkerPool } from "./worker-pool.ts";

export type CorpusFaultKind =
  | "missing"
  | "unreadable"
  | "rate"
  | "duration"
  | "clipped"
  | "silent"
  | "duplicate"
  | "leakage";

export interface CorpusFault {
  kind: CorpusFaultKind;
  /** Utterances concerned; for leakage none, but the speaker in the message. */
  ids: string[];
  /** A whole sentence. */
  message: string;
}

export interface CorpusCheckOptions {
  /** Hz that every recording should have; default: the most frequent one of the corpus. */
  sampleRate?: number;
  /** Worker threads that decode (default: one per core, at most 4; 0 decodes in this thread). */
  threads?: number;
  onProgress?: (done: number, total: number) => void;
}

/** What one recording is like, seen by decoding it whole. */
export interface SoundCheck {
  /** Hz of the file */
  sampleRate: number;
  seconds: number;
  /** Share of samples in runs of three or more at the top or bottom of the range. */
  clipped: number;
  /** Root mean square in dB of full scale */
  level: number;
  /** Of the samples as 16-bit numbers, so that the same sound is found whatever format it is stored in. */
  hash: string;
}

/** Clipping in more than this share of the samples is heard. */
const clippedShare = 0.001;
/** Below this nothing is there but noise of the converter. */
const silentLevel = -65;

/** Inspects one recording. */
export async function checkSound(recording: Recording): Promise<SoundCheck> {
  const { sampleRate } = await probeFile(recording.audio);
  const samples = await loadUtterance(recording, { sampleRate });
  let peak = 0;
  let energy = 0;
  for (const x of samples) {
    peak = Math.max(peak, Math.abs(x));
    energy += x * x;
  }
  let clipped = 0;
  let run = 0;
  for (let i = 0; i <= samples.length; i++) {
    const atTop = i < samples.length && peak > 0.5 && Math.abs(samples[i]) >= 0.999 * peak;
    const same = atTop && (run === 0 || Math.sign(samples[i]) === Math.sign(samples[i - 1]));
    if (same) run++;
    else {
      if (run >= 3) clipped += run;
      run = atTop ? 1 : 0;
    }
  }
  const pcm = Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
  return {
    sampleRate,
    seconds: samples.length / sampleRate,
    clipped: clipped / Math.max(1, samples.length),
    level: 10 * Math.log10(energy / Math.max(1, samples.length) + 1e-12),
    hash: createHash("sha256").update(pcm).digest("hex"),
  };
}

/**
 * Decodes every recording of a corpus and reports what is wrong: files that are missing or unreadable, of another
 * sample rate, of another duration than stated, clipped, silent; the same sound under several ids; speakers on both
 * sides of the manifest's own split.
 */
export async function corpusCheck(
  utterances: readonly Utterance[],
  options: CorpusCheckOptions = {},
): Promise<CorpusFault[]> {
  const threads = options.threads ?? Math.min(4, availableParallelism());
  const pool =
    threads > 0 ? new WorkerPool<Recording, SoundCheck>(import.meta.url, "check-worker", threads) : undefined;
  const faults: CorpusFault[] = [];
  const sounds: { utterance: Utterance; sound: SoundCheck }[] = [];
  let done = 0;
  const inspect = async (utterance: Utterance) => {
    const { id, audio, start, end } = utterance;
    if (!existsSync(audio)) {
      faults.push({ kind: "missing", ids: [id], message: `${id}: there is no sound file ${audio}` });
    } else {
      try {
        const recording = { id, audio, start, end };
        sounds.push({ utterance, sound: await (pool?.run(recording) ?? checkSound(recording)) });
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        faults.push({ kind: "unreadable", ids: [id], message: error.message });
      }
    }
    options.onProgress?.(++done, utterances.length);
  };
  try {
    // A bounded number at a time, so that a corpus of a hundred thousand files does not queue whole.
    const queue = utterances.values();
    const lane = async () => {
      for (const utterance of queue) await inspect(utterance);
    };
    await Promise.all(Array.from({ length: 4 * Math.max(1, threads) }, lane));
  } finally {
    await pool?.close();
  }
  // Threads finish in any order; reports follow the corpus.
  const place = new Map(utterances.map((u, i) => [u.id, i]));
  sounds.sort((a, b) => place.get(a.utterance.id)! - place.get(b.utterance.id)!);
  faults.push(...soundFaults(sounds, options.sampleRate), ...duplicates(sounds), ...leakage(utterances));
  return faults.sort((a, b) => (place.get(a.ids[0]) ?? -1) - (place.get(b.ids[0]) ?? -1));
}

function soundFaults(sounds: { utterance: Utterance; sound: SoundCheck }[], wanted?: number): CorpusFault[] {
  const byRate = [...groupBy(sounds, ({ sound }) => sound.sampleRate)].sort(
    (a, b) => b[1].length - a[1].length,
  );
  const rate = wanted ?? byRate[0]?.[0];
  return sounds.flatMap(({ utterance, sound }) => {
    const { id, duration } = utterance;
    const faults: CorpusFault[] = [];
    const add = (kind: CorpusFaultKind, text: string) =>
      faults.push({ kind, ids: [id], message: `${id}: ${text}` });
    if (sound.sampleRate !== rate) {
      add(
        "rate",
        `its sample rate is ${sound.sampleRate} Hz, ${wanted === undefined ? "that of most files" : "expected"} is ${rate} Hz`,
      );
    }
    if (duration !== undefined && Math.abs(duration - sound.seconds) > Math.max(0.05, 0.01 * duration)) {
      add("duration", `it lasts ${sound.seconds.toFixed(3)} s, but the manifest says ${duration} s`);
    }
    if (sound.clipped > clippedShare)
      add("clipped", `${(100 * sound.clipped).toFixed(1)} % of its samples are clipped`);
    if (sound.level < silentLevel) add("silent", `nothing is to be heard (${sound.level.toFixed(0)} dB)`);
    return faults;
  });
}

function duplicates(sounds: { utterance: Utterance; sound: SoundCheck }[]): CorpusFault[] {
  return [...groupBy(sounds, ({ sound }) => sound.hash).values()]
    .filter((same) => same.length > 1)
    .map((same) => {
      const ids = same.map(({ utterance }) => utterance.id);
      const parts = [...new Set(same.flatMap(({ utterance }) => utterance.split ?? []))];
      const where = parts.length > 1 ? `, in ${parts.join(" and ")}` : "";
      return {
        kind: "duplicate",
        ids,
        message: `${ids.join(", ")}: the same sound under ${ids.length} ids${where}`,
      };
    });
}

function leakage(utterances: readonly Utterance[]): CorpusFault[] {
  const part = (...names: string[]) => utterances.filter((u) => names.includes(u.split ?? ""));
  const split = { train: part("train"), valid: part("valid", "dev", "validation"), test: part("test") };
  return sharedSpeakers(split).map(({ speaker, first, second }) => ({
    kind: "leakage",
    ids: [],
    message: `speaker ${speaker} is in both ${first} and ${second}`,
  }));
}
